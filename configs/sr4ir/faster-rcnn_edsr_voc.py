# SR4IR x4 on PASCAL VOC 2012 in COCO style, with the published settings. Convert the
# data first:
#   python tools/dataset_converters/voc2coco.py data/VOCdevkit/VOC2012 \
#       --split train val --out data/VOCdevkit/VOC2012/coco
# (The paper's detector is Faster R-CNN with MobileNetV3-Large; this one has ResNet-50.)
_base_ = ['./faster-rcnn_edsr_coco.py']

data_root = 'data/VOCdevkit/VOC2012/'
classes = (
    'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
    'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant',
    'sheep', 'sofa', 'train', 'tvmonitor')
model = dict(num_classes=20)

train_dataloader = dict(
    batch_size=16,  # published
    dataset=dict(
        data_root=data_root, ann_file='coco/train.json', data_prefix=dict(img=''),
        metainfo=dict(classes=classes)))
val_dataloader = dict(
    dataset=dict(
        data_root=data_root, ann_file='coco/val.json', data_prefix=dict(img=''),
        metainfo=dict(classes=classes)))
test_dataloader = val_dataloader
val_evaluator = [
    dict(type='CocoMetric', ann_file=data_root + 'coco/val.json', metric='bbox'),
    _base_.sr4ir_metric,
]
test_evaluator = val_evaluator

# Published: 30 epochs, 3 of them warm-up; a linear ramp of one epoch, then cosine
# schedules that start anew after the warm-up.
train_cfg = dict(max_epochs=30)
default_hooks = dict(alternate=dict(warmup=3))
cosine = dict(
    type='CosineRestartLR', begin=1, end=30, periods=[2, 27], restart_weights=[1, 1])
ramp = dict(
    type='LinearLR', start_factor=0.001, begin=0, end=1, convert_to_iter_based=True)
param_scheduler = dict(
    sr=[ramp, dict(eta_min=1e-6, **cosine)],
    task=[ramp, dict(eta_min=1e-4, **cosine)])
