# The published detection training on PASCAL VOC 2012 with mmdet's Faster R-CNN in the
# place of torchvision's (det_voc/det_voc_sr4ir_edsr_x4.py): the same network of mmdet's
# and mmpretrain's parts, with two levels of stride 32 and their max-pooled third.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../../_base_/paper/det_voc_training.py', '../../_base_/sr/edsr_x4.py',
    '../../_base_/recipes/sr4ir.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
rpn_head, roi_head = _base_.model.rpn_head, _base_.model.roi_head
model = dict(
    _base_.sr4ir_model, _delete_=True, recipe=_base_.recipe, **_base_.networks,
    num_classes=20,
    task=dict(
        _base_.model,
        backbone=dict(
            type='mmpretrain.MobileNetV3', arch='large', out_indices=(13, 16),
            norm_eval=True,
            init_cfg=dict(
                type='Pretrained', prefix='backbone.',
                checkpoint='https://download.openmmlab.com/mmclassification/v0/'
                'mobilenet_v3/convert/mobilenet_v3_large-3ea3c186.pth')),
        neck=dict(_base_.model.neck, in_channels=[160, 960], num_outs=3),
        rpn_head=dict(rpn_head, anchor_generator=dict(
            rpn_head.anchor_generator, scales=[1, 2, 4, 8, 16],
            base_sizes=[32, 32, 32], strides=[32, 32, 64])),
        roi_head=dict(roi_head, bbox_roi_extractor=dict(
            roi_head.bbox_roi_extractor, featmap_strides=[32, 32],
            finest_scale=448))))
# After S, as the detector of torchvision does it by itself.
model['task_resize'] = dict(type='Resize', scale=(1333, 800), keep_ratio=True)
param_scheduler = dict(
    sr=[dict(_base_.schedules.restart, eta_min=1e-6)],
    task=[dict(_base_.schedules.restart, eta_min=1e-4)])
