"""Deformable convolution v1 and v2 of ``mmcv.ops``, served by torchvision."""

import pytest
import torch
from mmcv import ops
from torch.autograd import gradcheck
from torch.nn import functional as F

DEVICES = ['cpu'] + (['cuda'] if torch.cuda.is_available() else [])
on_devices = pytest.mark.parametrize('device', DEVICES)


def plain_deform_conv(
    x, offset, weight, mask, bias, stride, padding, dilation, groups, offset_groups
):
    """Sample every tap with grid_sample, then multiply and add."""
    n, channels, height, width = x.shape
    out_channels, in_group, kh, kw = weight.shape
    oh, ow = offset.shape[-2:]
    taps = []
    for k in range(kh * kw):
        parts = []
        for g in range(offset_groups):
            at = 2 * (g * kh * kw + k)
            ys = torch.arange(oh).view(-1, 1) * stride - padding + k // kw * dilation
            xs = torch.arange(ow) * stride - padding + k % kw * dilation
            ys, xs = ys + offset[:, at], xs + offset[:, at + 1]
            grid = torch.stack([(xs + 0.5) / width, (ys + 0.5) / height], -1) * 2 - 1
            share = channels // offset_groups
            part = F.grid_sample(
                x[:, g * share : (g + 1) * share], grid, align_corners=False
            )
            parts.append(part * mask[:, g * kh * kw + k][:, None])
        taps.append(torch.cat(parts, 1))
    taps = torch.stack(taps, 2)  # (N, C, taps, oh, ow)
    out = []
    for g in range(groups):
        w = weight[g * out_channels // groups : (g + 1) * out_channels // groups]
        part = taps[:, g * in_group : (g + 1) * in_group]
        out.append(torch.einsum('nckhw,ock->nohw', part, w.flatten(2)))
    return torch.cat(out, 1) + bias.view(1, -1, 1, 1)


@on_devices
@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('groups, offset_groups', [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_deform_conv(device, version, groups, offset_groups):
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    stride, padding, dilation = 2, 1, 1
    x, weight, bias = draw(2, 4, 5, 6), draw(4, 4 // groups, 3, 3) - 0.5, draw(4)
    offset = draw(2, 18 * offset_groups, 3, 3) * 1.4 - 0.7
    mask = draw(2, 9 * offset_groups, 3, 3)
    settings = (stride, padding, dilation, groups, offset_groups)
    if version == 1:
        inputs = (x, offset, weight)
        plain = plain_deform_conv(
            x, offset, weight, torch.ones_like(mask), torch.zeros(4), *settings
        )

        def conv(x, offset, weight):
            return ops.deform_conv2d(x, offset, weight, *settings, False, 2)
    else:
        inputs = (x, offset, mask, weight, bias)
        plain = plain_deform_conv(x, offset, weight, mask, bias, *settings)

        def conv(*inputs):
            return ops.modulated_deform_conv2d(*inputs, *settings)

    inputs = [v.to(device).requires_grad_() for v in inputs]
    torch.testing.assert_close(conv(*inputs).cpu(), plain)
    assert gradcheck(conv, inputs, fast_mode=True)


@on_devices
@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('stride, padding, dilation', [(1, 1, 1), (2, 2, 1), (1, 3, 2)])
def test_samples_outside_give_offsets_no_gradient(
    device, version, stride, padding, dilation
):
    """At offsets of 0, samples lie on pixels; mmcv's derivative there is that to the
    right, and 0 for a sample at -1 or less."""
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(2, 2, 6, 7, generator=generator, dtype=torch.float64)
    weight = torch.rand(3, 2, 3, 3, generator=generator, dtype=torch.float64)
    size = [(length + 2 * (padding - dilation) - 1) // stride + 1 for length in (6, 7)]
    mask = torch.rand(2, 9, *size, generator=generator, dtype=torch.float64)
    if version == 1:
        mask = torch.ones_like(mask)
    settings = (stride, padding, dilation, 1, 1)

    def gradient(function, offset):
        offset = offset.to(device).requires_grad_()
        function(offset).square().sum().backward()
        return offset.grad.cpu()

    def served(offset):
        args = [part.to(device) for part in (x, mask, weight)]
        if version == 1:
            return ops.deform_conv2d(args[0], offset, args[2], *settings, False, 2)
        return ops.modulated_deform_conv2d(
            args[0], offset, args[1], args[2], args[0].new_zeros(3), *settings
        )

    def plain(offset):
        return plain_deform_conv(
            x.to(device),
            offset,
            weight.to(device),
            mask.to(device),
            torch.zeros(3).to(x),
            *settings,
        )

    zeros = torch.zeros(2, 18, *size, dtype=torch.float64)
    want = gradient(plain, zeros + 1e-7).unflatten(1, (9, 2))
    taps = torch.arange(9)
    rows = (taps // 3 * dilation)[:, None] + torch.arange(size[0]) * stride - padding
    columns = (taps % 3 * dilation)[:, None] + torch.arange(size[1]) * stride - padding
    outside = (rows <= -1)[:, :, None] | (columns <= -1)[:, None]
    want[outside[None, :, None].expand_as(want)] = 0
    got = gradient(served, zeros)
    torch.testing.assert_close(got, want.flatten(1, 2), rtol=1e-4, atol=1e-4)
    assert outside.any() and (got == 0).any() and (got != 0).any()
    torch.testing.assert_close(served(zeros.to(device)).cpu(), plain(zeros).cpu())


def test_deform_conv_v2_without_bias():
    layer = ops.ModulatedDeformConv2d(2, 3, 3, padding=1, bias=False)
    x, offset = torch.rand(1, 2, 4, 4), torch.zeros(1, 18, 4, 4)
    out = layer(x, offset, torch.ones(1, 9, 4, 4))
    torch.testing.assert_close(out, F.conv2d(x, layer.weight, padding=1))
    out.sum().backward()
    assert layer.weight.grad.abs().sum() > 0


@on_devices
def test_offsets_larger_than_the_output_are_read_one_after_the_other(device):
    """As mmcv's kernel does, to which DyHead gives offsets of a finer level."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    x, weight, bias = draw(2, 2, 4, 5), draw(3, 2, 3, 3), draw(3)
    # As in DyHead, the offsets are a slice of what a convolution gives.
    offset, mask = draw(2, 27, 8, 9).split([18, 9], 1)
    flat_offset = offset.reshape(2, -1)[:, : 18 * 20].reshape(2, 18, 4, 5)
    flat_mask = mask.reshape(2, -1)[:, : 9 * 20].reshape(2, 9, 4, 5)
    settings = (1, 1, 1, 1, 1)
    inputs = [v.to(device).requires_grad_() for v in (offset, mask)]
    flat = [v.clone().requires_grad_() for v in (flat_offset, flat_mask)]
    parts = [v.to(device) for v in (x, weight, bias)]
    got = ops.modulated_deform_conv2d(parts[0], *inputs, *parts[1:], *settings)
    want = plain_deform_conv(x, flat[0], weight, flat[1], bias, *settings)
    torch.testing.assert_close(got.cpu(), want)
    grad = draw(*want.shape)
    got.backward(grad.to(device))
    want.backward(grad)
    for part, plain in zip(inputs, flat, strict=True):
        read = plain[0].numel()
        found = part.grad.cpu().reshape(2, -1)
        torch.testing.assert_close(found[:, :read], plain.grad.flatten(1))
        assert (found[:, read:] == 0).all()
    with pytest.raises(RuntimeError, match='offset'):  # fewer than the output has
        ops.modulated_deform_conv2d(
            parts[0], inputs[0][..., :2], inputs[1], *parts[1:], *settings
        )
