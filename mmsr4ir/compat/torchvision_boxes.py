"""``mmcv._ext`` of boxes: NMS, Soft-NMS, RoIAlign and RoIPool."""

import torch
from torch import Tensor

from .torchvision_kernels import MissingOpError, at_least_single, kernels


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
    return kernels.nms(*at_least_single(boxes, scores), iou_threshold)


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
        kernels.roi_align(
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
        kernels._roi_align_backward(
            *at_least_single(grad_output, rois),
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
