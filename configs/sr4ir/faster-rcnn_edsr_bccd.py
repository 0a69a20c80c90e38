# A CPU-sized SR4IR x4 on real microscope images (BCCD: blood cells, 364 images of 640 x
# 480). Convert its VOC annotations first:
#   python tools/dataset_converters/voc2coco.py data/BCCD --split train val test
_base_ = ['./faster-rcnn_edsr_tiny.py']

data_root = 'data/BCCD/'
classes = ('Platelets', 'RBC', 'WBC')
size = (256, 192)
# The images are made smaller for a CPU: here they are ones of 256 x 192 pixels, and S
# works on those. So the resize stays in the pipelines.
model = dict(num_classes=3, task_resize=None)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=(
        'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
metainfo = dict(classes=classes)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_root=data_root, ann_file='annotations/train.json',
        data_prefix=dict(img=''), metainfo=metainfo, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file='annotations/val.json', data_prefix=dict(img=''),
        metainfo=metainfo, pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file='annotations/test.json',
        data_prefix=dict(img=''), metainfo=metainfo, pipeline=test_pipeline))
val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'annotations/val.json',
         metric='bbox'),
    _base_.sr4ir_metric,
]
test_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'annotations/test.json',
         metric='bbox'),
    _base_.sr4ir_metric,
]

train_cfg = dict(max_epochs=10, val_interval=5)
cosine = dict(
    type='CosineAnnealingLR', begin=0, end=10, T_max=10, eta_min=1e-5,
    convert_to_iter_based=True)
param_scheduler = dict(sr=[cosine], task=[cosine])
default_hooks = dict(checkpoint=dict(interval=5))
