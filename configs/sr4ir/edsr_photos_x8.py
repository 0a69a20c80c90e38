# S for x8, as edsr_photos.py. An LR patch has a quarter of the pixels, so there are more.
_base_ = ['./edsr_photos.py']

model = dict(sr=dict(upscale_factor=8), degradation=dict(scale=8))
train_dataloader = dict(batch_size=32)
