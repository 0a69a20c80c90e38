# L->T x8: classification on CUB-200-2011.
_base_ = [
    '../../_base_/paper/cls_cub.py', '../../_base_/sr/bilinear_x8.py',
    '../../_base_/recipes/l2t.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
