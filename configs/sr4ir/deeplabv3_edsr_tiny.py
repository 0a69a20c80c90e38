# The demo of segmentation: a CPU-sized SR4IR x4 on the embedded dataset, made by
#   python tools/dataset_converters/make_textured_shapes.py
_base_ = ['./deeplabv3_edsr_cityscapes.py', '../_base_/tiny_deeplabv3.py']

data_root = 'data/textured_shapes/'
metainfo = dict(
    classes=('background', 'horizontal', 'vertical', 'diagonal', 'checker'),
    palette=[[0, 0, 0], [220, 50, 50], [50, 160, 60], [60, 90, 220], [230, 180, 40]])
model = dict(num_classes=5, task=_base_.tiny_task, sr=_base_.tiny_sr)
# Six pixels of seven are background: with equal weights a short training sees no more.
weights = [0.1, 1.0, 1.0, 1.0, 1.0]
model['task']['decode_head']['loss_decode'] = dict(class_weight=weights)
model['task']['auxiliary_head']['loss_decode'] = dict(class_weight=weights)

pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
dataset = dict(
    _delete_=True, type='BaseSegDataset', data_root=data_root, metainfo=metainfo,
    img_suffix='.png', pipeline=pipeline)
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    sampler=dict(type='DefaultSampler'),
    dataset=dict(
        data_prefix=dict(img_path='train', seg_map_path='semantic/train'), **dataset))
val_dataloader = dict(
    batch_size=1,  # mmseg predicts no batch of images whose sizes differ
    num_workers=1,
    dataset=dict(
        data_prefix=dict(img_path='val', seg_map_path='semantic/val'), **dataset))
test_dataloader = val_dataloader

# A short training from nothing: AdamW for both networks, the same shape of schedule.
train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=12, val_interval=12)
optim_wrapper = dict(
    sr=dict(optimizer=dict(lr=1e-3)),
    task=dict(optimizer=dict(_delete_=True, **dict(_base_.tiny_adamw, lr=2e-3))))
cosine = dict(
    type='CosineAnnealingLR', begin=0, end=12, T_max=12, eta_min=1e-5,
    convert_to_iter_based=True)
param_scheduler = dict(sr=[cosine], task=[cosine])
default_hooks = dict(
    alternate=dict(warmup=3, by_epoch=True),
    logger=dict(interval=10, log_metric_by_epoch=True),
    checkpoint=dict(by_epoch=True, interval=6, max_keep_ckpts=2))
log_processor = dict(by_epoch=True)
randomness = dict(seed=0)
