# Classification with the published settings (options/cls and src/models/cls of the code
# that the authors of SR4IR released, see docs/en/published_settings.md): torchvision's
# ResNet-18, which starts from ImageNet.
_base_ = ['./cls_training.py']
model = dict(
    type='mmsr4ir.TorchvisionClassifier', arch='resnet18',
    weights_backbone='torchvision://resnet18.imagenet1k_v1')
sr4ir_model = dict(
    tdp=dict(layer='network.layer4'))  # after its last ReLU
published = dict()
