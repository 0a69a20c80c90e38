# The demo: a CPU-sized SR4IR x4 on the embedded dataset, made by
#   python tools/dataset_converters/make_textured_shapes.py
_base_ = ['./faster-rcnn_edsr_coco.py', '../_base_/tiny_faster_rcnn.py']

data_root = 'data/textured_shapes/'
size = (128, 128)
classes = ('horizontal', 'vertical', 'diagonal', 'checker')
model = dict(num_classes=4, task=_base_.tiny_task, sr=_base_.tiny_sr)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        data_root=data_root, ann_file='annotations/train.json',
        data_prefix=dict(img='train/'), metainfo=dict(classes=classes),
        filter_cfg=dict(filter_empty_gt=True, min_size=16), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        data_root=data_root, ann_file='annotations/val.json',
        data_prefix=dict(img='val/'), metainfo=dict(classes=classes),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'annotations/val.json',
         metric='bbox'),
    _base_.sr4ir_metric,
]
test_evaluator = val_evaluator

# A short training from nothing: AdamW for both networks, the same shape of schedule.
train_cfg = dict(max_epochs=6, val_interval=6)
optim_wrapper = dict(
    sr=dict(optimizer=dict(lr=1e-3)),
    task=dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=1e-4)))
cosine = dict(
    type='CosineAnnealingLR', begin=0, end=6, T_max=6, eta_min=1e-5,
    convert_to_iter_based=True)
param_scheduler = dict(sr=[cosine], task=[cosine])
default_hooks = dict(
    alternate=dict(warmup=2),
    logger=dict(interval=10),
    checkpoint=dict(interval=3, max_keep_ckpts=2))
randomness = dict(seed=0)
