# SwinIR-M for classical SR, from its authors' weights, on images in [0, 1].
networks = dict(
    sr=dict(
        type='mmagic.SwinIRNet', upscale=4, in_chans=3, img_size=48, window_size=8,
        img_range=1.0, depths=[6] * 6, embed_dim=180, num_heads=[6] * 6, mlp_ratio=2.0,
        upsampler='pixelshuffle', resi_connection='1conv',
        init_cfg=dict(
            type='Pretrained', checkpoint='checkpoints/swinir-m_x4.pth',
            source='Fetch 001_classicalSR_DIV2K_s48w8_SwinIR-M_x4.pth from '
            'https://github.com/JingyunLiang/SwinIR/releases and run python '
            'tools/model_converters/swinir2mmagic.py <it> '
            'checkpoints/swinir-m_x4.pth')),
    degradation=dict(type='mmsr4ir.BicubicDownsample', scale=4))
# Where S is trained, a fraction of the memory, and the same numbers
# (docs/en/memory.md).
less_memory = dict(
    type='mmsr4ir.ActivationCheckpointHook', modules=['sr.layers'])
