# S->T x8 with EDSR: classification on CUB-200-2011.
_base_ = [
    '../../_base_/paper/cls_cub.py', '../../_base_/sr/edsr_x8.py',
    '../../_base_/recipes/s2t.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
# From the run of cls_cub_s_edsr_x8.py.
model['sr'] = dict(model['sr'], init_cfg=dict(
    type='Pretrained', checkpoint='work_dirs/cls_cub_s_edsr_x8/epoch_200.pth'))
