"""Restore an image tile by tile, so that memory depends on the tile alone.

Tiles are squares of the LR image that overlap. Of what S makes of a tile, the half of
the overlap next to a cut is thrown away, since S did not see there what it needs; the
next pixels are faded linearly into those of the neighbour. So the result is that of the
whole image, up to rounding, for a convolutional S whose receptive field the overlap
covers, and free of visible seams for any other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmsr4ir.models.image_space import tensor_like

#: LR pixels over which two tiles are faded into each other.
BLEND = 8


@dataclass(frozen=True)
class Span:
    """A tile along one axis.

    Attributes:
        start, stop: What S gets, in LR pixels.
        low, high: What of its result is used, in SR pixels.
        fade_in, fade_out: SR pixels at either end that are shared with a neighbour; 0
            at the edges of the image.
    """

    start: int
    stop: int
    low: int
    high: int
    fade_in: int
    fade_out: int

    def weights(self) -> np.ndarray:
        """Return the weight of each pixel in the SR image.

        Returns:
            np.ndarray: (high - low, ), in (0, 1]; those of all tiles add up to 1
            everywhere.
        """
        weights = np.ones(self.high - self.low)
        ramp = _ramp(max(self.fade_in, self.fade_out))
        if self.fade_in:
            weights[: self.fade_in] = ramp
        if self.fade_out:
            weights[-self.fade_out :] = 1 - ramp
        return weights


def check_tiles(tile: int, overlap: int, multiple: int = 1) -> None:
    """Check that tiles of this size cover an image, see :func:`spans`.

    Args:
        tile: Edge of a tile, in LR pixels.
        overlap: LR pixels of which two neighbours each cover half.
        multiple: Tiles start at multiples of this.

    Raises:
        ValueError: If ``overlap`` is negative, or ``tile`` is too small for it.
    """
    if overlap < 0:
        raise ValueError(f'overlap={overlap} is negative')
    least = overlap + BLEND + -(-BLEND // multiple) * multiple
    if tile < least:
        raise ValueError(
            f'tile={tile} is too small for overlap={overlap}: take a tile of at least '
            f'{least} pixels, or a smaller overlap'
        )


def spans(
    length: int, scale: int, tile: int, overlap: int, multiple: int = 1
) -> list[Span]:
    """Divide one axis of an image.

    Args:
        length: In LR pixels.
        scale: Of S.
        tile: At most so many LR pixels at once.
        overlap: LR pixels of which a tile's two neighbours each cover half.
        multiple: Tiles start at multiples of this, so that windows of attention lie as
            in the whole image.

    Raises:
        ValueError: If :func:`check_tiles` refuses the tile.
    """
    check_tiles(tile, overlap, multiple)
    shift = (tile - overlap - BLEND) // multiple * multiple
    count = 1 + max(0, -(-(length - tile) // shift))
    fade = BLEND * scale
    # Where the fading begins, seen from the start of the tile that fades in.
    margin = ((tile - shift) * scale - fade) // 2
    found = []
    for i in range(count):
        start = i * shift
        last = i == count - 1
        found.append(
            Span(
                start,
                min(start + tile, length),
                low=start * scale + margin if i else 0,
                high=length * scale
                if last
                else (start + shift) * scale + margin + fade,
                fade_in=fade if i else 0,
                fade_out=0 if last else fade,
            )
        )
    return found


@torch.no_grad()
def super_resolve_blocks(
    network: Callable[[Tensor], Tensor],
    lr: Tensor,
    scale: int,
    tile: int,
    overlap: int,
    multiple: int = 1,
) -> Iterator[tuple[int, int, Tensor]]:
    """Restore an image and yield it in blocks, from the top left to the bottom right.

    Besides ``lr``, memory is needed for one tile and for one line of SR pixels as high
    as the fading, whatever the size of the image.

    Args:
        network: Turns a part of ``lr``, (1, C, h, w), into (1, C, h * scale,
            w * scale), in float, on any device.
        lr: (C, height, width), of any type.
        scale: Of the network.
        tile: Largest edge of a tile, in LR pixels.
        overlap: See :func:`spans`, in LR pixels.
        multiple: See :func:`spans`.

    Yields:
        tuple: Row and column of the block's first pixel, and (C, h, w), in float, on
        the network's device. The blocks cover each pixel of the SR image once.

    Raises:
        ValueError: If :func:`check_tiles` refuses the tile.
    """
    height, width = lr.shape[-2:]
    columns = spans(width, scale, tile, overlap, multiple)
    line = None  # the faded out bottom of the row of tiles above, over the whole width
    for row in spans(height, scale, tile, overlap, multiple):
        side = bottom = None  # the faded out right of the tile before
        for column in columns:
            part = lr[None, :, row.start : row.stop, column.start : column.stop]
            sr = network(part)[
                0,
                :,
                row.low - row.start * scale : row.high - row.start * scale,
                column.low - column.start * scale : column.high - column.start * scale,
            ]
            sr = sr * tensor_like(column.weights(), sr)
            if side is not None:
                sr[..., : column.fade_in] += side
            side = sr[..., sr.shape[-1] - column.fade_out :].clone()
            sr = sr[..., : sr.shape[-1] - column.fade_out]
            sr = sr * tensor_like(row.weights(), sr)[:, None]
            left, right = column.low, column.low + sr.shape[-1]
            if line is not None:
                sr[:, : row.fade_in] += line[..., left:right]
            if row.fade_out:
                if bottom is None:
                    bottom = sr.new_empty(len(sr), row.fade_out, width * scale)
                bottom[..., left:right] = sr[:, -row.fade_out :]
            yield row.low, left, sr[:, : sr.shape[1] - row.fade_out]
        line = bottom


def super_resolve_tiled(
    network: Callable[[Tensor], Tensor],
    lr: Tensor,
    scale: int,
    tile: int,
    overlap: int,
    multiple: int = 1,
) -> Tensor:
    """Restore an image tile by tile.

    Args:
        network: See :func:`super_resolve_blocks`.
        lr: (C, height, width), [0, 1].
        scale: Of the network.
        tile: Largest edge of a tile, in LR pixels.
        overlap: See :func:`spans`, in LR pixels.
        multiple: See :func:`spans`.

    Returns:
        Tensor: (C, height * scale, width * scale), [0, 1] except for overshoots.

    Raises:
        ValueError: If :func:`check_tiles` refuses the tile.
    """
    sr: Tensor | None = None
    for row, column, block in super_resolve_blocks(
        network, lr, scale, tile, overlap, multiple
    ):
        if sr is None:
            sr = block.new_empty(len(block), lr.shape[-2] * scale, lr.shape[-1] * scale)
        sr[:, row : row + block.shape[1], column : column + block.shape[2]] = block
    assert sr is not None  # the smallest image has one block
    return sr


def _ramp(length: int) -> np.ndarray:
    """Return ``length`` even steps from just above 0 to just below 1."""
    return (np.arange(length) + 0.5) / max(length, 1)
