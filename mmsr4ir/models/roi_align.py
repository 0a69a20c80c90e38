"""RoIAlign as sums over table rows: a fast way back to the features on a CPU."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor


def sparse_roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Pool features by RoIAlign (Mask R-CNN, He et al., ICCV 2017, section 3).

    The result is that of ``torchvision.ops.roi_align``, to float rounding. There, each
    gradient of a bin goes to each of its samples' cells, channel by channel. Here, the
    samples of a bin are first joined into one weight for each cell, and a cell's
    channels lie side by side, so that both ways are sums of whole rows
    (``embedding_bag``). The price is memory: the features with their channels last, and
    the list of weights, which is as long as the boxes are large.

    Args:
        features: (N, C, H, W), floating point.
        rois: (R, 5), the image's index and x1, y1, x2, y2 in pixels of the image. No
            gradient goes to them. They lie about in the image, where mmdet clips them:
            one huge box costs memory for all. What is not finite counts as 0.
        output_size: Rows and columns of bins.
        spatial_scale: Cells a pixel: 1 / stride.
        sampling_ratio: Samples along each side of a bin; below 1 for about one a cell.
        aligned: Whether a cell's centre is half a cell from its corner.

    Returns:
        Tensor: (R, C, rows, columns) in the type of the features; they are added in
        float32 at least.
    """
    images, channels, height, width = features.shape
    exact = torch.promote_types(features.dtype, torch.float32)
    with torch.no_grad():
        # If a training has reached NaN, its boxes are NaN too, and its loss shows it.
        corners = rois[:, 1:].to(exact).nan_to_num(0, 0, 0)
        corners = corners * spatial_scale - (0.5 if aligned else 0.0)
        start, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
        if not aligned:
            extent = extent.clamp(min=1)
        (columns, first_column, across), (rows, first_row, down) = (
            _bins(start[:, axis], extent[:, axis], bins, cells, sampling_ratio)
            for axis, bins, cells in (
                (0, output_size[1], width),
                (1, output_size[0], height),
            )
        )

        # Of each bin: its row of bins, its column of bins, its image.
        bin_ = torch.arange(
            len(rois) * output_size[0] * output_size[1],
            dtype=torch.int32,
            device=rois.device,
        )
        row = bin_ // output_size[1]
        roi = row // output_size[0]
        column = roi * output_size[1] + bin_ % output_size[1]
        image = rois[:, 0].int()[roi]

        # Of each cell of each bin, row by row: its place, and what it counts.
        across = across.flatten()[column]
        count = down.flatten()[row] * across
        end = count.cumsum(0, dtype=torch.int32)
        total = int(count.sum())
        each = partial(torch.repeat_interleave, repeats=count, output_size=total)
        place = torch.arange(total, dtype=torch.int32, device=rois.device)
        place -= each(end - count)
        y = place // each(across)
        x = place - y * each(across) + each(first_column.flatten()[column])
        y += each(first_row.flatten()[row])
        weights = rows.flatten()[each(row * height) + y]
        weights *= columns.flatten()[each(column * width) + x]
        cells = (each(image * height) + y) * width + x
        if sampling_ratio > 0:  # in wide bins, no sample touches the cells in between
            used = weights != 0
            count = torch.zeros_like(count).index_add_(0, each(bin_), used.int())
            end = count.cumsum(0, dtype=torch.int32)
            cells, weights = cells[used], weights[used]
    table = features.permute(0, 2, 3, 1).reshape(images * height * width, channels)
    sums = F.embedding_bag(
        cells, table.to(exact), end - count, mode='sum', per_sample_weights=weights
    )
    return (
        sums.to(features.dtype)
        .reshape(len(rois), *output_size, channels)
        .permute(0, 3, 1, 2)
        .contiguous()
    )


def _bins(
    start: Tensor, extent: Tensor, bins: int, cells: int, sampling_ratio: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute how much each cell counts in each bin, along one axis.

    Args:
        start: (R,), where the RoIs begin, in cells.
        extent: (R,), how long they are.
        bins: How many each has.
        cells: How many the features have.
        sampling_ratio: As for :func:`sparse_roi_align`.

    Returns:
        tuple: Weights (R, bins, cells); the first cell that may count in each bin, and
        how many from there on, (R, bins).
    """
    size = extent / bins
    samples = (
        torch.full_like(size, sampling_ratio) if sampling_ratio > 0 else size.ceil()
    )
    most = max(int(samples.max()), 1) if len(samples) else 1
    number = torch.arange(most, device=start.device)
    bin_ = torch.arange(bins, device=start.device)
    # (R, bins, samples)
    where = (
        start[:, None, None]
        + bin_[:, None] * size[:, None, None]
        + (number + 0.5) * (size / samples.clamp(min=1))[:, None, None]
    )
    counts = (number < samples[:, None, None]) & (where >= -1) & (where <= cells)
    weight = counts / samples.clamp(min=1)[:, None, None]
    where = where.clamp(0, cells - 1)
    low = where.floor()
    part = where - low
    low = low.long()
    high = (low + 1).clamp(max=cells - 1)
    weights = where.new_zeros(len(start), bins, cells)
    weights.scatter_add_(2, low, weight * (1 - part))
    weights.scatter_add_(2, high, weight * part)
    first = low.where(counts, cells - 1).amin(2)
    last = high.where(counts, 0).amax(2)
    return weights, first.int(), (last - first + 1).clamp(min=0).int()
