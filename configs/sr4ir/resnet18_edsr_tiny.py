# The demo of classification: a CPU-sized SR4IR x4 on the class crops (64 x 64) of the
# embedded dataset, made by
#   python tools/dataset_converters/make_textured_shapes.py
_base_ = ['./resnet50_edsr_imagenet.py', '../_base_/tiny_resnet.py']

data_root = 'data/textured_shapes/classification/'
classes = ('checker', 'diagonal', 'horizontal', 'vertical')  # as the folders are sorted
model = dict(num_classes=4, task=_base_.tiny_task, sr=_base_.tiny_sr)
data_preprocessor = dict(num_classes=4)

pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
dataset = dict(
    _delete_=True, type='CustomDataset', data_root=data_root,
    metainfo=dict(classes=classes), pipeline=pipeline)
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(data_prefix='train', **dataset))
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(data_prefix='val', **dataset))
test_dataloader = val_dataloader
val_evaluator = [dict(type='Accuracy', topk=(1, )), _base_.sr4ir_metric]
test_evaluator = val_evaluator

# A short training from nothing: AdamW for both networks, the same shape of schedule.
train_cfg = dict(max_epochs=20, val_interval=20)
optim_wrapper = dict(
    sr=dict(optimizer=dict(lr=1e-3)),
    task=dict(optimizer=dict(_delete_=True, **_base_.tiny_adamw)))
cosine = dict(
    type='CosineAnnealingLR', begin=0, end=20, T_max=20, eta_min=1e-5,
    convert_to_iter_based=True)
param_scheduler = dict(sr=[cosine], task=[cosine])
default_hooks = dict(
    alternate=dict(warmup=4),
    logger=dict(interval=5),
    checkpoint=dict(interval=10, max_keep_ckpts=2))
randomness = dict(seed=0)
