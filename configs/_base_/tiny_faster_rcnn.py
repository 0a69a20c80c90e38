# What makes Faster R-CNN and EDSR small enough for two CPU cores: a ResNet-18 of a
# quarter of its width, trained from nothing, few proposals, and in EDSR 4 residual
# blocks of 32 features.
tiny_task = dict(
    backbone=dict(
        depth=18, base_channels=16, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[16, 32, 64, 128], out_channels=32),
    rpn_head=dict(
        in_channels=32, feat_channels=32,
        # Anchors from 16 pixels on: the images are small.
        anchor_generator=dict(scales=[4])),
    roi_head=dict(
        # One sample a bin: RoIAlign's backward pass is the slowest op on a CPU.
        bbox_roi_extractor=dict(out_channels=32, roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(in_channels=32, fc_out_channels=128)),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)))
tiny_sr = dict(mid_channels=32, num_blocks=4)
