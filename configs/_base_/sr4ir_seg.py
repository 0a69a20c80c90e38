# SR4IR for segmentors, with the published settings.
_base_ = ['./sr4ir.py']

sr4ir_model = dict(
    # Published: the last stage of the backbone (C5).
    tdp=dict(type='mmsr4ir.TDPLoss', layer='backbone', levels=(-1, )),
    patch_mix=dict(type='mmsr4ir.CrossQualityPatchMix', grid=8, p=0.5))

# mmseg lets cuDNN choose its kernels by a measurement, which may end otherwise in each
# run: a resumed training would not equal one that was never interrupted.
sr4ir_env = dict(cudnn_benchmark=False)
