# S+T x4 with SwinIR: classification on CUB-200-2011.
_base_ = [
    '../../_base_/paper/cls_cub.py', '../../_base_/sr/swinir_x4.py',
    '../../_base_/recipes/s_and_t.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
default_hooks = dict(activation_checkpoint=_base_.less_memory)
