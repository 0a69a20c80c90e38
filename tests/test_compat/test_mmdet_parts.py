"""Boxes keep their coordinates in mixed precision."""

import copy

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import roi_align

from mmsr4ir.compat.mmdet_parts import complete_heads
from mmsr4ir.compat.torchvision_amp import keep_boxes
from mmsr4ir.registry import MODELS

BF16 = torch.bfloat16
WIDTH = 2048  # from 1024 on, bfloat16 has only every eighth pixel


def part(**config):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(ConfigDict(config, _scope_='mmdet'))


def extractor():
    return part(
        type='SingleRoIExtractor',
        roi_layer=dict(type='RoIAlign', output_size=3, sampling_ratio=0),
        out_channels=2,
        featmap_strides=[4],
    )


def proposals(head):
    """Proposals of a head that moves no anchor, by rows."""
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    features = [torch.rand(1, 2, 1, WIDTH // 4)]
    with torch.no_grad(), torch.autocast('cpu', BF16):
        outputs = head(features)
        metas = [dict(img_shape=(99, WIDTH), scale_factor=(1.0, 1.0))]
        found = head.predict_by_feat(*outputs, batch_img_metas=metas)
    return found[0].bboxes


def test_anchors_and_proposals_are_not_rounded_in_bfloat16():
    nms = dict(nms_pre=9999, max_per_img=9999, min_bbox_size=0)
    config = dict(
        type='RPNHead',
        in_channels=2,
        feat_channels=2,
        anchor_generator=dict(
            type='AnchorGenerator', scales=[1], ratios=[1.0], strides=[4]
        ),
        test_cfg=dict(nms, nms=dict(type='nms', iou_threshold=1.0)),
    )
    plain = part(**config)
    head = copy.deepcopy(plain)
    complete_heads(head)
    # Anchors of 4 x 4 pixels around each cell's corner, clipped to the image.
    left = torch.arange(-2.0, WIDTH - 2, 4)
    found = proposals(head)
    assert found.dtype == torch.float32
    assert torch.equal(found[:, 0].sort()[0], left.clamp(min=0))
    assert torch.equal(found[:, 2].sort()[0], left + 4)
    # Once this fails, mmdet keeps them itself.
    assert not torch.equal(proposals(plain)[:, 0].float().sort()[0], left.clamp(min=0))


def test_anchors_and_proposals_of_torchvision_are_not_rounded_either():
    plain = nn.Module()
    tops = dict(training=9999, testing=9999)
    plain.rpn = RegionProposalNetwork(
        *(AnchorGenerator(((4,),), ((1.0,),)), RPNHead(2, 1), 0.7, 0.3, 256, 0.5),
        *(tops, tops, 1.0),
    ).eval()
    for parameter in plain.parameters():
        nn.init.zeros_(parameter)  # so that no anchor is moved
    one = copy.deepcopy(plain)
    keep_boxes(one)
    images = ImageList(torch.rand(1, 3, 4, WIDTH), [(4, WIDTH)])
    found = []
    with torch.no_grad(), torch.autocast('cpu', BF16):
        for network in (one, plain):
            features = dict(a=torch.rand(1, 2, 1, WIDTH // 4).to(BF16))
            found.append(network.rpn(images, features)[0][0])
    left = torch.arange(-2.0, WIDTH - 2, 4)
    assert found[0].dtype == torch.float32
    assert torch.equal(found[0][:, 0].sort()[0], left.clamp(min=0))
    # Once this fails, torchvision keeps them itself.
    assert not torch.equal(found[1][:, 0].float().sort()[0], left.clamp(min=0))


@pytest.mark.parametrize('copied', [False, True])
def test_rois_are_not_rounded_to_the_type_of_the_features(copied):
    plain = extractor()
    one = copy.deepcopy(plain)
    complete_heads(one)
    if copied:
        one = copy.deepcopy(one)
    features = torch.rand(1, 2, 8, WIDTH // 4).to(BF16)
    rois = torch.tensor([[0, 1030.3, 2.2, 1061.9, 30.1], [0, 1500.7, 1, 1511, 22.6]])
    towards = torch.rand(2, 2, 3, 3)

    def both_ways(pool, features):
        features = features.clone().requires_grad_()
        pooled = pool(features)
        return pooled, torch.autograd.grad(pooled, features, towards.to(pooled))[0]

    how = dict(output_size=3, spatial_scale=1 / 4, sampling_ratio=0, aligned=True)
    wants = both_ways(lambda x: roi_align(x, rois, **how), features.float())
    with torch.autocast('cpu', BF16):
        found = both_ways(lambda x: one((x,), rois), features)
        rounded = plain((features,), rois)
    assert {x.dtype for x in found} == {BF16}
    assert torch.equal(found[0], wants[0].to(BF16))
    torch.testing.assert_close(found[1].float(), wants[1], rtol=0.01, atol=0.005)
    # Once this fails, mmdet keeps them itself.
    assert not torch.allclose(rounded.float(), wants[0], atol=0.02)
    single = one((features.float(),), rois)
    assert torch.equal(single, wants[0])
