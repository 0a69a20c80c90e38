# StanfordCars: 196 classes.
_base_ = ['./cls.py']
model = dict(num_classes=196)
cars = dict(type='StanfordCars', data_root='data/stanford_cars')
train_dataloader = dict(dataset=cars)
val_dataloader = dict(dataset=cars)
test_dataloader = dict(dataset=cars)
