# What makes DeepLabV3 and EDSR small enough for two CPU cores: a ResNet-18 of a quarter
# of its width, trained from nothing, and in EDSR 4 residual blocks of 32 features.
tiny_norm = dict(type='BN', requires_grad=True)
tiny_task = dict(
    pretrained=None,
    data_preprocessor=dict(size=None, size_divisor=8),
    backbone=dict(
        depth=18, base_channels=16, stem_channels=16, norm_cfg=tiny_norm),
    decode_head=dict(
        in_channels=128, channels=32, dilations=(1, 2, 4), norm_cfg=tiny_norm),
    auxiliary_head=dict(in_channels=64, channels=16, norm_cfg=tiny_norm))
tiny_sr = dict(mid_channels=32, num_blocks=4)
tiny_adamw = dict(type='AdamW', lr=1e-3, weight_decay=1e-4)
