# SR4IR x4 on Freiburg groceries (25 classes, 224 x 224 pixels): YOLOX-nano from COCO,
# EDSR from edsr_photos.py.
# docs/en/photographs.md says where the images and weights come from.
_base_ = [
    'mmdet::yolox/yolox_nano_8xb8-300e_coco.py',
    '../_base_/sr4ir_det.py',
    '../_base_/recipes/sr4ir.py',
    '../_base_/photos.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
model = dict(
    _delete_=True, task=_base_.model, recipe=_base_.recipe, num_classes=25,
    **_base_.sr4ir_model)
model['sr'].update(_base_.photos_sr)
model['task_resize'] = None  # the task network sees the images in their size
model['task'].update(
    init_cfg=dict(
        type='Pretrained', checkpoint='data/photos/weights/yolox_nano_coco.pth',
        strict=False))  # but for the layers of the classes
model['task']['data_preprocessor']['batch_augments'] = None

data_root = 'data/photos/groceries/'
classes = (
    'beans', 'cake', 'candy', 'cereal', 'chips', 'chocolate', 'coffee', 'corn', 'fish',
    'flour', 'honey', 'jam', 'juice', 'milk', 'nuts', 'oil', 'pasta', 'rice', 'soda',
    'spices', 'sugar', 'tea', 'tomato_sauce', 'vinegar', 'water')
dataset = dict(
    _delete_=True, type='CocoDataset', data_root=data_root,
    data_prefix=dict(img='images/'), metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        ann_file='train.json',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackDetInputs'),
        ],
        **dataset))
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    dataset=dict(
        ann_file='test.json',
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True),
            dict(type='PackDetInputs', meta_keys=(
                'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
        ],
        **dataset))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'test.json', metric='bbox'),
    _base_.photos_metric,
]
test_evaluator = val_evaluator

# A fine-tuning of both networks. `tools/compare.py --start trained` starts every method
# from one task network (`t`) that was trained on HR images for twice as long.
epochs = 1
train_cfg = dict(
    _delete_=True, type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=epochs)
optim_wrapper = dict(
    _delete_=True, **_base_.sr4ir_optim,
    task=_base_.photos_task_optim)
cosine = dict(
    type='CosineAnnealingLR', begin=0, end=epochs, T_max=epochs, eta_min=1e-6,
    convert_to_iter_based=True)
param_scheduler = dict(_delete_=True, sr=[cosine], task=[cosine])
custom_hooks = []  # those of YOLOX are for its 300 epochs
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
