# The second-order degradation of Real-ESRGAN (Wang et al., ICCVW 2021, section 3), with
# the settings of its training (options/train_realesrgan_x4plus.yml).
_kernels = ['area', 'bilinear', 'bicubic']
_sizes = [7, 9, 11, 13, 15, 17, 19, 21]
_blur = dict(
    type='mmsr4ir.RandomBlur', kernel=_sizes, beta_generalized=(0.5, 4.0),
    beta_plateau=(1.0, 2.0), kinds=dict(  # 0.9 times the published shares, 0.1 sinc
        iso=0.405, aniso=0.225, generalized_iso=0.108, generalized_aniso=0.027,
        plateau_iso=0.108, plateau_aniso=0.027, sinc=0.1))
_resize = dict(type='mmsr4ir.RandomResize', kernels=_kernels)
_to_lr = dict(type='mmsr4ir.RandomResize', of='lr', kernels=_kernels)
_jpeg = dict(type='mmsr4ir.JPEGCompression', quality=(30, 95))
_sinc = dict(type='mmsr4ir.OneOf', weights=[0.8, 0.2], options=[[
    dict(type='mmsr4ir.RandomBlur', kernel=_sizes, kinds=dict(sinc=1.0),
         cutoff=(1 / 3, 1))], []])

degradation = dict(
    type='mmsr4ir.Degradation', scale=4,
    steps=[
        dict(_blur, sigma=(0.2, 3.0)),
        dict(type='mmsr4ir.OneOf', weights=[0.2, 0.7, 0.1], options=[
            [dict(_resize, factor=(1.0, 1.5))], [dict(_resize, factor=(0.15, 1.0))],
            []]),
        dict(type='mmsr4ir.OneOf', options=[
            [dict(type='mmsr4ir.GaussianNoise', level=(1.0, 30.0), gray=0.4)],
            [dict(type='mmsr4ir.PoissonNoise', scale=(0.05, 3.0), gray=0.4)]]),
        _jpeg,
        dict(type='mmsr4ir.OneOf', weights=[0.8, 0.2], options=[
            [dict(_blur, sigma=(0.2, 1.5))], []]),
        dict(type='mmsr4ir.OneOf', weights=[0.3, 0.4, 0.3], options=[
            [dict(_to_lr, factor=(1.0, 1.2))], [dict(_to_lr, factor=(0.3, 1.0))],
            [_to_lr]]),
        dict(type='mmsr4ir.OneOf', options=[
            [dict(type='mmsr4ir.GaussianNoise', level=(1.0, 25.0), gray=0.4)],
            [dict(type='mmsr4ir.PoissonNoise', scale=(0.05, 2.5), gray=0.4)]]),
        dict(type='mmsr4ir.OneOf', options=[
            [_to_lr, _sinc, _jpeg], [_jpeg, _to_lr, _sinc]]),
    ])
del _kernels, _sizes, _blur, _resize, _to_lr, _jpeg, _sinc
