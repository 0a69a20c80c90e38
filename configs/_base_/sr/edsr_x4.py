# EDSR-baseline from its authors' weights, which work on images in [0, 255].
networks = dict(
    sr=dict(
        type='mmagic.EDSRNet', in_channels=3, out_channels=3, mid_channels=64,
        num_blocks=16, upscale_factor=4,
        rgb_mean=[255 * mean for mean in (0.4488, 0.4371, 0.4040)],
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/edsr-baseline_x4.pth',
            source='Fetch edsr_baseline_x4-6b446fab.pt from '
            'https://cv.snu.ac.kr/research/EDSR/models/ and run python '
            'tools/model_converters/edsr2mmagic.py <it> '
            'checkpoints/edsr-baseline_x4.pth')),
    sr_range=255,
    degradation=dict(type='mmsr4ir.BicubicDownsample', scale=4))
