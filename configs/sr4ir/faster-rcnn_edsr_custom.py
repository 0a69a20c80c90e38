# Your own data in COCO format: copy this file and change the lines up to the mark. For
# another detector, make a config of it as docs/en/configs.md shows under "Another
# network" (my_retinanet.py) and name it in _base_.
_base_ = ['./faster-rcnn_edsr_coco.py']

data_root = 'data/mine/'
train_ann, train_images = 'annotations/train.json', 'train/'
val_ann, val_images = 'annotations/val.json', 'val/'
classes = ('first', 'second')
# ---- nothing to change below ----

model = dict(num_classes=len(classes))
train_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file=train_ann, data_prefix=dict(img=train_images),
        metainfo=dict(classes=classes)))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file=val_ann, data_prefix=dict(img=val_images),
        metainfo=dict(classes=classes)))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + val_ann, metric='bbox'),
    _base_.sr4ir_metric,
]
test_evaluator = val_evaluator
