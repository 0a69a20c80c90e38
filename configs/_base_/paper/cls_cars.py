# StanfordCars: 196 classes.
_base_ = ['./cls.py']
model = dict(head=dict(num_classes=196))
data_preprocessor = dict(num_classes=196)
train_dataloader = dict(dataset=dict(type='StanfordCars', data_root='data/stanford_cars'))
val_dataloader = dict(dataset=dict(type='StanfordCars', data_root='data/stanford_cars'))
test_dataloader = dict(dataset=dict(type='StanfordCars', data_root='data/stanford_cars'))
