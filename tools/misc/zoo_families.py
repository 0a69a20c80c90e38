"""The families of the model zoos: one config of each, or why it is out of scope.

A family is a folder of configs. The config is one of the smallest networks of its
family that have what the family is about.
"""

#: library: {family: config without ``.py``}, of the libraries' folders of configs.
FAMILIES: dict[str, dict[str, str]] = dict(
    mmdet={
        'albu_example': 'mask-rcnn_r50_fpn_albu-1x_coco',
        'atss': 'atss_r50_fpn_1x_coco',
        'autoassign': 'autoassign_r50-caffe_fpn_1x_coco',
        'boxinst': 'boxinst_r50_fpn_ms-90k_coco',
        'carafe': 'faster-rcnn_r50_fpn-carafe_1x_coco',
        'cascade_rcnn': 'cascade-rcnn_r50_fpn_1x_coco',
        'cascade_rpn': 'cascade-rpn_faster-rcnn_r50-caffe_fpn_1x_coco',
        'centernet': 'centernet_r18_8xb16-crop512-140e_coco',
        'centripetalnet': 'centripetalnet_hourglass104_16xb6-crop511-210e-mstest_coco',
        'condinst': 'condinst_r50_fpn_ms-poly-90k_coco_instance',
        'conditional_detr': 'conditional-detr_r50_8xb2-50e_coco',
        'convnext': 'mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco',
        'cornernet': 'cornernet_hourglass104_8xb6-210e-mstest_coco',
        'crowddet': 'crowddet-rcnn_r50_fpn_8xb2-30e_crowdhuman',
        'dab_detr': 'dab-detr_r50_8xb2-50e_coco',
        'dcn': 'faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco',
        'dcnv2': 'faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco',
        'ddod': 'ddod_r50_fpn_1x_coco',
        'ddq': 'ddq-detr-4scale_r50_8xb2-12e_coco',
        'deformable_detr': 'deformable-detr_r50_16xb2-50e_coco',
        'detectors': 'cascade-rcnn_r50-rfp_1x_coco',
        'detr': 'detr_r18_8xb2-500e_coco',
        'dino': 'dino-4scale_r50_8xb2-12e_coco',
        'double_heads': 'dh-faster-rcnn_r50_fpn_1x_coco',
        'dyhead': 'atss_r50_fpn_dyhead_1x_coco',
        'dynamic_rcnn': 'dynamic-rcnn_r50_fpn_1x_coco',
        'efficientnet': 'retinanet_effb3_fpn_8xb4-crop896-1x_coco',
        'empirical_attention': 'faster-rcnn_r50-attn0010_fpn_1x_coco',
        'fast_rcnn': 'fast-rcnn_r50_fpn_1x_coco',
        'faster_rcnn': 'faster-rcnn_r50_fpn_1x_coco',
        'fcos': 'fcos_r50-caffe_fpn_gn-head_1x_coco',
        'foveabox': 'fovea_r50_fpn_4xb4-1x_coco',
        'fpg': 'faster-rcnn_r50_fpg-chn128_crop640-50e_coco',
        'free_anchor': 'freeanchor_r50_fpn_1x_coco',
        'fsaf': 'fsaf_r50_fpn_1x_coco',
        'gcnet': 'mask-rcnn_r50-gcb-r4-c3-c5_fpn_1x_coco',
        'gfl': 'gfl_r50_fpn_1x_coco',
        'ghm': 'retinanet_r50_fpn_ghm-1x_coco',
        'gn': 'mask-rcnn_r50_fpn_gn-all_2x_coco',
        'gn+ws': 'faster-rcnn_r50_fpn_gn-ws-all_1x_coco',
        'grid_rcnn': 'grid-rcnn_r50_fpn_gn-head_1x_coco',
        'groie': 'faste-rcnn_r50_fpn_groie_1x_coco',
        'guided_anchoring': 'ga-retinanet_r50_fpn_1x_coco',
        'hrnet': 'faster-rcnn_hrnetv2p-w18-1x_coco',
        'htc': 'htc_r50_fpn_1x_coco',
        'instaboost': 'mask-rcnn_r50_fpn_instaboost-4x_coco',
        'lad': 'lad_r50-paa-r101_fpn_2xb8_coco_1x',
        'ld': 'ld_r18-gflv1-r101_fpn_1x_coco',
        'legacy_1.x': 'retinanet_r50_fpn_1x_coco_v1',
        'libra_rcnn': 'libra-faster-rcnn_r50_fpn_1x_coco',
        'mask2former': 'mask2former_r50_8xb2-lsj-50e_coco',
        'mask_rcnn': 'mask-rcnn_r50_fpn_1x_coco',
        'maskformer': 'maskformer_r50_ms-16xb1-75e_coco',
        'ms_rcnn': 'ms-rcnn_r50-caffe_fpn_1x_coco',
        'nas_fcos': 'nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco',
        'nas_fpn': 'retinanet_r50_nasfpn_crop640-50e_coco',
        'paa': 'paa_r50_fpn_1x_coco',
        'pafpn': 'faster-rcnn_r50_pafpn_1x_coco',
        'panoptic_fpn': 'panoptic-fpn_r50_fpn_1x_coco',
        'pisa': 'faster-rcnn_r50_fpn_pisa_1x_coco',
        'point_rend': 'point-rend_r50-caffe_fpn_ms-1x_coco',
        'pvt': 'retinanet_pvtv2-b0_fpn_1x_coco',
        'queryinst': 'queryinst_r50_fpn_1x_coco',
        'regnet': 'faster-rcnn_regnetx-400MF_fpn_ms-3x_coco',
        'reppoints': 'reppoints-moment_r50_fpn_1x_coco',
        'res2net': 'faster-rcnn_res2net-101_fpn_2x_coco',
        'resnest': 'faster-rcnn_s50_fpn_syncbn-backbone+head_ms-range-1x_coco',
        'resnet_strikes_back': 'faster-rcnn_r50-rsb-pre_fpn_1x_coco',
        'retinanet': 'retinanet_r18_fpn_1x_coco',
        'rpn': 'rpn_r50_fpn_1x_coco',
        'rtmdet': 'rtmdet_tiny_8xb32-300e_coco',
        'sabl': 'sabl-faster-rcnn_r50_fpn_1x_coco',
        'scnet': 'scnet_r50_fpn_1x_coco',
        'scratch': 'faster-rcnn_r50-scratch_fpn_gn-all_6x_coco',
        'seesaw_loss': 'mask-rcnn_r50_fpn_seesaw-loss_random-ms-2x_lvis-v1',
        'selfsup_pretrain': 'mask-rcnn_r50-mocov2-pre_fpn_1x_coco',
        'simple_copy_paste': 'mask-rcnn_r50_fpn_rpn-2conv_4conv1fc_syncbn-all_32xb2-'
        'ssj-scp-90k_coco',
        'solo': 'solo_r50_fpn_1x_coco',
        'solov2': 'solov2-light_r18_fpn_ms-3x_coco',
        'sparse_rcnn': 'sparse-rcnn_r50_fpn_1x_coco',
        'ssd': 'ssd300_coco',
        'strong_baselines': 'mask-rcnn_r50_fpn_rpn-2conv_4conv1fc_syncbn-all_lsj-'
        '50e_coco',
        'swin': 'retinanet_swin-t-p4-w7_fpn_1x_coco',
        'timm_example': 'retinanet_timm-tv-resnet50_fpn_1x_coco',
        'tood': 'tood_r50_fpn_1x_coco',
        'tridentnet': 'tridentnet_r50-caffe_1x_coco',
        'vfnet': 'vfnet_r50_fpn_1x_coco',
        'yolact': 'yolact_r50_1xb8-55e_coco',
        'yolo': 'yolov3_mobilenetv2_8xb24-320-300e_coco',
        'yolof': 'yolof_r50-c5_8xb8-1x_coco',
        'yolox': 'yolox_tiny_8xb8-300e_coco',
    },
    mmseg={
        'ann': 'ann_r50-d8_4xb4-80k_ade20k-512x512',
        'apcnet': 'apcnet_r50-d8_4xb4-80k_ade20k-512x512',
        'beit': 'beit-base_upernet_8xb2-160k_ade20k-640x640',
        'bisenetv1': 'bisenetv1_r18-d32_4xb4-160k_cityscapes-1024x1024',
        'bisenetv2': 'bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024',
        'ccnet': 'ccnet_r50-d8_4xb4-80k_ade20k-512x512',
        'cgnet': 'cgnet_fcn_4xb4-60k_cityscapes-680x680',
        'convnext': 'convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512',
        'danet': 'danet_r50-d8_4xb4-80k_ade20k-512x512',
        'ddrnet': 'ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024',
        'deeplabv3': 'deeplabv3_r18-d8_4xb2-80k_cityscapes-512x1024',
        'deeplabv3plus': 'deeplabv3plus_r18-d8_4xb2-80k_cityscapes-512x1024',
        'dmnet': 'dmnet_r50-d8_4xb4-80k_ade20k-512x512',
        'dnlnet': 'dnl_r50-d8_4xb4-80k_ade20k-512x512',
        'dpt': 'dpt_vit-b16_8xb2-160k_ade20k-512x512',
        'emanet': 'emanet_r50-d8_4xb2-80k_cityscapes-769x769',
        'encnet': 'encnet_r50-d8_4xb4-80k_ade20k-512x512',
        'erfnet': 'erfnet_fcn_4xb4-160k_cityscapes-512x1024',
        'fastfcn': 'fastfcn_r50-d32_jpu_psp_4xb4-80k_ade20k-512x512',
        'fastscnn': 'fast_scnn_8xb4-160k_cityscapes-512x1024',
        'fcn': 'fcn_r18-d8_4xb2-80k_cityscapes-512x1024',
        'gcnet': 'gcnet_r50-d8_4xb4-80k_ade20k-512x512',
        'hrnet': 'fcn_hr18s_4xb4-80k_ade20k-512x512',
        'icnet': 'icnet_r18-d8_4xb2-80k_cityscapes-832x832',
        'isanet': 'isanet_r50-d8_4xb4-80k_ade20k-512x512',
        'knet': 'knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512',
        'mae': 'mae-base_upernet_8xb2-amp-160k_ade20k-512x512',
        'mask2former': 'mask2former_r50_8xb2-160k_ade20k-512x512',
        'maskformer': 'maskformer_r50-d32_8xb2-160k_ade20k-512x512',
        'mobilenet_v2': 'mobilenet-v2-d8_fcn_4xb4-160k_ade20k-512x512',
        'mobilenet_v3': 'mobilenet-v3-d8-s_lraspp_4xb4-320k_cityscapes-512x1024',
        'nonlocal_net': 'nonlocal_r50-d8_4xb4-80k_ade20k-512x512',
        'ocrnet': 'ocrnet_hr18s_4xb4-80k_ade20k-512x512',
        'pidnet': 'pidnet-s_2xb6-120k_1024x1024-cityscapes',
        'point_rend': 'pointrend_r50_4xb4-160k_ade20k-512x512',
        'poolformer': 'fpn_poolformer_s12_8xb4-40k_ade20k-512x512',
        'psanet': 'psanet_r50-d8_4xb4-80k_ade20k-512x512',
        'pspnet': 'pspnet_r18-d8_4xb2-80k_cityscapes-512x1024',
        'resnest': 'resnest_s101-d8_fcn_4xb4-160k_ade20k-512x512',
        'san': 'san-vit-b16_voc12aug-640x640',
        'segformer': 'segformer_mit-b0_8xb2-160k_ade20k-512x512',
        'segmenter': 'segmenter_vit-t_mask_8xb1-160k_ade20k-512x512',
        'segnext': 'segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512',
        'sem_fpn': 'fpn_r50_4xb4-160k_ade20k-512x512',
        'setr': 'setr_vit-l_naive_8xb2-160k_ade20k-512x512',
        'stdc': 'stdc1_4xb12-80k_cityscapes-512x1024',
        'swin': 'swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512',
        'twins': 'twins_pcpvt-s_fpn_fpnhead_8xb4-80k_ade20k-512x512',
        'unet': 'unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024',
        'upernet': 'upernet_r18_4xb2-40k_cityscapes-512x1024',
        'vit': 'vit_deit-s16_upernet_8xb2-80k_ade20k-512x512',
    },
    mmpretrain={
        'beit': 'benchmarks/beit-base-p16_8xb128-coslr-100e_in1k',
        'beitv2': 'benchmarks/beit-base-p16_8xb128-coslr-100e_in1k',
        'clip': 'vit-base-p32_pt-64xb64_in1k',
        'conformer': 'conformer-tiny-p16_8xb128_in1k',
        'convmixer': 'convmixer-768-32_10xb64_in1k',
        'convnext': 'convnext-tiny_32xb128_in1k',
        'convnext_v2': 'convnext-v2-atto_32xb32_in1k',
        'cspnet': 'cspresnet50_8xb32_in1k',
        'csra': 'resnet101-csra_1xb16_voc07-448px',
        'davit': 'davit-tiny_4xb256_in1k',
        'deit': 'deit-tiny_4xb256_in1k',
        'deit3': 'deit3-small-p16_64xb64_in1k',
        'densenet': 'densenet121_4xb256_in1k',
        'edgenext': 'edgenext-xxsmall_8xb256_in1k',
        'efficientformer': 'efficientformer-l1_8xb128_in1k',
        'efficientnet': 'efficientnet-b0_8xb32_in1k',
        'efficientnet_v2': 'efficientnetv2-b0_8xb32_in1k',
        'eva': 'benchmarks/vit-base-p16_8xb128-coslr-100e_in1k',
        'eva02': 'eva02-tiny-p14_in1k',
        'hivit': 'hivit-tiny-p16_16xb64_in1k',
        'hornet': 'hornet-tiny_8xb128_in1k',
        'hrnet': 'hrnet-w18_4xb32_in1k',
        'inception_v3': 'inception-v3_8xb32_in1k',
        'lenet': 'lenet5_mnist',
        'levit': 'levit-128s_8xb256_in1k',
        'mixmim': 'benchmarks/mixmim-base_8xb128-coslr-100e_in1k',
        'mlp_mixer': 'mlp-mixer-base-p16_64xb64_in1k',
        'mobilenet_v2': 'mobilenet-v2_8xb32_in1k',
        'mobilenet_v3': 'mobilenet-v3-small_8xb128_in1k',
        'mobileone': 'mobileone-s0_8xb32_in1k',
        'mobilevit': 'mobilevit-xxsmall_8xb128_in1k',
        'mvit': 'mvitv2-tiny_8xb256_in1k',
        'poolformer': 'poolformer-s12_32xb128_in1k',
        'regnet': 'regnetx-400mf_8xb128_in1k',
        'replknet': 'replknet-31L_32xb64_in1k-384px',
        'repmlp': 'repmlp-base_8xb64_in1k',
        'repvgg': 'repvgg-A0_8xb32_in1k',
        'res2net': 'res2net50-w14-s8_8xb32_in1k',
        'resnest': 'resnest50_32xb64_in1k',
        'resnet': 'resnet18_8xb32_in1k',
        'resnext': 'resnext50-32x4d_8xb32_in1k',
        'revvit': 'revvit-small_8xb256_in1k',
        'riformer': 'riformer-s12_8xb128_in1k',
        'seresnet': 'seresnet50_8xb32_in1k',
        'shufflenet_v1': 'shufflenet-v1-1x_16xb64_in1k',
        'shufflenet_v2': 'shufflenet-v2-1x_16xb64_in1k',
        'swin_transformer': 'swin-tiny_16xb64_in1k',
        'swin_transformer_v2': 'swinv2-tiny-w8_16xb64_in1k-256px',
        't2t_vit': 't2t-vit-t-14_8xb64_in1k',
        'tinyvit': 'tinyvit-5m_8xb256_in1k',
        'tnt': 'tnt-s-p16_16xb64_in1k',
        'twins': 'twins-pcpvt-small_8xb128_in1k',
        'van': 'van-tiny_8xb128_in1k',
        'vgg': 'vgg11_8xb32_in1k',
        'vig': 'vig-tiny_8xb128_in1k',
        'vision_transformer': 'vit-base-p32_64xb64_in1k',
        'wrn': 'wide-resnet50_8xb32_in1k',
        'xcit': 'xcit-nano-12-p16_8xb128_in1k',
    },
)

