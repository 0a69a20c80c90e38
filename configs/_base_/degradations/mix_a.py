# Mixture A of EDTR (Kim et al., ICCV 2025): an eighth of the size, JPEG at quality 75.
# The published generator resizes bilinearly: kernels=['bilinear'].
degradation = dict(
    type='mmsr4ir.Degradation', scale=8,
    steps=[
        dict(type='mmsr4ir.RandomResize', of='lr', kernels=['bicubic']),
        dict(type='mmsr4ir.JPEGCompression', quality=75),
    ])
