# S for x8, as edsr_photos.py.
_base_ = ['./edsr_photos.py']

model = dict(sr=dict(upscale_factor=8), degradation=dict(scale=8))
