# Data and schedule of detection on PASCAL VOC 2012 as published, for any detector of
# mmdet or torchvision.
_base_ = ['mmdet::_base_/default_runtime.py', '../sr4ir_det.py']
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)

data_root = 'data/VOCdevkit/VOC2012/'
classes = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
    'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant',
    'sheep', 'sofa', 'train', 'tvmonitor')
# The published augmentation is the horizontal flip alone.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape')),
]
dataset = dict(
    type='CocoDataset', data_root=data_root, data_prefix=dict(img=''),
    metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=16, num_workers=4, **_base_.sr4ir_loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        ann_file='coco/train.json', pipeline=train_pipeline, **dataset))
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

# The rates change with each iteration; in the first epoch they rise. SR4IR's cosine
# starts anew after the warm-up.
schedule = dict(
    type='mmsr4ir.RampCosineRestartLR', ramp=ramp, convert_to_iter_based=True)
schedules = dict(
    plain=dict(periods=[epochs], **schedule),
    restart=dict(periods=[warmup - ramp, epochs - warmup], **schedule))
# All methods but SR4IR.
param_scheduler = dict(
    sr=[dict(schedules['plain'], eta_min=1e-6)],
    task=[dict(schedules['plain'], eta_min=1e-4)])

randomness = dict(seed=100)
