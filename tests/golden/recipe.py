"""The weights, images and masks that the recorded training started from.

``cls_11_x4.json`` holds what the authors' published classification trainer (x4, seed
11) printed in twelve iterations in float64: six of warm-up, six with the TDP loss.
Everything it was given is drawn here from NumPy's frozen ``RandomState`` streams, so
that no weights need to be kept.
"""
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RECORD = json.loads(Path(__file__).with_name('cls_11_x4.json').read_text())
SEED = RECORD['seed']


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


def draw_batches(count: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """HR images (2, 3, 224, 224), RGB, uint8, with labels (2,) of 10 classes."""
    stream = np.random.RandomState(seed + 1)
    for _ in range(count):
        smooth = torch.from_numpy(stream.rand(2, 3, 28, 28).astype(np.float32))
        image = F.interpolate(
            smooth, scale_factor=8, mode='bilinear', align_corners=False)
        noise = (stream.rand(2, 3, 224, 224).astype(np.float32) - 0.5) * 0.2
        image = (image + torch.from_numpy(noise)).clamp(0, 1)
        labels = torch.from_numpy(stream.randint(0, 10, (2, )).astype(np.int64))
        yield (image * 255).round().to(torch.uint8), labels


def draw_masks(count: int, seed: int) -> Iterator[Tensor]:
    """The cells of the patch mix, (2, 1, 4, 4); 1 takes SR, 0 takes HR."""
    stream = np.random.RandomState(seed + 7)
    for _ in range(count):
        cells = stream.rand(2, 1, 4, 4) < 0.5
        yield torch.from_numpy(cells.astype(np.float32))
