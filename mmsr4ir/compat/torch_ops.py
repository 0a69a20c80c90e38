"""``mmcv._ext`` of maps, in pure PyTorch: CARAFE, PSAMask, masked convolution."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .torchvision_kernels import at_least_single


def _shifted(upsampled: Tensor, kernel: int, scale: int) -> Iterator[Tensor]:
    """Yield the part of the upsampled features under each tap of a kernel, as a view.

    Args:
        upsampled: (..., H, W), with a border of ``kernel // 2 * scale`` all around.
        kernel: Height and width of a kernel, in pixels before the upsampling.
        scale: Upsampling factor.
    """
    height, width = (length - (kernel - 1) * scale for length in upsampled.shape[-2:])
    for row in range(0, kernel * scale, scale):
        for column in range(0, kernel * scale, scale):
            yield upsampled[..., row : row + height, column : column + width]


def _upsampled(features: Tensor, kernel: int, groups: int, scale: int) -> Tensor:
    """Repeat pixels, add the border of :func:`_shifted`, and split the channels."""
    features = features.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    return F.pad(features, [kernel // 2 * scale] * 4).unflatten(1, (groups, -1))


def carafe_naive_forward(
    features, masks, output, *, kernel_size, group_size, scale_factor
) -> None:
    """Reassemble features by a kernel for each pixel (CARAFE, Wang et al., ICCV 2019).

    Args:
        features: (N, C, H, W), floating point.
        masks: (N, groups * kernel * kernel, H * scale, W * scale), the kernels.
        output: (N, C, H * scale, W * scale), is written.
        kernel_size: Height and width of a kernel, an odd number of pixels.
        group_size: Groups of channels, each with kernels of its own.
        scale_factor: Upsampling factor.
    """
    features, masks = at_least_single(features, masks)
    upsampled = _upsampled(features, kernel_size, group_size, scale_factor)
    taps = masks.unflatten(1, (group_size, 1, -1)).unbind(3)
    total = features.new_zeros(output.shape).unflatten(1, (group_size, -1))
    parts = _shifted(upsampled, kernel_size, scale_factor)
    for part, weight in zip(parts, taps, strict=True):
        total.addcmul_(part, weight)
    output.copy_(total.flatten(1, 2))


def carafe_naive_backward(
    grad_output,
    features,
    masks,
    grad_input,
    grad_masks,
    *,
    kernel_size,
    group_size,
    scale_factor,
) -> None:
    """Compute the gradients of the features and the masks."""
    grad, features, masks = at_least_single(grad_output, features, masks)
    grad = grad.unflatten(1, (group_size, -1))
    upsampled = _upsampled(features, kernel_size, group_size, scale_factor)
    total, of_masks = torch.zeros_like(upsampled), torch.empty_like(masks)
    for part, of_part, weight, of_weight in zip(
        _shifted(upsampled, kernel_size, scale_factor),
        _shifted(total, kernel_size, scale_factor),
        masks.unflatten(1, (group_size, 1, -1)).unbind(3),
        of_masks.unflatten(1, (group_size, 1, -1)).unbind(3),
        strict=True,
    ):
        of_part.addcmul_(grad, weight)
        of_weight.copy_((grad * part).sum(2, keepdim=True))
    grad_masks.copy_(of_masks)
    border = kernel_size // 2
    sums = total.flatten(1, 2).unflatten(3, (-1, scale_factor)).sum(4)
    sums = sums.unflatten(2, (-1, scale_factor)).sum(3)
    height, width = features.shape[2:]
    grad_input.copy_(sums[..., border : border + height, border : border + width])


def carafe_forward(
    features, masks, rfeatures, routput, rmasks, output, **shape
) -> None:
    """Reassemble features, and keep them for the way back."""
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, **shape)


def carafe_backward(
    grad_output,
    rfeatures,
    masks,
    rgrad_output,
    rgrad_input_hs,
    rgrad_input,
    rgrad_masks,
    grad_input,
    grad_masks,
    **shape,
) -> None:
    """Compute the gradients; the tensors with r in front are room for the kernels."""
    carafe_naive_backward(
        grad_output, rfeatures, masks, grad_input, grad_masks, **shape
    )


def _take(source: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Take elements whose row and column depend on the position.

    Args:
        source: (N, A, B, H, W).
        rows: (I, H), the index in A; 0 is taken where it lies outside.
        columns: (J, W), the index in B; 0 is taken where it lies outside.

    Returns:
        Tensor: (N, I, J, H, W).
    """
    rows, columns = rows[:, None, :, None], columns[None, :, None, :]
    height, width = (
        torch.arange(length, device=source.device) for length in source.shape[3:]
    )
    taken = source[
        :,
        rows.clamp(0, source.shape[1] - 1),
        columns.clamp(0, source.shape[2] - 1),
        height[:, None],
        width,
    ]
    inside = (rows >= 0) & (rows < source.shape[1])
    inside = inside & (columns >= 0) & (columns < source.shape[2])
    return torch.where(inside, taken, 0)


