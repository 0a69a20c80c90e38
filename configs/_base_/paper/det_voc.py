# Detection on PASCAL VOC 2012 in COCO style with the published settings (options/det of
# the code that the authors of SR4IR released). Convert the data first:
#   python tools/dataset_converters/voc2coco.py data/VOCdevkit/VOC2012 \
#       --split train val --out data/VOCdevkit/VOC2012/coco
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    'mmdet::_base_/default_runtime.py',
    '../sr4ir_det.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
# Faster R-CNN with MobileNetV3-Large-FPN as torchvision builds it, of mmpretrain's and
# mmdet's parts: two levels of stride 32 and their max-pooled third, 15 anchors each.
model = dict(
    backbone=dict(
        _delete_=True, type='mmpretrain.MobileNetV3', arch='large',
        out_indices=(13, 16), norm_eval=True,
        init_cfg=dict(
            type='Pretrained', prefix='backbone.',
            checkpoint='https://download.openmmlab.com/mmclassification/v0/'
            'mobilenet_v3/convert/mobilenet_v3_large-3ea3c186.pth')),
    neck=dict(in_channels=[160, 960], num_outs=3),
    rpn_head=dict(anchor_generator=dict(
        scales=[1, 2, 4, 8, 16], base_sizes=[32, 32, 32], strides=[32, 32, 64])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[32, 32], finest_scale=448),
        bbox_head=dict(num_classes=20)))

data_root = 'data/VOCdevkit/VOC2012/'
classes = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
    'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant',
    'sheep', 'sofa', 'train', 'tvmonitor')
# The published augmentation is the horizontal flip alone; torchvision's detector
# enlarges the images to 800 pixels inside.
size = (1333, 800)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
dataset = dict(
    type='CocoDataset', data_root=data_root, data_prefix=dict(img=''),
    metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=16, num_workers=4, **_base_.sr4ir_loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        ann_file='coco/train.json', filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline, **dataset))
val_dataloader = dict(
    batch_size=1, num_workers=4, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        ann_file='coco/val.json', test_mode=True, pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'coco/val.json', metric='bbox'),
    _base_.sr4ir_metric,
]
test_evaluator = val_evaluator

# One epoch of linear ramp, then the cosine.
epochs, warmup, ramp = 30, 3, 1
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    task=dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-4)),
    **_base_.sr4ir_optim)
default_hooks = dict(
    logger=dict(interval=100), checkpoint=dict(interval=5, max_keep_ckpts=3),
    **dict(_base_.sr4ir_hooks, alternate=dict(
        type='mmsr4ir.AlternateTrainingHook', warmup=warmup)))
log_processor = _base_.sr4ir_log_processor

# One cosine, and for SR4IR one that starts anew after the warm-up.
first = [dict(
    type='LinearLR', start_factor=0.001, begin=0, end=ramp,
    convert_to_iter_based=True)]
schedules = dict(
    plain=dict(
        type='CosineAnnealingLR', begin=ramp, end=epochs, T_max=epochs - ramp),
    restart=dict(
        type='CosineRestartLR', begin=ramp, end=epochs,
        periods=[warmup - ramp, epochs - warmup], restart_weights=[1, 1]))
