"""The weights, images and masks that the recorded trainings started from.

``cls_11_x4.json`` holds what the authors' published classification trainer (x4, seed
11) printed in twelve iterations in float64: six of warm-up, six with the TDP loss.
``det_11_x4.json`` and ``seg_11_x4.json`` hold the same of their detection and
segmentation trainers, four iterations of each kind. Everything they were given is drawn
here from NumPy's frozen ``RandomState`` streams, so that no weights need to be kept.
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RECORDS = {
    task: json.loads(Path(__file__).with_name(f'{task}_11_x4.json').read_text())
    for task in ('cls', 'det', 'seg')
}
RECORD = RECORDS['cls']
SEED = RECORD['seed']
# (height, width) of the images in pixels, and cells of the patch mix a side.
SIZES = dict(det=(96, 128), seg=(240, 240))
GRIDS = dict(cls=4, det=8, seg=4)
# Of torchvision's fasterrcnn_mobilenet_v3_large_fpn: its samplers take all, so that
# nothing is drawn, and it enlarges the images to twice their size.
DETECTOR = dict(
    min_size=192,
    max_size=256,
    rpn_batch_size_per_image=10**6,
    box_batch_size_per_image=10**6,
    rpn_pre_nms_top_n_train=200,
    rpn_post_nms_top_n_train=50,
    rpn_pre_nms_top_n_test=200,
    rpn_post_nms_top_n_test=50,
)


def draw_weight(name: str, value: Tensor) -> Tensor:
    """The start value of the tensor that the published code calls `name`, float32."""
    if name.endswith(('num_batches_tracked', 'running_mean')):
        return torch.zeros_like(value)
    if name.endswith('running_var') or (value.dim() < 2 and name.endswith('weight')):
        return torch.ones_like(value)
    stream = np.random.RandomState((zlib.crc32(name.encode()) + SEED) % 2**32)
    normal = stream.standard_normal(tuple(value.shape))
    if value.dim() >= 2:
        normal = normal * np.sqrt(1.0 / int(np.prod(value.shape[1:])))
    else:
        normal = normal * 0.01
    return torch.from_numpy(normal.astype(np.float32))


def draw_image(
    stream: np.random.RandomState, count: int, height: int, width: int
) -> Tensor:
    """HR images (count, 3, height, width), RGB, uint8."""
    smooth = torch.from_numpy(
        stream.rand(count, 3, height // 8, width // 8).astype(np.float32)
    )
    image = F.interpolate(smooth, scale_factor=8, mode='bilinear', align_corners=False)
    noise = (stream.rand(count, 3, height, width).astype(np.float32) - 0.5) * 0.2
    image = (image + torch.from_numpy(noise)).clamp(0, 1)
    return (image * 255).round().to(torch.uint8)


def draw_batches(count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """HR images (2, 3, 224, 224), RGB, uint8, with labels (2,) of 10 classes."""
    stream = np.random.RandomState(seed + 1)
    for _ in range(count):
        image = draw_image(stream, 2, 224, 224)
        labels = torch.from_numpy(stream.randint(0, 10, (2,)).astype(np.int64))
        yield image, labels


def draw_detection(count: int, seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Images (3, 96, 128), RGB, uint8, boxes (k, 4) and labels (k,) from 1 to 4."""
    stream = np.random.RandomState(seed + 1)
    height, width = SIZES['det']
    for _ in range(count):
        images = [draw_image(stream, 1, height, width)[0] for _ in range(2)]
        for image in images:
            objects = stream.randint(1, 4)
            left, top = (
                stream.randint(0, most, objects) for most in (width - 48, height - 40)
            )
            wide, high = (stream.randint(16, most, objects) for most in (48, 40))
            boxes = np.stack([left, top, left + wide, top + high], 1)
            labels = stream.randint(1, 5, objects)
            yield (
                image,
                torch.from_numpy(boxes.astype(np.float64)),
                torch.from_numpy(labels.astype(np.int64)),
            )


def draw_segmentation(count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images (3, 240, 240), RGB, uint8, and maps (240, 240) of 5 classes and 255."""
    stream = np.random.RandomState(seed + 1)
    height, width = SIZES['seg']
    for _ in range(count):
        images = [draw_image(stream, 1, height, width)[0] for _ in range(2)]
        cells = stream.randint(0, 5, (2, height // 24, width // 24))
        cells[stream.rand(*cells.shape) < 0.1] = 255
        maps = np.repeat(np.repeat(cells, 24, 1), 24, 2).astype(np.int64)
        yield from zip(images, torch.from_numpy(maps), strict=True)


def draw_masks(count: int, seed: int, task: str = 'cls') -> Iterator[Tensor]:
    """The cells of the patch mix, (2, 1, grid, grid); 1 takes SR, 0 takes HR."""
    stream = np.random.RandomState(seed + 7)
    for _ in range(count):
        cells = stream.rand(2, 1, GRIDS[task], GRIDS[task]) < 0.5
        yield torch.from_numpy(cells.astype(np.float32))
