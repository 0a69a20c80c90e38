# S->T x8 with SwinIR: segmentation on PASCAL VOC 2012.
_base_ = [
    '../../_base_/paper/seg_voc.py', '../../_base_/sr/swinir_x8.py',
    '../../_base_/recipes/s2t.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
# From the run of seg_voc_s_swinir_x8.py.
model['sr'] = dict(model['sr'], init_cfg=dict(
    type='Pretrained', checkpoint='work_dirs/seg_voc_s_swinir_x8/epoch_100.pth'))
