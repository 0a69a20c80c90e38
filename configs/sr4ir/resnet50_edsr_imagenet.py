# SR4IR x4 with EDSR and ResNet-50 on ImageNet. For another classifier of mmpretrain,
# change the first line of _base_.
_base_ = [
    'mmpretrain::resnet/resnet50_8xb32_in1k.py',
    '../_base_/sr4ir_cls.py',
    '../_base_/recipes/sr4ir.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
model = dict(
    _delete_=True, task=_base_.model, recipe=_base_.recipe, **_base_.sr4ir_model)
train_dataloader = _base_.sr4ir_loader
val_dataloader = dict(persistent_workers=True)
test_dataloader = val_dataloader
optim_wrapper = dict(_delete_=True, **_base_.sr4ir_optim, task=_base_.optim_wrapper)
# A tenth of the training is warm-up, as published for 200 epochs.
warmup = _base_.train_cfg.max_epochs // 10
param_scheduler = dict(
    _delete_=True,
    task=_base_.param_scheduler,
    sr=[dict(type='CosineAnnealingLR', begin=warmup, end=_base_.train_cfg.max_epochs,
             T_max=_base_.train_cfg.max_epochs - warmup, eta_min=1e-6,
             convert_to_iter_based=True)])
default_hooks = dict(**_base_.sr4ir_hooks)
default_hooks['alternate'].update(warmup=warmup)
log_processor = _base_.sr4ir_log_processor
val_evaluator = [_base_.val_evaluator, _base_.sr4ir_metric]
test_evaluator = val_evaluator
