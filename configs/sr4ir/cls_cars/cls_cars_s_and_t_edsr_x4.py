# S+T x4 with EDSR: classification on Stanford Cars.
_base_ = [
    '../../_base_/paper/cls_cars.py', '../../_base_/sr/edsr_x4.py',
    '../../_base_/recipes/s_and_t.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
