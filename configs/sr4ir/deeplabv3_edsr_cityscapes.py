# SR4IR x4 with EDSR and DeepLabV3 R50 on Cityscapes. For another segmentor of
# mmsegmentation, change the first line of _base_.
_base_ = [
    'mmseg::deeplabv3/deeplabv3_r50-d8_4xb2-40k_cityscapes-512x1024.py',
    '../_base_/sr4ir_seg.py',
    '../_base_/recipes/sr4ir.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
env_cfg = _base_.sr4ir_env
model = dict(
    _delete_=True, task=_base_.model, recipe=_base_.recipe, **_base_.sr4ir_model)
train_dataloader = _base_.sr4ir_loader
optim_wrapper = dict(_delete_=True, **_base_.sr4ir_optim, task=_base_.optim_wrapper)
# A tenth of the training is warm-up, as published for 100 epochs.
warmup = _base_.train_cfg.max_iters // 10
param_scheduler = dict(
    _delete_=True,
    task=_base_.param_scheduler,
    sr=[dict(type='CosineAnnealingLR', by_epoch=False, begin=warmup,
             end=_base_.train_cfg.max_iters,
             T_max=_base_.train_cfg.max_iters - warmup, eta_min=1e-6)])
default_hooks = dict(**_base_.sr4ir_hooks)
default_hooks['alternate'].update(warmup=warmup, by_epoch=False)
log_processor = _base_.sr4ir_log_processor
val_evaluator = [_base_.val_evaluator, _base_.sr4ir_metric]
test_evaluator = val_evaluator
