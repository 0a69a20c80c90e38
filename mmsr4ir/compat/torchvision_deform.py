"""``mmcv._ext`` of deformable convolutions, versions 1 and 2."""

from collections.abc import Sequence
from operator import itemgetter

import torch
from torch import Tensor
from torch.nn import functional as F

from .torchvision_kernels import at_least_single, kernels

# mmcv's arguments in the order in which torchvision's kernel takes them.
_conv_args = itemgetter(
    'dH', 'dW', 'padH', 'padW', 'dilationH', 'dilationW', 'group', 'deformable_group'
)
_modulated_args = itemgetter(
    'stride_h',
    'stride_w',
    'pad_h',
    'pad_w',
    'dilation_h',
    'dilation_w',
    'group',
    'deformable_group',
)


def deform_conv_forward(
    input, weight, offset, output, columns, ones, *, im2col_step, **shape
) -> None:
    """Compute a deformable convolution, version 1."""
    output.copy_(
        kernels.deform_conv2d(
            *at_least_single(input, weight, offset, *_no_mask(input, weight)),
            *_conv_args(shape),
            False,
        )
    )


def _moved_out(
    offset: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    group: int,
) -> Tensor:
    """Move samples that lie at -1 to -2.

    They have the value 0 at either place. At -1, a pixel before the image, mmcv gives
    the offset no gradient and torchvision a one-sided one; at -2 neither does. Offsets
    of 0, with which every deformable convolution starts, have such samples all along a
    padded border.

    Args:
        offset: (N, group * kernel height * kernel width * 2, H, W), y before x.
        kernel: (height, width) of the kernel, in pixels.
        stride: (y, x), in pixels.
        padding: (y, x), in pixels.
        dilation: (y, x), in pixels.
        group: Number of groups of offsets.
    """
    taps = torch.meshgrid(
        *(
            torch.arange(length, device=offset.device) * step
            for length, step in zip(kernel, dilation, strict=True)
        ),
        indexing='ij',
    )
    (offset,) = at_least_single(offset)  # as the kernel adds them
    pairs = offset.unflatten(1, (group, kernel[0] * kernel[1], 2)).clone()
    for axis in (0, 1):  # a view of each, (N, group, taps, H, W)
        part = pairs[:, :, :, axis]
        start = torch.arange(part.shape[3 + axis], device=offset.device)
        start = (start * stride[axis] - padding[axis]).unsqueeze(1 - axis)
        # A boolean index would wait for a GPU.
        part -= (taps[axis].reshape(-1, 1, 1) + start + part == -1).to(part)
    return pairs.flatten(1, 3)


def _no_mask(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return input.new_zeros((len(input), 1)), input.new_zeros(len(weight))


def deform_conv_backward_input(
    input,
    offset,
    grad_output,
    grad_input,
    grad_offset,
    weight,
    columns,
    *,
    im2col_step,
    **shape,
) -> None:
    """Compute the gradients of the input and the offset of version 1."""
    offset = _moved_out(
        offset,
        (shape['kH'], shape['kW']),
        (shape['dH'], shape['dW']),
        (shape['padH'], shape['padW']),
        (shape['dilationH'], shape['dilationW']),
        shape['deformable_group'],
    )
    grads = kernels._deform_conv2d_backward(
        *at_least_single(grad_output, input, weight, offset, *_no_mask(input, weight)),
        *_conv_args(shape),
        False,
    )
    grad_input.copy_(grads[0])
    grad_offset.copy_(grads[2])


def deform_conv_backward_parameters(
    input,
    offset,
    grad_output,
    grad_weight,
    columns,
    ones,
    *,
    scale,
    im2col_step,
    **shape,
) -> None:
    """Add the gradient of the weight of version 1 to ``grad_weight``, by ``scale``."""
    # The weight's values do not enter its own gradient.
    weight = torch.zeros_like(grad_weight)
    grads = kernels._deform_conv2d_backward(
        *at_least_single(grad_output, input, weight, offset, *_no_mask(input, weight)),
        *_conv_args(shape),
        False,
    )
    grad_weight.add_(grads[1], alpha=scale)


def _as_large_as(output: Tensor, *maps: Tensor) -> list[Tensor]:
    """Return what mmcv reads of offsets and masks that are larger than the output.

    mmcv's kernel reads each image's numbers one after the other, as if the map had the
    output's size, and leaves the rest unread. DyHead gives it such maps: the offsets of
    one level for the convolution of a coarser one.

    Args:
        output: (N, ..., H, W).
        maps: (N, C, H or more, W or more).

    Returns:
        list: (N, C, H, W) of each. A map that has too few numbers stays as it is, and
        torchvision refuses it.
    """
    size = output.shape[2:]
    return [
        x.flatten(1)[:, : x.shape[1] * size.numel()].unflatten(1, (x.shape[1], *size))
        if x[0, 0].numel() >= size.numel()
        else x
        for x in maps
    ]


def modulated_deform_conv_forward(
    input, weight, bias, ones, offset, mask, output, columns, *, with_bias, **shape
) -> None:
    """Compute a deformable convolution, version 2, with a mask."""
    offset, mask = _as_large_as(output, offset, mask)
    bias = bias if with_bias else input.new_zeros(len(weight))
    output.copy_(
        kernels.deform_conv2d(
            *at_least_single(input, weight, offset, mask, bias),
            *_modulated_args(shape),
            True,
        )
    )


def modulated_deform_conv_backward(
    input,
    weight,
    bias,
    ones,
    offset,
    mask,
    columns,
    grad_input,
    grad_weight,
    grad_bias,
    grad_offset,
    grad_mask,
    grad_output,
    *,
    with_bias,
    **shape,
) -> None:
    """Compute all gradients of version 2."""
    offset, mask = _as_large_as(grad_output, offset, mask)
    kernel, stride, pad, dilation = (
        (shape[f'{name}_h'], shape[f'{name}_w'])
        for name in ('kernel', 'stride', 'pad', 'dilation')
    )
    offset = _moved_out(
        offset, kernel, stride, pad, dilation, shape['deformable_group']
    )
    no_bias = input.new_zeros(len(weight))
    grads = kernels._deform_conv2d_backward(
        *at_least_single(
            grad_output, input, weight, offset, mask, bias if with_bias else no_bias
        ),
        *_modulated_args(shape),
        True,
    )
    grad_input.copy_(grads[0])
    grad_weight.copy_(grads[1])
    for target, grad in ((grad_offset, grads[2]), (grad_mask, grads[3])):
        unread = target[0].numel() - grad[0].numel()
        target.copy_(F.pad(grad.flatten(1), (0, unread)).view_as(target))
    if with_bias:
        grad_bias.copy_(grads[4])
