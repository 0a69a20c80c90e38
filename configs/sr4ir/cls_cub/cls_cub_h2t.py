# H->T: classification on CUB-200-2011.
_base_ = [
    '../../_base_/paper/cls_cub.py', '../../_base_/sr/bilinear_x4.py',
    '../../_base_/recipes/h2t.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, test_on='hr', **_base_.networks, **_base_.published)
