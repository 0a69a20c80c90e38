# S+T x8 with SwinIR: classification on Stanford Cars.
_base_ = [
    '../../_base_/paper/cls_cars.py', '../../_base_/sr/swinir_x8.py',
    '../../_base_/recipes/s_and_t.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
default_hooks = dict(activation_checkpoint=_base_.less_memory)
