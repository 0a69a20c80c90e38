# What makes ResNet-50 and EDSR small enough for two CPU cores: a ResNet-18 of a quarter
# of its width, with the stem for small images, trained from nothing, and in EDSR 4
# residual blocks of 32 features.
tiny_task = dict(
    backbone=dict(
        type='ResNet_CIFAR', depth=18, stem_channels=16, base_channels=16),
    head=dict(in_channels=128, topk=(1, )))
tiny_sr = dict(mid_channels=32, num_blocks=4)
tiny_adamw = dict(type='AdamW', lr=1e-3, weight_decay=1e-4)
