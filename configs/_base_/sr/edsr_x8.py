# EDSR-baseline x8 on images in [0, 255]. EDSR's authors released no x8 weights; those
# of SR4IR trained edsr_baseline_x8.pt themselves.
networks = dict(
    sr=dict(
        type='mmagic.EDSRNet', in_channels=3, out_channels=3, mid_channels=64,
        num_blocks=16, upscale_factor=8,
        rgb_mean=[255 * mean for mean in (0.4488, 0.4371, 0.4040)],
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/edsr-baseline_x8.pth',
            source="Take edsr_baseline_x8.pt of SR4IR's authors "
            '(https://github.com/JaehaKim97/SR4IR), or train one, and run python '
            'tools/model_converters/edsr2mmagic.py <it> '
            'checkpoints/edsr-baseline_x8.pth')),
    sr_range=255,
    degradation=dict(type='mmsr4ir.BicubicDownsample', scale=8))
