"""``mmcv._ext`` of RoIPool and deformable RoI pooling, in pure PyTorch.

Both are reductions of rows of a table that has a row of channels for each cell
(``embedding_bag``), so that what a bin covers is listed, and never copied.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .torchvision_kernels import at_least_single


def _rows_of_channels(input: Tensor) -> Tensor:
    """Return (N, C, H, W) as (N * H * W, C)."""
    return input.permute(0, 2, 3, 1).reshape(-1, input.shape[1])


def _bins(start: Tensor, end: Tensor, bins: int, cells: int) -> tuple[Tensor, Tensor]:
    """Return the first cell of each bin, and how many cells it has, (K, bins)."""
    edges = (
        torch.arange(bins + 1, device=start.device) * ((end - start) / bins)[:, None]
    )
    edges = edges + start[:, None]
    first = edges[:, :-1].floor().clamp(0, cells).long()
    last = edges[:, 1:].ceil().clamp(0, cells).long()
    some = end > start  # not so if a training has reached NaN
    return first, (last - first).clamp(min=0).where(some[:, None], 0)


def roi_pool_forward(
    input, rois, output, argmax, pooled_height, pooled_width, spatial_scale
) -> None:
    """Compute RoIPool by mmcv's rule: bins end at ``(x2 + 1) * scale``, not rounded.

    torchvision's kernel rounds the box first and so gives other bins.

    Args:
        input: (N, C, H, W).
        rois: (K, 5), the image's index and left, top, right, bottom in pixels.
        output: (K, C, pooled_height, pooled_width); becomes the maximum of each bin.
        argmax: Like ``output``; becomes the cell of the maximum, row * W + column, or
            -1 in an empty bin.
        pooled_height: Rows of bins.
        pooled_width: Columns of bins.
        spatial_scale: Cells a pixel.
    """
    height, width = input.shape[2:]
    start, end = rois[:, 1:3] * spatial_scale, (rois[:, 3:5] + 1) * spatial_scale
    left, across = _bins(start[:, 0], end[:, 0], pooled_width, width)
    top, down = _bins(start[:, 1], end[:, 1], pooled_height, height)
    shape = (len(rois), pooled_height, pooled_width)
    across, left = (x[:, None].expand(shape).flatten() for x in (across, left))
    down, top = (x[:, :, None].expand(shape).flatten() for x in (down, top))
    image = rois[:, 0].long()[:, None, None].expand(shape).flatten()

    # Of each cell of each bin, row by row: its place in the bin, its row of channels.
    count = across * down
    end = count.cumsum(0)
    total = int(count.sum())
    each = partial(torch.repeat_interleave, repeats=count, output_size=total)
    place = torch.arange(total, device=rois.device) - each(end - count)
    row = each(top + image * height) + place // each(across)
    cells = row * width + each(left) + place % each(across)
    (table,) = at_least_single(_rows_of_channels(input))
    best, _, _, at = torch.embedding_bag(table, cells, end - count, mode=2)
    at = torch.where((count == 0)[:, None], -1, at % (height * width))
    for target, found in ((output, best), (argmax, at)):
        target.copy_(found.unflatten(0, shape).permute(0, 3, 1, 2))


def roi_pool_backward(
    grad_output, rois, argmax, grad_input, pooled_height, pooled_width, spatial_scale
) -> None:
    """Add the gradient of :func:`roi_pool_forward` to ``grad_input``."""
    images, channels, height, width = grad_input.shape
    plane = rois[:, 0].long()[:, None] * channels
    plane = plane + torch.arange(channels, device=rois.device)
    at = plane[:, :, None, None] * (height * width) + argmax.clamp(min=0)
    grad = torch.where(argmax >= 0, grad_output, 0)
    # A view: mmcv gives contiguous zeros.
    grad_input.view(-1).index_add_(0, at.flatten(), grad.flatten())


def _corners(at: Tensor, cells: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what two neighbouring cells count in an interpolation between them.

    Args:
        at: (...), positions in cells.
        cells: How many there are. A position up to one cell outside counts as the
            nearest cell, one farther outside as nothing.

    Returns:
        tuple: The two cells, what each counts, and what mmcv takes instead in the
        derivative by the position, all (..., 2). The latter goes on outside the first
        cell as inside it, and has the sum 0 from the last cell on.
    """
    inside = at.clamp(0, cells - 1)
    low = inside.floor()
    high = (low + 1).clamp(max=cells - 1)
    value = torch.stack([1 - (inside - low), inside - low], -1)
    counts = ((at >= -1) & (at <= cells))[..., None]
    slope = torch.stack([high - at, at - low], -1)
    # If a training has reached NaN, so have its offsets, and the weights show it.
    cell = torch.stack([low, high], -1).nan_to_num(0).long()
    return cell, value * counts, slope * counts


