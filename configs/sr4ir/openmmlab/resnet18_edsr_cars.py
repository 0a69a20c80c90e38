# The published training on StanfordCars with mmpretrain's ResNet-18 in the place of
# torchvision's (cls_cars/cls_cars_sr4ir_edsr_x4.py).
_base_ = [
    'mmpretrain::_base_/models/resnet18.py', '../../_base_/paper/cls_training.py',
    '../../_base_/sr/edsr_x4.py', '../../_base_/recipes/sr4ir.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
data_preprocessor = dict(
    num_classes=196, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
    to_rgb=True)
model = dict(
    _base_.sr4ir_model, _delete_=True, recipe=_base_.recipe, **_base_.networks,
    num_classes=196,
    task=dict(
        _base_.model, head=dict(_base_.model.head, topk=(1, )),
        backbone=dict(_base_.model.backbone, init_cfg=dict(
            type='Pretrained', prefix='backbone.',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
            'resnet18_8xb32_in1k_20210831-fbbb1da6.pth'))))
cars = dict(type='StanfordCars', data_root='data/stanford_cars')
train_dataloader = dict(dataset=cars)
val_dataloader = dict(dataset=cars)
test_dataloader = dict(dataset=cars)
param_scheduler = dict(
    sr=[dict(_base_.schedules.restart, eta_min=1e-6)],
    task=[dict(_base_.schedules.restart, eta_min=1e-4)])
