"""``mmcv._ext`` of boxes: NMS, its variants, and RoIAlign."""

import torch
import torchvision
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


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Group boxes by the better box that they overlap (PISA, Cao et al., CVPR 2020).

    Args:
        dets: (N, 5), left, top, right, bottom in pixels, and the score.
        iou_threshold: A box joins a better one that it overlaps by this or more.

    Returns:
        list: One list for each group, of the indices of its boxes, the best first.
    """
    boxes, scores = at_least_single(dets[:, :4], dets[:, 4])
    left = scores.argsort(descending=True, stable=True)
    groups = []
    while len(left):
        overlap = torchvision.ops.box_iou(boxes[left[:1]], boxes[left])[0]
        joins = overlap >= iou_threshold
        joins[0] = True  # a box without an area overlaps nothing, itself included
        groups.append(left[joins].tolist())
        left = left[~joins]
    return groups


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
            *at_least_single(input, rois),
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
