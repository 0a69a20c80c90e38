# Interpolation in the place of S; published: torch.nn.UpsamplingBilinear2d.
networks = dict(
    sr=dict(type='mmsr4ir.InterpolateUpsampler', scale=4, mode='bilinear',
            align_corners=True),
    degradation=dict(type='mmsr4ir.BicubicDownsample', scale=4))
