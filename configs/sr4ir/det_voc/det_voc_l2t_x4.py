# L->T x4: detection on PASCAL VOC 2012.
_base_ = [
    '../../_base_/paper/det_voc.py', '../../_base_/sr/bilinear_x4.py',
    '../../_base_/recipes/l2t.py',
]
model = dict(
    type='mmsr4ir.SR4IR', _delete_=True, task=_base_.model,
    recipe=_base_.recipe, **_base_.networks, **_base_.published)
