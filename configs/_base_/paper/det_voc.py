# Detection on PASCAL VOC 2012 in COCO style with the published settings (options/det
# and src/models/det of the code that the authors of SR4IR released, see
# docs/en/published_settings.md). Convert the data first:
#   python tools/dataset_converters/voc2coco.py data/VOCdevkit/VOC2012 \
#       --split train val --keep-difficult --out data/VOCdevkit/VOC2012/coco
_base_ = ['./det_voc_training.py']
# torchvision's Faster R-CNN, whose backbone starts from ImageNet: its batch
# normalisation stays as it is, and so do its first seven parts. The detector enlarges
# images to 800 pixels itself, after S.
model = dict(
    type='mmsr4ir.TorchvisionDetector', arch='fasterrcnn_mobilenet_v3_large_fpn',
    num_classes=20, weights_backbone='torchvision://mobilenet_v3_large.imagenet1k_v1',
    frozen_batch_norm=True, frozen=[f'backbone.body.{i}' for i in range(7)])
sr4ir_model = dict(
    task_resize=None,
    # Two levels of its FPN.
    tdp=dict(layer='network.backbone', levels=(0, 1), weights=(0.5, 0.5)))
# The mirrored edges of smaller images count in both losses.
published = dict(count_padding=True)