def _along_axis(
    start: Tensor, extent: Tensor, shift: Tensor, cells: int, sampling_ratio: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the cells of each bin along one axis, and what each counts.

    Args:
        start: (K, ), where the RoIs begin, in cells.
        extent: (K, ), how long they are.
        shift: (K, others, bins), by how much each bin is moved, in cells.
        cells: How many the features have.
        sampling_ratio: As for :func:`deform_roi_pool`.

    Returns:
        tuple: As of :func:`_corners`, (K, others, bins, cells).
    """
    bins = shift.shape[2]
    size = extent / bins
    samples = size.ceil().clamp(min=0)
    if sampling_ratio > 0:
        samples = torch.full_like(size, sampling_ratio)
    number = torch.arange(int(samples.max()), device=start.device)
    within = (number + 0.5) * (size / samples.clamp(min=1))[:, None]
    share = (number < samples[:, None]) / samples.clamp(min=1)[:, None]
    at = start[:, None] + torch.arange(bins, device=start.device) * size[:, None]
    at = (at[:, None] + shift)[..., None] + within[:, None, None]
    cell, value, slope = _corners(at, cells)
    share = share[:, None, None, :, None]
    return cell.flatten(3), (value * share).flatten(3), (slope * share).flatten(3)


def deform_roi_pool(
    input: Tensor,
    rois: Tensor,
    offset: Tensor,
    size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    gamma: float,
) -> Tensor:
    """Pool bins by RoIAlign's averages, each bin moved by an offset of its own.

    The op is that of Deformable Convolutional Networks (Dai et al., ICCV 2017), section
    2.2.

    Args:
        input: (N, C, H, W), floating point.
        rois: (K, 5), the image's index and left, top, right, bottom in pixels.
        offset: (K, 2, rows, columns), x before y, in RoI sizes / gamma.
        size: Rows and columns of bins.
        spatial_scale: Cells a pixel.
        sampling_ratio: Samples along each side of a bin; below 1 for about one a cell.
        gamma: Factor on the offsets.

    Returns:
        Tensor: (K, C, rows, columns).
    """
    channels, height, width = input.shape[1:]
    start = rois[:, 1:3] * spatial_scale - 0.5
    extent = rois[:, 3:5] * spatial_scale - 0.5 - start
    shift = gamma * extent[:, :, None, None] * offset
    x, x_value, x_slope = (
        part.unsqueeze(3)
        for part in _along_axis(
            start[:, 0], extent[:, 0], shift[:, 0], width, sampling_ratio
        )
    )
    y, y_value, y_slope = (
        part.transpose(1, 2).unsqueeze(4)
        for part in _along_axis(
            start[:, 1], extent[:, 1], shift[:, 1].mT, height, sampling_ratio
        )
    )
    # The value of the one with the derivative of the other.
    slope = y_slope * x_slope
    weights = (y_value * x_value - slope).detach() + slope
    image = rois[:, 0].long()[:, None, None, None, None]
    sums = F.embedding_bag(
        ((image * height + y) * width + x).flatten(3).flatten(0, 2),
        _rows_of_channels(input),
        mode='sum',
        per_sample_weights=weights.flatten(3).flatten(0, 2),
    )
    return sums.reshape(len(rois), *size, channels).permute(0, 3, 1, 2)


def _prepared(
    input, rois, offset, pooled_height, pooled_width, **settings
) -> tuple[list[Tensor], dict]:
    """Return the tensors and the settings of :func:`deform_roi_pool`."""
    size = (pooled_height, pooled_width)
    if not offset.numel():
        offset = input.new_zeros(len(rois), 2, *size)
    rois = rois.to(input).nan_to_num(0, 0, 0)
    return at_least_single(input, rois, offset.to(input)), dict(settings, size=size)


def deform_roi_pool_forward(input, rois, offset, output, **shape) -> None:
    """Compute :func:`deform_roi_pool`; no elements in ``offset`` mean offsets of 0."""
    if len(rois):
        (input, rois, offset), settings = _prepared(input, rois, offset, **shape)
        output.copy_(deform_roi_pool(input, rois, offset, **settings))


def deform_roi_pool_backward(
    grad_output, input, rois, offset, grad_input, grad_offset, **shape
) -> None:
    """Add the gradients of the input and the offsets of :func:`deform_roi_pool`."""
    if not len(rois):
        return
    (input, rois, offset), settings = _prepared(input, rois, offset, **shape)
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in (input, offset)]
        output = deform_roi_pool(leaves[0], rois, leaves[1], **settings)
    grads = torch.autograd.grad(output, leaves, grad_output.to(output))
    grad_input.add_(grads[0])
    if grad_offset.numel():
        grad_offset.add_(grads[1])
