# Data and schedule of classification as published, for any classifier of mmpretrain or
# torchvision.
_base_ = ['mmpretrain::_base_/default_runtime.py', '../sr4ir_cls.py']
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)

# Published: the short side at 256 pixels, crops of 224, horizontal flips; the LR image
# is made of the crop.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='RandomCrop', crop_size=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
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
