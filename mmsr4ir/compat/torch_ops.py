"""``mmcv._ext`` of maps, in pure PyTorch: CARAFE, PSAMask, masked convolution."""

import torch
import torch.nn.functional as F
from torch import Tensor


def carafe(
    features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int
) -> Tensor:
    """Reassemble features by a kernel for each pixel (CARAFE, Wang et al., ICCV 2019).

    Args:
        features: (N, C, H, W), floating point.
        masks: (N, groups * kernel * kernel, H * scale, W * scale), the kernels.
        kernel: Height and width of a kernel, an odd number of pixels.
        groups: Groups of channels, each with kernels of its own.
        scale: Upsampling factor.

    Returns:
        Tensor: (N, C, H * scale, W * scale).
    """
    images, channels, height, width = features.shape
    padded = F.pad(features, [kernel // 2] * 4).unflatten(1, (groups, -1))
    taps = masks.view(
        images, groups, 1, kernel * kernel, height, scale, width, scale
    ).unbind(3)
    total = features.new_zeros(())
    for number, weight in enumerate(taps):
        top, left = divmod(number, kernel)
        shifted = padded[..., top : top + height, left : left + width]
        total = total + shifted[..., :, None, :, None] * weight
    return total.reshape(images, channels, height * scale, width * scale)


def carafe_naive_forward(
    features, masks, output, *, kernel_size, group_size, scale_factor
) -> None:
    """Compute :func:`carafe`."""
    output.copy_(carafe(features, masks, kernel_size, group_size, scale_factor))


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
    """Compute the gradients of the features and masks of :func:`carafe`."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in (features, masks)]
        output = carafe(leaves[0], leaves[1], kernel_size, group_size, scale_factor)
    grads = torch.autograd.grad(output, leaves, grad_output.to(output))
    grad_input.copy_(grads[0])
    grad_masks.copy_(grads[1])


def carafe_forward(
    features, masks, rfeatures, routput, rmasks, output, **shape
) -> None:
    """Compute :func:`carafe`, and keep the features for the way back."""
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


def psamask_forward(
    input,
    output,
    *,
    psa_type,
    num_,
    h_feature,
    w_feature,
    h_mask,
    w_mask,
    half_h_mask,
    half_w_mask,
) -> None:
    """Spread each pixel's mask over the feature map (PSANet, Zhao et al., ECCV 2018).

    ``input`` is (N, h_mask * w_mask, H, W), ``output`` (N, H * W, H, W). ``psa_type`` 0
    (collect) has the map's pixels in the second axis, 1 (distribute) in the last two.
    """
    device = input.device
    rows, columns = (
        torch.arange(size, device=device)[:, None]
        - torch.arange(size, device=device)
        + half
        for size, half in ((h_feature, half_h_mask), (w_feature, half_w_mask))
    )
    spread = _take(input.unflatten(1, (h_mask, w_mask)), rows, columns)
    spread = spread.flatten(3).flatten(1, 2)
    output.copy_((spread.mT if psa_type == 1 else spread).view_as(output))


def psamask_backward(
    grad_output,
    grad_input,
    *,
    psa_type,
    num_,
    h_feature,
    w_feature,
    h_mask,
    w_mask,
    half_h_mask,
    half_w_mask,
) -> None:
    """Compute the gradient of :func:`psamask_forward`."""
    device = grad_output.device
    rows, columns = (
        torch.arange(mask, device=device)[:, None]
        + torch.arange(size, device=device)
        - half
        for mask, size, half in (
            (h_mask, h_feature, half_h_mask),
            (w_mask, w_feature, half_w_mask),
        )
    )
    grad = grad_output.flatten(2)
    grad = (grad.mT if psa_type == 1 else grad).unflatten(1, (h_feature, w_feature))
    grad = grad.unflatten(3, (h_feature, w_feature))
    grad_input.copy_(_take(grad, rows, columns).flatten(1, 2))


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
