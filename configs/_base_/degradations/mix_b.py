# Mixture B of EDTR (Kim et al., ICCV 2025), the blind degradation of DiffBIR and
# CodeFormer with other ranges. What the steps make is resized, also enlarged, to a
# fourth of the size. EDTR restores at full size: that is scale=1.
degradation = dict(
    type='mmsr4ir.Degradation', scale=4, kernel='bilinear',
    steps=[
        dict(type='mmsr4ir.RandomBlur', kernel=41, sigma=(0.1, 8.0),
             kinds=dict(iso=0.5, aniso=0.5)),
        dict(type='mmsr4ir.RandomResize', divisor=(1.0, 16.0), kernels=['bilinear']),
        dict(type='mmsr4ir.GaussianNoise', level=(0.0, 10.0)),
        dict(type='mmsr4ir.JPEGCompression', quality=(50, 100)),
    ])
