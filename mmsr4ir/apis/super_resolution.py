"""Restore one image of any size, into memory or into a file that grows with it."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from mmsr4ir.models.image_space import to_uint8
from mmsr4ir.models.prediction.tiles import BLEND, Tiles
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.utils.files import whole_file
from mmsr4ir.visualization.drawing import check_png


def super_resolve_rows(
    model: SR4IR, image: np.ndarray, tile: int | None, overlap: int
) -> Iterator[np.ndarray]:
    """Restore an image a few rows at a time.

    Args:
        model: In eval mode.
        image: (height, width, C), uint8, RGB if C is 3.
        tile: Largest edge that is restored at once, in LR pixels; None: any.
        overlap: LR pixels that a tile sees of its neighbours.

    Yields:
        np.ndarray: (rows, width * scale, C), uint8, from the top.

    Raises:
        ValueError: If the tile is too small for the overlap.
    """
    parameter = next(model.parameters())

    def network(part: Tensor) -> Tensor:
        # As bytes to the GPU: as numbers they are four times as many.
        part = part.to(parameter.device, non_blocking=True)
        return model.super_resolve(part.to(parameter.dtype) / 255)

    height, width = image.shape[:2]
    lr, scale = torch.from_numpy(image).permute(2, 0, 1), model.degradation.scale
    tile = tile or max(height, width) + overlap + 2 * BLEND * model.window
    tiles = Tiles(tile, overlap, scale, model.window)
    for _, left, block in tiles.blocks(network, lr):
        if left == 0:
            rows = np.empty((block.shape[1], width * scale, len(block)), np.uint8)
        rows[:, left : left + block.shape[2]] = (
            to_uint8(block).permute(1, 2, 0).cpu().numpy()
        )
        if left + block.shape[2] == width * scale:
            yield rows


def super_resolve_to_png(
    model: SR4IR, image: np.ndarray, path: Path, tile: int | None, overlap: int
) -> None:
    """Restore an image into a PNG file, of which never more than a few rows are held.

    Args:
        model: In eval mode.
        image: (height, width, C), uint8, RGB if C is 3.
        path: File to write.
        tile: Largest edge that is restored at once, in LR pixels; None: any.
        overlap: LR pixels that a tile sees of its neighbours.

    Raises:
        ValueError: If the tile is too small for the overlap, or the image has other
            channels than a PNG file.
    """
    check_png(image.shape[2])
    height, width = (side * model.degradation.scale for side in image.shape[:2])
    with whole_file(path) as unfinished, open(unfinished, 'wb') as file:
        write_png_rows(
            file,
            width,
            height,
            super_resolve_rows(model, image, tile, overlap),
            image.shape[2],
        )


def write_png_rows(
    file: BinaryIO,
    width: int,
    height: int,
    rows: Iterator[np.ndarray],
    channels: int = 3,
) -> None:
    """Write a PNG from pieces (PNG specification, 3rd edition, sections 5 and 9).

    Args:
        file: To write to.
        width: In pixels.
        height: In pixels, of all pieces.
        rows: (n, width, channels), uint8, from the top.
        channels: 1 for gray, 3 for RGB, or 4 as OpenCV loads them, blue first.
    """
    kind = {1: 0, 3: 2, 4: 6}[channels]

    def chunk(kind: bytes, data: bytes) -> None:
        file.write(
            struct.pack('>I', len(data))
            + kind
            + data
            + struct.pack('>I', zlib.crc32(kind + data))
        )

    file.write(b'\x89PNG\r\n\x1a\n')
    chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, kind, 0, 0, 0))
    packer, above = zlib.compressobj(3), np.zeros((width, channels), np.uint8)
    for piece in rows:
        data = bytearray()
        for row in piece[..., [2, 1, 0, 3]] if channels == 4 else piece:
            # Filter 2: each row is written as the difference to the one above.
            data += packer.compress(b'\x02' + (row - above).tobytes())
            above = row
        chunk(b'IDAT', bytes(data))
    chunk(b'IDAT', packer.flush())
    chunk(b'IEND', b'')
