"""The functions of ``mmcv._ext``, served by torchvision's kernels.

Each has the signature that mmcv 2.x calls it with and, as there, writes its result
into the tensors it is given; so mmcv's own autograd functions stay as they are. They
run on the CPU and on CUDA devices, as torchvision's kernels do. What is not served can
be imported and raises :class:`MissingOpError` when it is called.
"""

from collections.abc import Callable, Sequence

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from mmsr4ir.utils.errors import SR4IRError

_kernels = torch.ops.torchvision
assert torchvision  # registers the kernels


class MissingOpError(SR4IRError, NotImplementedError):
    """An op of ``mmcv.ops`` that has no backing without the compiled mmcv."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f'mmcv.ops: {name} needs the compiled mmcv, and mmcv-lite with torchvision '
            'does not serve it. In an environment whose torch has a prebuilt mmcv: '
            'pip uninstall -y mmcv-lite && mim install "mmcv>=2.0.0,<2.2.0"'
        )


def missing_op(name: str) -> Callable:
    """Stand in for an op that is not served; serves as a module's ``__getattr__``."""
    if name.startswith('__'):
        raise AttributeError(name)

    def raise_missing(*args, **kwargs):
        raise MissingOpError(name)

    raise_missing.__name__ = name
    return raise_missing


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Select boxes greedily (NMS).

    Args:
        boxes: (N, 4), left, top, right, bottom, in pixels.
        scores: (N, ).
        iou_threshold: A box that overlaps a better one by more is dropped.
        offset: 1 where a box ends with the pixel at its right and bottom, else 0.

    Returns:
        Tensor: (K, ), the indices of the selected boxes, the best first.
    """
    if offset:  # width = x2 - x1 + 1: the same as boxes that end one pixel later
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], 1)
    return _kernels.nms(*_at_least_single(boxes, scores), iou_threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Lower the scores of overlapping boxes, and select boxes by them (Soft-NMS).

    Args:
        boxes: (N, 4), left, top, right, bottom, in pixels.
        scores: (N, ).
        dets: (N, 5); its first K rows become the selected boxes and their new scores.
        iou_threshold: From which overlap on ``method`` 0 and 1 change a score.
        sigma: Of the Gaussian of ``method`` 2.
        min_score: Boxes with a lower score are dropped.
        method: 0 drops overlapping boxes, 1 lowers their score linearly, 2 by a
            Gaussian.
        offset: 1 where a box ends with the pixel at its right and bottom, else 0.

    Returns:
        Tensor: (K, ), the indices of the selected boxes, the best first.
    """
    left = torch.arange(len(boxes), device=boxes.device)
    scores = scores.clone()
    areas = (boxes[:, 2:] - boxes[:, :2] + offset).prod(1)
    kept: list[Tensor] = []
    while len(left):
        best = left[scores[left].argmax()]
        dets[len(kept)] = torch.cat([boxes[best], scores[best, None]])
        kept.append(best)
        left = left[left != best]
        low = torch.maximum(boxes[best, :2], boxes[left, :2])
        high = torch.minimum(boxes[best, 2:], boxes[left, 2:])
        common = (high - low + offset).clamp(min=0).prod(1)
        overlap = common / (areas[best] + areas[left] - common)
        if method == 2:
            factor = torch.exp(-overlap.square() / sigma)
        else:
            factor = 1 - overlap if method == 1 else torch.zeros_like(overlap)
            factor = torch.where(overlap >= iou_threshold, factor, 1.0)
        scores[left] *= factor
        left = left[scores[left] >= min_score]
    return torch.stack(kept) if kept else left


def _at_least_single(*tensors: Tensor) -> list[Tensor]:
    """Turn half precision into float32, in which torchvision has all gradients."""
    half = (torch.float16, torch.bfloat16)
    return [x.float() if x.dtype in half else x for x in tensors]


