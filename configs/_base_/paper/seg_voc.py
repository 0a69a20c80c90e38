# Segmentation on PASCAL VOC 2012 with the published settings (options/seg of the code
# that the authors of SR4IR released).
_base_ = [
    'mmseg::_base_/models/deeplabv3_r50-d8.py',
    'mmseg::_base_/default_runtime.py',
    '../sr4ir_seg.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
# DeepLabV3 with MobileNetV3-Large in mmsegmentation's form: its output has a stride of
# 8, torchvision's one of 16.
mobile_norm = dict(type='SyncBN', eps=0.001, momentum=0.01, requires_grad=True)
model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True, type='MobileNetV3', arch='large', out_indices=(4, 16),
        norm_cfg=mobile_norm,
        init_cfg=dict(
            type='Pretrained', checkpoint='https://download.openmmlab.com/pretrain/'
            'third_party/mobilenet_v3_large-bc2c3fd3.pth')),
    decode_head=dict(in_channels=960, in_index=1, channels=256, num_classes=21),
    # Published: weight 0.5, on the stage of 40 channels.
    auxiliary_head=dict(
        in_channels=40, in_index=0, channels=10, num_classes=21,
        loss_decode=dict(loss_weight=0.5)))

# Published: the short side at 520 pixels, crops of 480, horizontal flips.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='ResizeShortestEdge', scale=520, max_size=10000),
    dict(type='RandomCrop', crop_size=(480, 480)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeShortestEdge', scale=520, max_size=10000),
    dict(type='LoadAnnotations'),
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
        optimizer=dict(type='SGD', lr=0.02, momentum=0.9, weight_decay=1e-6)),
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

# One cosine, and for SR4IR one that starts anew after the warm-up.
first = []
schedules = dict(
    plain=dict(
        type='CosineAnnealingLR', begin=ramp, end=epochs, T_max=epochs - ramp),
    restart=dict(
        type='CosineRestartLR', begin=ramp, end=epochs,
        periods=[warmup - ramp, epochs - warmup], restart_weights=[1, 1]))
