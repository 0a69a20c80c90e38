# As yolox-nano_edsr_groceries.py, x8: LR images of 28 x 28 pixels.
_base_ = ['./yolox-nano_edsr_groceries.py']

model = dict(
    sr=dict(
        upscale_factor=8,
        init_cfg=dict(
            checkpoint='work_dirs/edsr_photos_x8/iter_10000.pth',
            source='Run tools/train.py configs/sr4ir/edsr_photos_x8.py')),
    degradation=dict(scale=8))
