# A CPU-sized SR4IR x4 on CIFAR-10 in class folders: 32 x 32 pixels, LR images of 8 x 8.
_base_ = ['./resnet18_edsr_tiny.py']

data_root = 'data/cifar10/'
classes = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse',
           'ship', 'truck')
model = dict(num_classes=10)
data_preprocessor = dict(num_classes=10)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
dataset = dict(
    _delete_=True, type='CustomDataset', data_root=data_root,
    metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=64,
    dataset=dict(data_prefix='train', pipeline=train_pipeline, **dataset))
val_dataloader = dict(
    batch_size=100,
    dataset=dict(data_prefix='test', pipeline=test_pipeline, **dataset))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=8, val_interval=4)
cosine = dict(
    type='CosineAnnealingLR', begin=0, end=8, T_max=8, eta_min=1e-5,
    convert_to_iter_based=True)
param_scheduler = dict(sr=[cosine], task=[cosine])
default_hooks = dict(
    alternate=dict(warmup=2), logger=dict(interval=20), checkpoint=dict(interval=4))
