# Classification with the published settings (options/cls of the code that the authors
# of SR4IR released): ResNet-18 that starts from ImageNet.
_base_ = [
    'mmpretrain::_base_/models/resnet18.py',
    'mmpretrain::_base_/default_runtime.py',
    '../sr4ir_cls.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
model = dict(
    backbone=dict(init_cfg=dict(
        type='Pretrained', prefix='backbone.',
        checkpoint='https://download.openmmlab.com/mmclassification/v0/resnet/'
        'resnet18_8xb32_in1k_20210831-fbbb1da6.pth')),
    head=dict(topk=(1, )))
data_preprocessor = dict(
    mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

# Published: the short side at 256 pixels, crops of 224, horizontal flips.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='RandomCrop', crop_size=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=128, num_workers=4, **_base_.sr4ir_loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32, num_workers=4, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='test', pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1, )), _base_.sr4ir_metric]
test_evaluator = val_evaluator

epochs, warmup, ramp = 200, 20, 0
train_cfg = dict(by_epoch=True, max_epochs=epochs, val_interval=10)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    task=dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=1e-4)),
    **_base_.sr4ir_optim)
default_hooks = dict(
    logger=dict(interval=45), checkpoint=dict(interval=10, max_keep_ckpts=3),
    **dict(_base_.sr4ir_hooks, alternate=dict(
        type='mmsr4ir.AlternateTrainingHook', warmup=warmup)))
log_processor = _base_.sr4ir_log_processor

# One cosine, and for SR4IR one that starts anew after the warm-up.
first = []
schedules = dict(
    plain=dict(
        type='CosineAnnealingLR', begin=ramp, end=epochs, T_max=epochs - ramp),
    restart=dict(
        type='CosineRestartLR', begin=ramp, end=epochs,
        periods=[warmup - ramp, epochs - warmup], restart_weights=[1, 1]))
