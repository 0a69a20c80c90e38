# T->S x4 with EDSR: classification on Stanford Cars.
_base_ = [
    '../../_base_/paper/cls_cars.py', '../../_base_/sr/edsr_x4.py',
    '../../_base_/recipes/t2s.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
# From the run of cls_cars_h2t.py.
model['task'] = dict(model['task'], init_cfg=dict(
    type='Pretrained', checkpoint='work_dirs/cls_cars_h2t/epoch_200.pth'))
