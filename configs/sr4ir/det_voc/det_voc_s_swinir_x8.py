# S alone x8 with SwinIR: detection on PASCAL VOC 2012.
_base_ = [
    '../../_base_/paper/det_voc.py', '../../_base_/sr/swinir_x8.py',
    '../../_base_/recipes/s.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
default_hooks = dict(activation_checkpoint=_base_.less_memory)
