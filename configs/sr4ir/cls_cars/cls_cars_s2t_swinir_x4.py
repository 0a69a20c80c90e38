# S->T x4 with SwinIR: classification on Stanford Cars.
_base_ = [
    '../../_base_/paper/cls_cars.py', '../../_base_/sr/swinir_x4.py',
    '../../_base_/recipes/s2t.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
# From the run of cls_cars_s_swinir_x4.py.
model['sr'] = dict(model['sr'], init_cfg=dict(
    type='Pretrained', checkpoint='work_dirs/cls_cars_s_swinir_x4/epoch_200.pth'))
