# SR4IR for classifiers, with the published settings.
_base_ = ['./sr4ir.py']

sr4ir_model = dict(
    # Published: the last stage of the backbone (layer 4 of ResNet-18).
    tdp=dict(type='mmsr4ir.TDPLoss', layer='backbone', levels=(-1, )),
    patch_mix=dict(type='mmsr4ir.CrossQualityPatchMix', grid=4, p=0.5))
