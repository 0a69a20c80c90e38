# SR4IR x4 on IDD-Lite (7 classes, 320 x 227 pixels): DeepLabV3 on MobileNetV2 from
# ImageNet, EDSR from edsr_photos.py.
# docs/en/photographs.md says where the images and weights come from.
_base_ = [
    'mmseg::mobilenet_v2/mobilenet-v2-d8_deeplabv3_4xb2-80k_cityscapes-512x1024.py',
    '../_base_/sr4ir_seg.py',
    '../_base_/recipes/sr4ir.py',
    '../_base_/photos.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
env_cfg = _base_.sr4ir_env
model = dict(
    _delete_=True, task=_base_.model, recipe=_base_.recipe, num_classes=7,
    **_base_.sr4ir_model)
model['sr'].update(_base_.photos_sr)
# Features of a sixteenth of the image and narrow heads: a third of the time on a CPU.
task = model['task']
task['pretrained'] = None
task['backbone'].update(
    strides=(1, 2, 2, 2, 1, 1, 1), dilations=(1, 1, 1, 1, 1, 2, 2),
    norm_cfg=dict(type='BN', requires_grad=True),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='data/photos/weights/mobilenet_v2_imagenet.pth'))
task['decode_head'].update(channels=128, norm_cfg=dict(type='BN'))
task['auxiliary_head'] = None
task['data_preprocessor'].update(
    mean=[127.5] * 3, std=[127.5] * 3, size=(192, 192))

metainfo = dict(
    classes=('drivable', 'non-drivable', 'living thing', 'vehicle', 'roadside object',
             'far object', 'sky'),
    palette=[[128, 64, 128], [244, 35, 232], [220, 20, 60], [0, 0, 230],
             [220, 190, 40], [70, 70, 70], [70, 130, 180]])
dataset = dict(
    _delete_=True, type='BaseSegDataset', data_root='data/photos/idd_lite/',
    metainfo=metainfo, img_suffix='_image.jpg', seg_map_suffix='_label.png')
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        data_prefix=dict(
            img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomCrop', crop_size=(192, 192)),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
        **dataset))
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        **dataset))
test_dataloader = val_dataloader
val_evaluator = [dict(type='IoUMetric', iou_metrics=['mIoU']), _base_.photos_metric]
test_evaluator = val_evaluator

# A fine-tuning of both networks. `tools/compare.py --start trained` starts every method
# from one task network (`t`) that was trained on HR images for twice as long.
epochs = 1
train_cfg = dict(
    _delete_=True, by_epoch=True, max_epochs=epochs, val_interval=epochs)
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
    logger=dict(interval=20, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=2))
log_processor = dict(by_epoch=True, **_base_.sr4ir_log_processor)
randomness = dict(seed=0)
long = dict(cosine, end=2 * epochs, T_max=2 * epochs)
comparison = dict(t=dict(
    train_cfg=dict(max_epochs=2 * epochs, val_interval=2 * epochs),
    param_scheduler=dict(sr=[long], task=[long])))
