# What the configs of the photographs share (docs/en/photographs.md), under names that a
# leaf config puts in their places.

# The SR network of all three sets: half the blocks of EDSR-baseline, and narrower, so
# that a CPU is enough.
photos_network = dict(mid_channels=48, num_blocks=8)
# It starts from what edsr_photos.py has trained.
photos_sr = dict(
    init_cfg=dict(
        type='Pretrained', checkpoint='work_dirs/edsr_photos/iter_10000.pth',
        source='Run tools/train.py configs/sr4ir/edsr_photos.py'),
    **photos_network)
photos_metric = dict(
    type='mmsr4ir.SRQuality', crop_border=8, metrics=('PSNR', 'SSIM', 'LPIPS'),
    lpips_weights='data/photos/weights/alexnet_features_torchvision.pth')
# Of 5e-4 and 2e-3 the rate with which H→T was better on a fifth of the training images
# of Cars (docs/en/reports/2026-11-cars.md).
photos_task_optim = dict(
    type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.01))
