# SR4IR x4 with SwinIR: segmentation on PASCAL VOC 2012.
_base_ = [
    '../../_base_/paper/seg_voc.py', '../../_base_/sr/swinir_x4.py',
    '../../_base_/recipes/sr4ir_published.py',
]
model = dict(
    _base_.sr4ir_model, _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
param_scheduler = dict(
    sr=[dict(_base_.schedules.restart, eta_min=1e-6)],
    task=[dict(_base_.schedules.restart, eta_min=1e-4)])
default_hooks = dict(activation_checkpoint=_base_.less_memory)
