# SR4IR x4 on Stanford Cars (60 of its 196 classes, 160 x 112 pixels): MobileNetV2 from
# ImageNet, EDSR from edsr_photos.py.
# docs/en/photographs.md says where the images and weights come from.
_base_ = [
    'mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py',
    '../_base_/sr4ir_cls.py',
    '../_base_/recipes/sr4ir.py',
    '../_base_/photos.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
model = dict(
    _delete_=True, task=_base_.model, recipe=_base_.recipe, num_classes=60,
    **_base_.sr4ir_model)
model['sr'].update(_base_.photos_sr)
model['task']['backbone']['init_cfg'] = dict(
    type='Pretrained',
    checkpoint='data/photos/weights/mobilenet_v2_imagenet.pth')
model['task']['head'].update(topk=(1, ))
data_preprocessor = dict(num_classes=60, mean=[127.5] * 3, std=[127.5] * 3)

dataset = dict(
    _delete_=True, type='CustomDataset', data_root='data/photos/cars/',
    data_prefix='images')
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        ann_file='train_60.txt',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
        **dataset))
val_dataloader = dict(
    batch_size=32,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        ann_file='val_60.txt',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
        **dataset))
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1, )), _base_.photos_metric]
test_evaluator = val_evaluator

# A fine-tuning of both networks. `tools/compare.py --start trained` starts every method
# from one task network (`t`) that was trained on HR images for twice as long.
epochs = 4
train_cfg = dict(max_epochs=epochs, val_interval=epochs)
optim_wrapper = dict(
    _delete_=True, **_base_.sr4ir_optim,
    task=_base_.photos_task_optim)
cosine = dict(
    type='CosineAnnealingLR', begin=0, end=epochs, T_max=epochs, eta_min=1e-6,
    convert_to_iter_based=True)
param_scheduler = dict(_delete_=True, sr=[cosine], task=[cosine])
default_hooks = dict(**_base_.sr4ir_hooks)
default_hooks['alternate'].update(warmup=0)
default_hooks.update(
    logger=dict(interval=20), checkpoint=dict(interval=1, max_keep_ckpts=2))
log_processor = _base_.sr4ir_log_processor
randomness = dict(seed=0)
long = dict(cosine, end=2 * epochs, T_max=2 * epochs)
comparison = dict(t=dict(
    train_cfg=dict(max_epochs=2 * epochs, val_interval=2 * epochs),
    param_scheduler=dict(sr=[long], task=[long])))
