# SR4IR x4 with EDSR and Faster R-CNN R50-FPN on COCO. For another detector of mmdet,
# change the first line of _base_.
_base_ = [
    'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    '../_base_/sr4ir_det.py',
    '../_base_/recipes/sr4ir.py',
]
custom_imports = dict(imports=['mmsr4ir'], allow_failed_imports=False)
model = dict(
    _delete_=True, task=_base_.model, recipe=_base_.recipe, **_base_.sr4ir_model)
train_dataloader = _base_.sr4ir_loader
optim_wrapper = dict(_delete_=True, **_base_.sr4ir_optim, task=_base_.optim_wrapper)
param_scheduler = dict(
    _delete_=True,
    task=_base_.param_scheduler,
    # From the end of the warm-up to the last epoch, down to the published minimum.
    sr=[dict(type='CosineAnnealingLR', begin=1, end=_base_.train_cfg.max_epochs,
             T_max=_base_.train_cfg.max_epochs - 1, eta_min=1e-6,
             convert_to_iter_based=True)])
default_hooks = _base_.sr4ir_hooks
log_processor = _base_.sr4ir_log_processor
val_evaluator = [_base_.val_evaluator, _base_.sr4ir_metric]
test_evaluator = val_evaluator