def _spread(source: Tensor, target: str, sign: int, shape: dict[str, int]) -> Tensor:
    """Take, for place t and pixel p of each axis, from ``t - sign * (p - half mask)``.

    Args:
        source: (N, A, B, H, W); the pixels are those of H and W.
        target: What has the places: ``'feature'`` or ``'mask'``.
        sign: 1 if ``source`` holds the masks, -1 if it holds the map's gradient.
        shape: What mmcv gives: ``h_feature``, ``h_mask``, ``half_h_mask`` and so on.

    Returns:
        Tensor: (N, height * width of the target, H * W).
    """
    taken_from = []
    for side in 'hw':
        places, pixels = (
            torch.arange(shape[f'{side}_{name}'], device=source.device)
            for name in (target, 'feature')
        )
        shifts = pixels - shape[f'half_{side}_mask']
        taken_from.append(places[:, None] - sign * shifts)
    return _take(source, *taken_from).flatten(3).flatten(1, 2)


def psamask_forward(input, output, *, psa_type, **shape) -> None:
    """Spread each pixel's mask over the feature map (PSANet, Zhao et al., ECCV 2018).

    ``input`` is (N, h_mask * w_mask, H, W), ``output`` (N, H * W, H, W). ``psa_type`` 0
    (collect) has the map's pixels in the second axis, 1 (distribute) in the last two.
    """
    masks = input.unflatten(1, (shape['h_mask'], shape['w_mask']))
    spread = _spread(masks, 'feature', 1, shape)
    output.copy_((spread.mT if psa_type == 1 else spread).view_as(output))


def psamask_backward(grad_output, grad_input, *, psa_type, **shape) -> None:
    """Compute the gradient of :func:`psamask_forward`."""
    grad = grad_output.flatten(2)
    size = grad_output.shape[2:]
    grad = (grad.mT if psa_type == 1 else grad).unflatten(1, size).unflatten(3, size)
    grad_input.copy_(_spread(grad, 'mask', -1, shape).view_as(grad_input))


def masked_im2col_forward(
    im, mask_h_idx, mask_w_idx, col, *, kernel_h, kernel_w, pad_h, pad_w
) -> None:
    """Copy the window around each selected pixel into a column.

    ``im`` is (1, C, H, W), ``mask_h_idx`` and ``mask_w_idx`` are (M, ), the pixels,
    ``col`` is (C * kernel_h * kernel_w, M).
    """
    # The kernel's size at the end is enough for a window that begins at any pixel.
    padded = F.pad(im[0], (pad_w, kernel_w, pad_h, kernel_h))
    rows = mask_h_idx + torch.arange(kernel_h, device=im.device)[:, None, None]
    columns = mask_w_idx + torch.arange(kernel_w, device=im.device)[:, None]
    col.copy_(padded[:, rows, columns].view_as(col))


def masked_col2im_forward(
    col, mask_h_idx, mask_w_idx, im, *, height, width, channels
) -> None:
    """Write ``col`` (C, M) to the selected pixels of ``im`` (1, C, H, W)."""
    im[0, :, mask_h_idx, mask_w_idx] = col.to(im)
