# T->S x4 with SwinIR: segmentation on PASCAL VOC 2012.
_base_ = [
    '../../_base_/paper/seg_voc.py', '../../_base_/sr/swinir_x4.py',
    '../../_base_/recipes/t2s.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
# From the run of seg_voc_h2t.py.
model['task'] = dict(model['task'], init_cfg=dict(
    type='Pretrained', checkpoint='work_dirs/seg_voc_h2t/epoch_100.pth'))
default_hooks = dict(activation_checkpoint=_base_.less_memory)
