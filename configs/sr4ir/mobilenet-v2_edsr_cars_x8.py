# As mobilenet-v2_edsr_cars.py, x8: LR images of 20 x 14 pixels.
_base_ = ['./mobilenet-v2_edsr_cars.py']

model = dict(
    sr=dict(
        upscale_factor=8,
        init_cfg=dict(
            checkpoint='work_dirs/edsr_photos_x8/iter_10000.pth',
            source='Run tools/train.py configs/sr4ir/edsr_photos_x8.py')),
    degradation=dict(scale=8))
