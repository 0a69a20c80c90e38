# The SR network of the photographs: EDSR x4, trained on pixels of the training images
# of Cars, groceries and IDD-Lite (docs/en/photographs.md). It needs no labels. The task
# network, the demo's, is there because a config has two networks; it learns nothing.
_base_ = ['./resnet18_edsr_tiny.py', '../_base_/photos.py']

model = dict(
    recipe=dict(
        _delete_=True, sr=dict(update=['sr'], losses=dict(pixel=1.0))),
    tdp=None,
    patch_mix=None,
    sr=_base_.photos_network)

data_root = 'data/photos/'
dataset = dict(
    _delete_=True, type='CustomDataset', data_root=data_root, data_prefix='',
    with_label=False)
train_dataloader = dict(
    batch_size=16,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        ann_file='train.txt',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomCrop', crop_size=96),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='RandomFlip', prob=0.5, direction='vertical'),
            dict(type='PackInputs'),
        ],
        **dataset))
val_dataloader = dict(
    batch_size=1,  # images of three sizes
    dataset=dict(
        ann_file='val.txt',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        **dataset))
test_dataloader = val_dataloader
val_evaluator = [_base_.photos_metric]
test_evaluator = val_evaluator

# Half an hour to an hour of one core.
train_cfg = dict(
    _delete_=True, by_epoch=False, max_iters=10000, val_interval=2000)
optim_wrapper = dict(sr=dict(optimizer=dict(lr=5e-4)))
cosine = dict(
    type='CosineAnnealingLR', begin=0, end=10000, T_max=10000, eta_min=1e-6,
    by_epoch=False)
param_scheduler = dict(_delete_=True, sr=[cosine])
default_hooks = dict(
    alternate=dict(warmup=0, by_epoch=False),
    logger=dict(interval=100),
    checkpoint=dict(by_epoch=False, interval=1000))
log_processor = dict(by_epoch=False)
