# What the configs of the photographs share (docs/en/photographs.md), under names that a
# leaf config puts in their places.

# The S of all three sets: larger than the demo's, small enough for a CPU.
photos_network = dict(mid_channels=48, num_blocks=8)
# Its weights, which edsr_photos.py trains.
photos_sr = dict(
    init_cfg=dict(
        type='Pretrained', checkpoint='work_dirs/edsr_photos/iter_10000.pth',
        source='Run tools/train.py configs/sr4ir/edsr_photos.py'),
    **photos_network)
photos_metric = dict(
    type='mmsr4ir.SRQuality', crop_border=8, metrics=('PSNR', 'SSIM', 'LPIPS'),
    lpips_weights='data/photos/weights/alexnet_features_torchvision.pth')
