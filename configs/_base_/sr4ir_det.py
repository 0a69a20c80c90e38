# SR4IR for detectors with an FPN, with the published settings.
_base_ = ['./sr4ir.py']

sr4ir_model = dict(
    # Published: LR images are made of the images as they are, and the detector enlarges
    # what S restores. The Resize of the pipelines moves there.
    task_resize='pipeline',
    # Published: two FPN levels with equal weights.
    tdp=dict(type='mmsr4ir.TDPLoss', layer=('neck', 'backbone')),
    patch_mix=dict(type='mmsr4ir.CrossQualityPatchMix', grid=8, p=0.5))
