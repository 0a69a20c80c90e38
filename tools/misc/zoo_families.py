"""SR networks of mmagic, and what families of the zoos need besides their config."""

_COMMON = dict(in_channels=3, out_channels=3, upscale_factor=4)
#: family of mmagic: its SR network, at x4.
SR_NETWORKS: dict[str, dict] = dict(
    edsr=dict(type='mmagic.EDSRNet', mid_channels=64, num_blocks=16, **_COMMON),
    swinir=dict(
        type='mmagic.SwinIRNet',
        upscale=4,
        img_size=48,
        window_size=8,
        depths=[6] * 4,
        embed_dim=60,
        num_heads=[6] * 4,
        mlp_ratio=2,
        upsampler='pixelshuffle',
        resi_connection='1conv',
    ),
    esrgan=dict(type='mmagic.RRDBNet', mid_channels=64, num_blocks=23, **_COMMON),
    real_esrgan=dict(type='mmagic.RRDBNet', mid_channels=64, num_blocks=23, **_COMMON),
    srgan_resnet=dict(
        type='mmagic.MSRResNet', mid_channels=64, num_blocks=16, **_COMMON
    ),
    rdn=dict(type='mmagic.RDNNet', mid_channels=64, num_blocks=16, **_COMMON),
    srcnn=dict(
        type='mmagic.SRCNNNet',
        channels=(3, 64, 32, 3),
        kernel_sizes=(9, 1, 5),
        upscale_factor=4,
    ),
)

#: (library, family): settings that the config needs besides, as ``--cfg-options``.
#: ``edge`` is the longest size in pixels that the trial scales to.
SETTINGS: dict[tuple[str, str], dict] = {
    # Their 900 queries are chosen among the positions, of which there must be more.
    ('mmdet', 'ddq'): dict(edge=480),
    ('mmdet', 'dino'): dict(edge=320),
    # The data set has the 80 classes of COCO and not the 1203 of LVIS.
    ('mmdet', 'seesaw_loss'): {'model.num_classes': 80},
    # Its levels of features and its anchors are made for images of this size.
    ('mmdet', 'ssd'): dict(edge=300),
    # With class weights, mmseg's cross entropy has no weight for ignored pixels.
    ('mmseg', 'cgnet'): {'model.task.decode_head.loss_decode.class_weight': None},
    ('mmseg', 'pidnet'): {'model.task.decode_head.loss_decode.0.class_weight': None},
    # Its head pools windows of 49 positions, 392 pixels.
    ('mmseg', 'mobilenet_v3'): dict(edge=832),
    ('mmseg', 'san'): {'model.tdp.layer': 'image_encoder'},
    # mmpretrain predicts with their distilled heads but does not train them.
    ('mmpretrain', 'efficientformer'): {'model.task.head.distillation': False},
    ('mmpretrain', 'levit'): {'model.task.head.distillation': False},
    # MNIST has one channel, the classifier in the backbone is made for its size, and
    # the config has no visualizer.
    ('mmpretrain', 'lenet'): {
        'model.tdp.layer': 'backbone.features',
        'model.sr.in_channels': 1,
        'model.sr.out_channels': 1,
        'model.sr.rgb_mean': [0.5],
        'model.sr.rgb_std': [1.0],
        'visualizer': dict(type='mmpretrain.UniversalVisualizer'),
    },
}
#: Families of mmpretrain whose networks take images of any size.
ANY_SIZE = (
    'convmixer convnext convnext_v2 cspnet densenet edgenext efficientnet '
    'efficientnet_v2 hornet hrnet mobilenet_v2 mobilenet_v3 mobileone poolformer '
    'regnet replknet repvgg res2net resnest resnet resnext riformer seresnet '
    'shufflenet_v1 shufflenet_v2 van wrn'
).split()
