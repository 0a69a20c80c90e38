# What every SR4IR config shares, under names that a leaf config puts in their places.
# "Published" means options/det/014_SR4IR_edsr_x4.yml in the code that the authors of
# the paper (Kim et al., CVPR 2024) released.
#
# custom_imports is not among it: a config of the zoo may have its own, and two bases
# must not set one name. The config that inherits both sets it.

# OpenMMLab's tools too build the Runner that reads model.task_resize='pipeline'.
runner_type = 'mmsr4ir.SR4IRRunner'

# Each network has a reducer and an optimizer of its own.
model_wrapper_cfg = dict(type='mmsr4ir.SeparateDistributedDataParallel')

# Published: EDSR-baseline, x4; L1 on pixels. mmagic's EDSR works on [0, 1]
# (its authors' weights on [0, 255], see sr/edsr_x4.py).
sr4ir_model = dict(
    type='mmsr4ir.SR4IR',
    sr=dict(
        type='mmagic.EDSRNet', in_channels=3, out_channels=3, mid_channels=64,
        num_blocks=16, upscale_factor=4),
    degradation=dict(type='mmsr4ir.BicubicDownsample', scale=4),
    pixel_loss=dict(type='mmsr4ir.PixelLoss', criterion='l1'))

# Published: AdamW for the SR network, without weight decay.
sr4ir_optim = dict(
    type='OptimWrapper',  # which mmseg's train.py replaces for --amp, in both networks
    constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
    sr=dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0)))

# Workers outlive an epoch: to start one took 0.13 s
# (docs/en/reports/2026-11-performance.md). The Runner sets pin_memory by whether there
# is a GPU.
sr4ir_loader = dict(persistent_workers=True)

sr4ir_hooks = dict(
    alternate=dict(type='mmsr4ir.AlternateTrainingHook', warmup=1, by_epoch=True),
    non_finite_loss=dict(type='mmsr4ir.NonFiniteLossHook'),
    checkpoint_match=dict(type='mmsr4ir.CheckpointMatchHook'),
    nothing_found=dict(type='mmsr4ir.NothingFoundHook'),
    # Pictures of 4 validation images in the visual backends; --show-dir writes those of
    # a test.
    picture_grid=dict(type='mmsr4ir.PictureGridHook', val_images=4))

# Losses by phase in one line; with
#   default_hooks = dict(progress_bar=dict(type='mmsr4ir.ProgressBarHook'))
# in a config (or --progress-bar) a progress bar below.
sr4ir_log_processor = dict(type='mmsr4ir.PhaseLogProcessor')

# 8 pixels are left out along the edges, as in the published evaluation.
sr4ir_metric = dict(type='mmsr4ir.SRQuality', crop_border=8)
