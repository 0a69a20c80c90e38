# The published segmentation training on PASCAL VOC 2012 with mmsegmentation's DeepLabV3
# and MobileNetV3-Large in the place of torchvision's
# (seg_voc/seg_voc_sr4ir_edsr_x4.py): an output stride of 8 instead of 16.
_base_ = [
    'mmseg::_base_/models/deeplabv3_r50-d8.py',
    '../../_base_/paper/seg_voc_training.py', '../../_base_/sr/edsr_x4.py',
    '../../_base_/recipes/sr4ir.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
model = dict(
    _base_.sr4ir_model, _delete_=True, recipe=_base_.recipe, **_base_.networks,
    num_classes=21,
    task=dict(
        _base_.model, pretrained=None,
        backbone=dict(
            type='MobileNetV3', arch='large', out_indices=(4, 16),
            norm_cfg=dict(type='SyncBN', eps=0.001, momentum=0.01, requires_grad=True),
            init_cfg=dict(
                type='Pretrained', checkpoint='https://download.openmmlab.com/pretrain/'
                'third_party/mobilenet_v3_large-bc2c3fd3.pth')),
        decode_head=dict(
            _base_.model.decode_head, in_channels=960, in_index=1, channels=256),
        auxiliary_head=dict(
            _base_.model.auxiliary_head, in_channels=40, in_index=0, channels=10,
            loss_decode=dict(
                _base_.model.auxiliary_head.loss_decode, loss_weight=0.5))))
optim_wrapper = dict(task=dict(paramwise_cfg=dict(
    _delete_=True, custom_keys={'auxiliary_head': dict(lr_mult=10)})))
param_scheduler = dict(
    sr=[dict(_base_.schedules.restart, eta_min=1e-6)],
    task=[dict(_base_.schedules.restart, eta_min=1e-4)])
