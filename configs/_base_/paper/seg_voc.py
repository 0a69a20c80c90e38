# Segmentation on PASCAL VOC 2012 with the published settings (options/seg and
# src/models/seg of the code that the authors of SR4IR released, see
# docs/en/published_settings.md).
_base_ = ['./seg_voc_training.py']
# torchvision's DeepLabV3, output stride 16, whose backbone starts from ImageNet.
model = dict(
    type='mmsr4ir.TorchvisionSegmentor', arch='deeplabv3_mobilenet_v3_large',
    num_classes=21, aux_loss=True,
    weights_backbone='torchvision://mobilenet_v3_large.imagenet1k_v1')
sr4ir_model = dict(
    tdp=dict(layer='network.backbone'))  # its last output, C5
published = dict()
