# Data and schedule of segmentation on PASCAL VOC 2012 as published, for any segmentor
# of mmsegmentation or torchvision.
_base_ = ['mmseg::_base_/default_runtime.py', '../sr4ir_seg.py']
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
env_cfg = _base_.sr4ir_env

# Published: the short side at 520 pixels, crops of 480, horizontal flips.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(10000, 520), keep_ratio=True, backend='pillow'),
    dict(type='RandomCrop', crop_size=(480, 480)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
# Published: the labels are enlarged too, and compared at that size.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(10000, 520), keep_ratio=True, backend='pillow'),
    dict(type='KeyMapper', mapping=dict(img_shape='img_shape'),
         remapping=dict(img_shape='ori_shape')),
    dict(type='PackSegInputs'),
]
dataset = dict(
    type='PascalVOCDataset', data_root='data/VOCdevkit/VOC2012',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'))
train_dataloader = dict(
    batch_size=16, num_workers=4, **_base_.sr4ir_loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        ann_file='ImageSets/Segmentation/train.txt', pipeline=train_pipeline,
        **dataset))
val_dataloader = dict(
    batch_size=1, num_workers=4, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        ann_file='ImageSets/Segmentation/val.txt', pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU']), _base_.sr4ir_metric]
test_evaluator = val_evaluator

epochs, warmup, ramp = 100, 10, 0
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=5)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    task=dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-6),
        paramwise_cfg=dict(custom_keys={'aux_classifier': dict(lr_mult=10)})),
    **_base_.sr4ir_optim)
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=45),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=5, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    **dict(_base_.sr4ir_hooks, alternate=dict(
        type='mmsr4ir.AlternateTrainingHook', warmup=warmup)))
log_processor = dict(_base_.sr4ir_log_processor, by_epoch=True)

# The rates change with each iteration. SR4IR's cosine starts anew after the warm-up.
schedule = dict(
    type='mmsr4ir.RampCosineRestartLR', ramp=ramp, convert_to_iter_based=True)
schedules = dict(
    plain=dict(periods=[epochs], **schedule),
    restart=dict(periods=[warmup - ramp, epochs - warmup], **schedule))
# All methods but SR4IR.
param_scheduler = dict(
    sr=[dict(schedules['plain'], eta_min=1e-6)],
    task=[dict(schedules['plain'], eta_min=1e-4)])

randomness = dict(seed=200)
