"""Resize the images of a batch, and label maps, boxes, key points and masks with them.

:class:`~mmsr4ir.models.task_resize.TaskResize` says to which sizes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch import Tensor

from .image_space import image_size, tensor_like


def fill_beside(image: Tensor, size: tuple[int, int], value: Tensor | float) -> None:
    """Fill what stands at the right of and below an image, in place.

    Args:
        image: (C, H, W).
        size: (height, width) of what stays as it is, in pixels.
        value: One number, or a tensor (C, 1, 1).
    """
    image[:, size[0] :] = value
    image[:, :, size[1] :] = value


def fill_value(image: Tensor, values: Sequence[float]) -> Tensor:
    """Return what to fill an image with.

    Args:
        image: (C, H, W).
        values: One of each channel; or the first is that of all.

    Returns:
        Tensor: (C, 1, 1), on the device of the image.
    """
    values = values if len(values) == len(image) else [values[0]] * len(image)
    return tensor_like(values, image)[:, None, None]


def resize_images(
    images: Tensor,
    sizes: Sequence[tuple[int, int]],
    to: Sequence[tuple[int, int]],
    full: tuple[int, int],
    mode: str = 'bilinear',
) -> Tensor:
    """Resize each image of a batch without what is padded beside it.

    Args:
        images: (N, C, H, W), in any colours and range.
        sizes: (height, width) of each image before padding, in pixels.
        to: (height, width) that each gets.
        full: (height, width) of the result; zeros stand beside the images.
        mode: Of ``interpolate``; without antialiasing, as OpenCV's.

    Returns:
        Tensor: ``(N, C, *full)``.
    """
    if all(tuple(size) == images.shape[-2:] for size in sizes) and len(set(to)) == 1:
        parts = [F.interpolate(images, to[0], mode=mode)]
    else:
        parts = [
            F.interpolate(image[None, :, :height, :width], size, mode=mode)
            for image, (height, width), size in zip(images, sizes, to, strict=True)
        ]
    parts = [
        part
        if image_size(part) == full
        else F.pad(part, (0, full[1] - part.shape[-1], 0, full[0] - part.shape[-2]))
        for part in parts
    ]
    whole = parts[0] if len(parts) == 1 else torch.cat(parts)
    return whole.contiguous(
        memory_format=torch.channels_last
        if images.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )


def nearest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize label maps; the rounding is OpenCV's, to the last pixel.

    Args:
        maps: (C, H, W).
        size: (height, width) of the result, in pixels.

    Returns:
        Tensor: ``(C, *size)``.
    """
    for axis, new in ((1, size[0]), (2, size[1])):
        old = maps.shape[axis]
        index = torch.arange(new, dtype=torch.float64) * (1 / (new / old))
        index = index.floor().long().clamp(max=old - 1)
        maps = maps.index_select(axis, index.to(maps.device, non_blocking=True))
    return maps


def resize_instances(
    instances: InstanceData,
    size: tuple[int, int],
    to: tuple[int, int],
    factors: tuple[float, float],
    full: tuple[int, int] | None,
) -> InstanceData:
    """Resize boxes, key points and masks.

    Args:
        instances: Those of one image; they are left as they are.
        size: (height, width) of the image, in pixels.
        to: (height, width) that it gets.
        factors: The quotients of both, of the width and of the height.
        full: (height, width) that the masks are padded to; None: they are not.
    """
    instances = instances.clone()  # which is shallow
    if 'bboxes' in instances:
        if isinstance(instances.bboxes, Tensor):
            each = tensor_like(factors, instances.bboxes)
            pairs = instances.bboxes.shape[-1] // 2
            instances.bboxes = instances.bboxes * each.repeat(pairs)
        else:
            instances.bboxes = instances.bboxes.clone()
            instances.bboxes.rescale_(factors)
    if 'keypoints' in instances:
        instances.keypoints = instances.keypoints * torch.cat(
            [
                tensor_like(factors, instances.keypoints),
                instances.keypoints.new_ones(instances.keypoints.shape[-1] - 2),
            ]
        )
    if 'masks' in instances:
        # Without what they were padded with, as they were cut from their image.
        masks = instances.masks
        if hasattr(masks, 'to_bitmap'):  # polygons
            masks = type(masks)(masks.masks, *size)
        else:
            masks = type(masks)(masks.masks[:, : size[0], : size[1]], *size)
        masks = masks.resize(to)
        instances.masks = masks.pad(full) if full else masks
    return instances