_PARTS = 'parts of other configs'
_DATA_SET = 'a data set, with networks of other families'
_TRACKING = 'tracking in videos'
_TEXT = 'needs a text encoder'
_SELF_SUPERVISED = 'self-supervised: no labels, several views of an image'
_NO_HEAD = 'a feature extractor without a head, or a network with prompts'
_VIDEO = 'videos'
_GENERATION = 'makes images without an LR image'
_EDITING = 'restores, fills, mattes or colours images of one size'
#: library: {family: why it is out of scope}.
OUT_OF_SCOPE: dict[str, dict[str, str]] = dict(
    mmdet={
        '_base_': _PARTS,
        'common': _PARTS,
        **dict.fromkeys(
            (
                'cityscapes deepfashion dsdl lvis objects365 openimages pascal_voc '
                'v3det wider_face'
            ).split(),
            _DATA_SET,
        ),
        **dict.fromkeys(
            (
                'bytetrack deepsort mask2former_vis masktrack_rcnn ocsort qdtrack reid '
                'sort strongsort'
            ).split(),
            _TRACKING,
        ),
        **dict.fromkeys(('glip', 'grounding_dino', 'mm_grounding_dino'), _TEXT),
        'misc': 'networks of Detectron2',
        'soft_teacher': 'semi-supervised: a batch of several branches; a config is '
        'refused with one line',
    },
    mmseg={
        '_base_': _PARTS,
        'dsdl': _DATA_SET,
        'vpd': 'estimates depth, with a text encoder',
    },
    mmpretrain={
        '_base_': _PARTS,
        'arcface': 'image retrieval: predicts by a gallery of images',
        **dict.fromkeys(
            'blip blip2 chinese_clip flamingo glip llava minigpt4 ofa otter'.split(),
            _TEXT,
        ),
        **dict.fromkeys(
            (
                'barlowtwins byol cae densecl itpn mae maskfeat mff milan mocov2 '
                'mocov3 simclr simmim simsiam spark swav'
            ).split(),
            _SELF_SUPERVISED,
        ),
        **dict.fromkeys(('dinov2', 'sam'), _NO_HEAD),
    },
    mmagic={
        '_base_': _PARTS,
        **dict.fromkeys(
            (
                'basicvsr basicvsr_pp cain edvr flavr iconvsr real_basicvsr tdan tof'
            ).split(),
            _VIDEO,
        ),
        **dict.fromkeys(
            (
                'animatediff biggan controlnet controlnet_animation cyclegan dcgan '
                'diffusers_pipeline disco_diffusion draggan dreambooth eg3d '
                'fastcomposer ggan guided_diffusion lsgan pggan pix2pix '
                'positional_encoding_in_gans sagan singan sngan_proj stable_diffusion '
                'stable_diffusion_xl styleganv1 styleganv2 styleganv3 '
                'textual_inversion vico wgan-gp'
            ).split(),
            _GENERATION,
        ),
        **dict.fromkeys(
            (
                'aot_gan deblurganv2 deepfillv1 deepfillv2 dim gca global_local '
                'indexnet inst_colorization nafnet partial_conv restormer'
            ).split(),
            _EDITING,
        ),
        'glean': 'takes LR images of one size only; a config is refused with one line',
        'ttsr': 'needs a second image as a reference',
        'dic': 'needs the landmarks of faces',
        'liif': 'needs the coordinates of the pixels it makes',
    },
)

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
_PANOPTICAPI = '`pip install git+https://github.com/cocodataset/panopticapi.git`'
#: (library, family): what else it needs, in words.
EXTRA: dict[tuple[str, str], list[str]] = {
    ('mmdet', 'albu_example'): ['`pip install "albumentations<1.4"`'],
    ('mmdet', 'instaboost'): ['`pip install instaboostfast`'],
    ('mmdet', 'lad'): ['`pip install scikit-learn`'],
    ('mmdet', 'ld'): ['`model.task.teacher_config` as a path that exists'],
    ('mmdet', 'maskformer'): [_PANOPTICAPI],
    ('mmdet', 'paa'): ['`pip install scikit-learn`'],
    ('mmdet', 'panoptic_fpn'): [_PANOPTICAPI],
    ('mmdet', 'timm_example'): ['`pip install timm`'],
    ('mmseg', 'san'): ['its CLIP weights, `model.task.pretrained`'],
    ('mmpretrain', 'resnest'): ['`val_cfg = dict()`'],
}
