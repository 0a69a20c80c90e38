# A CPU-sized SR4IR x4 on real street images: CamVid in 11 classes, 480 x 360, with the
# label maps in data/camvid/labels and 11 for what is not labelled.
_base_ = ['./deeplabv3_edsr_tiny.py']

data_root = 'data/camvid/'
size = (240, 180)
unlabelled = 11
metainfo = dict(
    classes=('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence',
             'car', 'pedestrian', 'bicyclist'),
    palette=[[128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128],
             [60, 40, 222], [128, 128, 0], [192, 128, 128], [64, 64, 128],
             [64, 0, 128], [64, 64, 0], [0, 128, 192]])
model = dict(
    num_classes=11,
    task=dict(
        data_preprocessor=dict(seg_pad_val=unlabelled),
        decode_head=dict(
            ignore_index=unlabelled, loss_decode=dict(class_weight=None)),
        auxiliary_head=dict(
            ignore_index=unlabelled, loss_decode=dict(class_weight=None))))

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
# The ground truth keeps its size; predictions are enlarged to it.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=size, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
dataset = dict(
    _delete_=True, type='BaseSegDataset', data_root=data_root, metainfo=metainfo,
    img_suffix='.jpg', ignore_index=unlabelled)
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_prefix=dict(img_path='images/train', seg_map_path='labels/train'),
        pipeline=train_pipeline, **dataset))
val_dataloader = dict(
    dataset=dict(
        data_prefix=dict(img_path='images/val', seg_map_path='labels/val'),
        pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index=unlabelled),
    _base_.sr4ir_metric,
]
test_evaluator = val_evaluator

optim_wrapper = dict(task=dict(optimizer=dict(lr=1e-3)))
train_cfg = dict(max_epochs=8, val_interval=4)
cosine = dict(
    type='CosineAnnealingLR', begin=0, end=8, T_max=8, eta_min=1e-5,
    convert_to_iter_based=True)
param_scheduler = dict(sr=[cosine], task=[cosine])
default_hooks = dict(alternate=dict(warmup=2), checkpoint=dict(interval=4))
