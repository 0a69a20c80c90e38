# CUB: 200 classes. mmpretrain reads the folder CUB_200_2011 as unpacked.
_base_ = ['./cls.py']
model = dict(num_classes=200)
train_dataloader = dict(dataset=dict(type='CUB', data_root='data/CUB_200_2011'))
val_dataloader = dict(dataset=dict(type='CUB', data_root='data/CUB_200_2011'))
test_dataloader = dict(dataset=dict(type='CUB', data_root='data/CUB_200_2011'))
