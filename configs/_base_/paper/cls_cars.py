# StanfordCars: 196 classes. mmpretrain reads what was unpacked: cars_annos.mat beside
# car_ims; or cars_train, cars_test and devkit, which must also hold the file
# cars_test_annos_withlabels.mat, a download of its own.
_base_ = ['./cls.py']
model = dict(num_classes=196)
cars = dict(type='StanfordCars', data_root='data/stanford_cars')
train_dataloader = dict(dataset=cars)
val_dataloader = dict(dataset=cars)
test_dataloader = dict(dataset=cars)
