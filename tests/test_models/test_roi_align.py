"""RoIAlign as sums of table rows: torchvision's numbers in both directions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import roi_align

from mmsr4ir.models.roi_align import sparse_roi_align


def boxes(count, images, width, height, seed):
    """Inside, across the edges, far outside, and without an area."""
    draw = torch.Generator().manual_seed(seed)

    def uniform(*shape):
        return torch.rand(*shape, generator=draw, dtype=torch.float64)

    start = uniform(count, 2) * 1.5 - 0.25
    extent = uniform(count, 2) ** 3
    extent[:2] = 0
    pixels = torch.cat([start, start + extent], 1) * torch.tensor(
        [width, height, width, height], dtype=torch.float64
    )
    index = torch.randint(images, (count, 1), generator=draw)
    return torch.cat([index, pixels], 1)


def both_ways(align, features, rois, towards, **settings):
    features = features.clone().requires_grad_()
    out = align(features, rois, **settings)
    return out.detach(), torch.autograd.grad(out, features, towards.to(out.dtype))[0]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_numbers_are_those_of_torchvision(data):
    integers = data.draw
    height, width = (integers(st.integers(1, 20)) for _ in range(2))
    size = tuple(integers(st.integers(1, 5)) for _ in range(2))
    stride = integers(st.sampled_from([1, 2.5, 8]))
    count, images = integers(st.integers(0, 12)), integers(st.integers(1, 3))
    seed = integers(st.integers(0, 9999))
    rois = boxes(count, images, width * stride, height * stride, seed)
    torch.manual_seed(seed)
    features = torch.rand(images, 3, height, width, dtype=torch.float64)
    towards = torch.rand(count, 3, *size, dtype=torch.float64)
    how = dict(
        output_size=size,
        spatial_scale=1 / stride,
        sampling_ratio=integers(st.integers(-1, 4)),
        aligned=integers(st.booleans()),
    )
    want, want_grad = both_ways(roi_align, features, rois, towards, **how)
    out, grad = both_ways(sparse_roi_align, features, rois, towards, **how)
    assert out.shape == want.shape and out.is_contiguous()
    torch.testing.assert_close(out, want, rtol=0, atol=1e-12)
    torch.testing.assert_close(grad, want_grad, rtol=0, atol=1e-12)


def test_boxes_outside_of_the_image_are_zero():
    features = torch.rand(1, 2, 4, 4)
    outside = torch.tensor([[0, 50.0, 50, 60, 60], [0, -60, 1, -50, 3]])
    assert not sparse_roi_align(features, outside, (2, 2), 1.0, 0, True).any()


def test_cells_between_the_samples_do_not_count():
    features = torch.rand(1, 1, 30, 30)
    features[..., 13, 13] = float('nan')
    how = dict(output_size=(1, 1), spatial_scale=1.0, sampling_ratio=2, aligned=True)
    rois = torch.tensor([[0, 0.0, 0, 28, 28]])
    out = sparse_roi_align(features, rois, **how)
    torch.testing.assert_close(out, roi_align(features, rois, **how))
    assert out.isfinite().all()


def test_boxes_of_a_diverged_training_end_nothing():
    features = torch.rand(1, 2, 9, 9)
    nan, inf = float('nan'), float('inf')
    rois = torch.tensor([[0, 2.0, 2, 6, 6], [0, nan, nan, nan, nan], [0, 1, 1, inf, 3]])
    out = sparse_roi_align(features, rois, **HOW)
    assert torch.equal(out[:1], sparse_roi_align(features, rois[:1], **HOW))
    assert not out[1].any() and out.isfinite().all()


HOW = dict(output_size=(7, 7), spatial_scale=1 / 8, sampling_ratio=0, aligned=True)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_is_added_in_float32(dtype):
    features = torch.rand(2, 3, 9, 7).to(dtype)
    rois = boxes(20, 2, 56, 72, seed=0).float()
    towards = torch.rand(20, 3, 7, 7).to(dtype)
    out, grad = both_ways(sparse_roi_align, features, rois, towards, **HOW)
    want, want_grad = both_ways(roi_align, features.float(), rois, towards, **HOW)
    assert out.dtype == grad.dtype == dtype
    # One rounding, at the end.
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(out.float(), want, rtol=eps, atol=1e-6)
    torch.testing.assert_close(grad.float(), want_grad, rtol=eps, atol=1e-5)


def test_memory_format_does_not_matter():
    features = torch.rand(2, 3, 9, 7)
    rois = boxes(20, 2, 56, 72, seed=1).float()
    last = features.to(memory_format=torch.channels_last)
    assert torch.equal(
        sparse_roi_align(last, rois, **HOW), sparse_roi_align(features, rois, **HOW)
    )
