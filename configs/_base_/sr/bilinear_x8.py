# Interpolation in the place of S.
networks = dict(
    sr=dict(type='mmsr4ir.InterpolateUpsampler', scale=8, mode='bilinear'),
    degradation=dict(type='mmsr4ir.BicubicDownsample', scale=8))