def roi_align_forward(
    input,
    rois,
    output,
    argmax_y,
    argmax_x,
    aligned_height,
    aligned_width,
    spatial_scale,
    sampling_ratio,
    pool_mode,
    aligned,
) -> None:
    """Compute RoIAlign with average pooling.

    ``input`` is (N, C, H, W), ``rois`` (K, 5), image number, left, top, right and
    bottom, ``output`` (K, C, aligned_height, aligned_width).

    Raises:
        MissingOpError: If ``pool_mode`` is not 1 (average).
    """
    if pool_mode != 1:
        raise MissingOpError("roi_align with pool_mode='max'")
    output.copy_(
        _kernels.roi_align(
            input,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


def roi_align_backward(
    grad_output,
    rois,
    argmax_y,
    argmax_x,
    grad_input,
    aligned_height,
    aligned_width,
    spatial_scale,
    sampling_ratio,
    pool_mode,
    aligned,
) -> None:
    """Add the gradient of :func:`roi_align_forward` to ``grad_input``."""
    grad_input.add_(
        _kernels._roi_align_backward(
            *_at_least_single(grad_output, rois),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def roi_pool_forward(
    input, rois, output, argmax, pooled_height, pooled_width, spatial_scale
) -> None:
    """Compute RoIPool by mmcv's rule: bins end at ``(x2 + 1) * scale``, not rounded.

    torchvision's kernel rounds the box first and so gives other bins; the maximum is
    taken here instead, over rows and columns one after the other.
    """
    height, width = input.shape[-2:]
    for roi, out, index in zip(rois, output, argmax, strict=True):
        x1, y1 = (roi[1:3] * spatial_scale).tolist()
        x2, y2 = ((roi[3:5] + 1) * spatial_scale).tolist()
        index.fill_(-1)
        if x2 <= x1 or y2 <= y1:
            continue
        image = input[int(roi[0])]
        columns = _bins(x1, x2, pooled_width, width)
        for i, (top, bottom) in enumerate(_bins(y1, y2, pooled_height, height)):
            if bottom <= top:
                continue
            best, row = image[:, top:bottom].max(1)  # (C, W)
            for j, (left, right) in enumerate(columns):
                if right <= left:
                    continue
                value, column = best[:, left:right].max(1)
                out[:, i, j] = value
                column = column + left
                row_at = row.gather(1, column[:, None])[:, 0] + top
                index[:, i, j] = row_at * width + column


def _bins(start: float, end: float, count: int, limit: int) -> list[tuple[int, int]]:
    edges = torch.arange(count + 1) * ((end - start) / count) + start
    low = edges[:-1].floor().clamp(0, limit).long().tolist()
    high = edges[1:].ceil().clamp(0, limit).long().tolist()
    return list(zip(low, high, strict=True))


def roi_pool_backward(
    grad_output, rois, argmax, grad_input, pooled_height, pooled_width, spatial_scale
) -> None:
    """Add the gradient of :func:`roi_pool_forward` to ``grad_input``."""
    flat = grad_input.flatten(2)  # a view: mmcv gives contiguous zeros
    for roi, grad, index in zip(rois, grad_output, argmax, strict=True):
        index, grad = index.flatten(1).long(), grad.flatten(1)
        grad = torch.where(index >= 0, grad, 0)
        flat[int(roi[0])].scatter_add_(1, index.clamp(min=0), grad)


def _conv_args(
    kW, kH, dW, dH, padW, padH, dilationW, dilationH, group, deformable_group
) -> tuple:
    return dH, dW, padH, padW, dilationH, dilationW, group, deformable_group


def deform_conv_forward(
    input, weight, offset, output, columns, ones, *, im2col_step, **shape
) -> None:
    """Compute a deformable convolution, version 1."""
    output.copy_(
        _kernels.deform_conv2d(
            input, weight, offset, *_no_mask(input, weight), *_conv_args(**shape), False
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
    pairs = offset.unflatten(1, (group, kernel[0] * kernel[1], 2)).clone()
    for axis in (0, 1):  # a view of each, (N, group, taps, H, W)
        part = pairs[:, :, :, axis]
        start = torch.arange(part.shape[3 + axis], device=offset.device)
        start = (start * stride[axis] - padding[axis]).unsqueeze(1 - axis)
        part[taps[axis].reshape(-1, 1, 1) + start + part == -1] -= 1
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
    grads = _kernels._deform_conv2d_backward(
        *_at_least_single(grad_output, input, weight, offset, *_no_mask(input, weight)),
        *_conv_args(**shape),
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
    grads = _kernels._deform_conv2d_backward(
        *_at_least_single(grad_output, input, weight, offset, *_no_mask(input, weight)),
        *_conv_args(**shape),
        False,
    )
    grad_weight.add_(grads[1], alpha=scale)


def _modulated_args(
    kernel_h,
    kernel_w,
    stride_h,
    stride_w,
    pad_h,
    pad_w,
    dilation_h,
    dilation_w,
    group,
    deformable_group,
) -> tuple:
    return (
        stride_h,
        stride_w,
        pad_h,
        pad_w,
        dilation_h,
        dilation_w,
        group,
        deformable_group,
    )


def modulated_deform_conv_forward(
    input, weight, bias, ones, offset, mask, output, columns, *, with_bias, **shape
) -> None:
    """Compute a deformable convolution, version 2, with a mask."""
    bias = bias if with_bias else input.new_zeros(len(weight))
    output.copy_(
        _kernels.deform_conv2d(
            input, weight, offset, mask, bias, *_modulated_args(**shape), True
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
    kernel, stride, pad, dilation = (
        (shape[f'{name}_h'], shape[f'{name}_w'])
        for name in ('kernel', 'stride', 'pad', 'dilation')
    )
    offset = _moved_out(
        offset, kernel, stride, pad, dilation, shape['deformable_group']
    )
    no_bias = input.new_zeros(len(weight))
    grads = _kernels._deform_conv2d_backward(
        *_at_least_single(
            grad_output, input, weight, offset, mask, bias if with_bias else no_bias
        ),
        *_modulated_args(**shape),
        True,
    )
    for target, grad in zip(
        (grad_input, grad_weight, grad_offset, grad_mask), grads[:4], strict=True
    ):
        target.copy_(grad)
    if with_bias:
        grad_bias.copy_(grads[4])


def _focal_terms(
    input: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float
) -> Tensor:
    # A target of `num_classes` is background: no class is positive.
    positive = F.one_hot(target, input.shape[1] + 1)[:, :-1].to(input)
    loss = torchvision.ops.sigmoid_focal_loss(input, positive, alpha, gamma)
    return loss * weight[target][:, None] if weight.numel() else loss


def sigmoid_focal_loss_forward(input, target, weight, output, gamma, alpha) -> None:
    """Compute the focal loss of ``input`` (N, C) for class numbers ``target`` (N, )."""
    output.copy_(_focal_terms(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input, target, weight, grad_input, gamma, alpha
) -> None:
    """Compute the derivative of each term by its own input."""
    with torch.enable_grad():
        leaf = input.detach().requires_grad_()
        total = _focal_terms(leaf, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(total, leaf)[0])


def _attention(value, shapes, locations, weights) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(value, shapes, locations, weights)


def ms_deform_attn_forward(
    value,
    value_spatial_shapes,
    value_level_start_index,
    sampling_locations,
    attention_weights,
    im2col_step,
) -> Tensor:
    """Compute multi-scale deformable attention through mmcv's own PyTorch path.

    ``value`` is (N, positions, heads, C), ``sampling_locations`` (N, queries, heads,
    levels, points, 2) in [0, 1].

    Returns:
        Tensor: (N, queries, heads * C).
    """
    return _attention(
        value, value_spatial_shapes, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value,
    value_spatial_shapes,
    value_level_start_index,
    sampling_locations,
    attention_weights,
    grad_output,
    grad_value,
    grad_sampling_loc,
    grad_attn_weight,
    im2col_step,
) -> None:
    """Compute the gradients of values, sampling locations and attention weights."""
    with torch.enable_grad():
        leaves = [
            x.detach().requires_grad_()
            for x in (value, sampling_locations, attention_weights)
        ]
        output = _attention(leaves[0], value_spatial_shapes, *leaves[1:])
    grads = torch.autograd.grad(output, leaves, grad_output)
    for target, grad in zip(
        (grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True
    ):
        target.copy_(grad)


SERVED = {
    function.__name__: function
    for function in (
        nms,
        softnms,
        roi_align_forward,
        roi_align_backward,
        roi_pool_forward,
        roi_pool_backward,
        deform_conv_forward,
        deform_conv_backward_input,
        deform_conv_backward_parameters,
        modulated_deform_conv_forward,
        modulated_deform_conv_backward,
        sigmoid_focal_loss_forward,
        sigmoid_focal_loss_backward,
        ms_deform_attn_forward,
        ms_deform_attn_backward,
    )
}
