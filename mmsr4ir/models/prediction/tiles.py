"""Restore an image tile by tile, so that memory depends on the tile alone.

Tiles are squares of the LR image that overlap. Of each restored tile, the half of the
overlap next to a cut is thrown away, since the SR network did not see there what it
needs; the next pixels are faded linearly into those of the neighbour. So the result is
that of the whole image, up to rounding, for a convolutional SR network whose receptive
field the overlap covers, and free of visible seams for any other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmsr4ir.models.image_space import tensor_like
from mmsr4ir.utils.errors import ConfigError

#: LR pixels over which two tiles are faded into each other.
BLEND = 8


@dataclass(frozen=True)
class Span:
    """A tile along one axis.

    Attributes:
        start, stop: What the SR network gets, in LR pixels.
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


@dataclass(frozen=True)
class Tiles:
    """How an image is divided.

    Args:
        size: Largest edge of a tile, in LR pixels.
        overlap: LR pixels of which a tile's two neighbours each cover half.
        scale: Of the SR network.
        multiple: Tiles start at multiples of this, so that windows of attention lie as
            in the whole image.

    Raises:
        ConfigError: If ``overlap`` is negative, or ``size`` is too small for it.
    """

    size: int
    overlap: int
    scale: int = 1
    multiple: int = 1

    def __post_init__(self) -> None:
        if self.overlap < 0:
            raise ConfigError(f'overlap={self.overlap} is negative')
        least = self.overlap + BLEND + -(-BLEND // self.multiple) * self.multiple
        if self.size < least:
            raise ConfigError(
                f'tile={self.size} is too small for overlap={self.overlap}: take a '
                f'tile of at least {least} pixels, or a smaller overlap'
            )

    def spans(self, length: int) -> list[Span]:
        """Divide one axis of an image.

        Args:
            length: Of the axis, in LR pixels.

        Returns:
            list[Span]: The tiles along it, from the start to the end.
        """
        scale = self.scale
        shift = (self.size - self.overlap - BLEND) // self.multiple * self.multiple
        count = 1 + max(0, -(-(length - self.size) // shift))
        fade = BLEND * scale
        # Where the fading begins, seen from the start of the tile that fades in.
        margin = ((self.size - shift) * scale - fade) // 2
        found = []
        for i in range(count):
            start, last = i * shift, i == count - 1
            end = (start + shift) * scale + margin + fade
            found.append(
                Span(
                    start,
                    min(start + self.size, length),
                    low=start * scale + margin if i else 0,
                    high=length * scale if last else end,
                    fade_in=fade if i else 0,
                    fade_out=0 if last else fade,
                )
            )
        return found

    @torch.no_grad()
    def blocks(
        self, network: Callable[[Tensor], Tensor], lr: Tensor
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Restore an image and yield it in blocks, from top left to bottom right.

        Besides ``lr``, memory is needed for one tile and for one line of SR pixels as
        high as the fading, whatever the size of the image.

        Args:
            network: Turns a part of ``lr``, (1, C, h, w), into (1, C, h * scale,
                w * scale), in float, on any device.
            lr: (C, height, width), of any type.

        Yields:
            tuple: Row and column of the block's first pixel, and (C, h, w), in float,
            on the network's device. The blocks cover each pixel of the SR image once.
        """
        (height, width), scale = lr.shape[-2:], self.scale
        columns = self.spans(width)
        line = None  # the faded out bottom of the row of tiles above, in full width
        for row in self.spans(height):
            side = bottom = None  # the faded out right of the tile before
            for column in columns:
                part = lr[None, :, row.start : row.stop, column.start : column.stop]
                top, first = row.start * scale, column.start * scale
                sr = network(part)[
                    0,
                    :,
                    row.low - top : row.high - top,
                    column.low - first : column.high - first,
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

    def whole(self, network: Callable[[Tensor], Tensor], lr: Tensor) -> Tensor:
        """Restore an image tile by tile.

        Args:
            network: See :meth:`blocks`.
            lr: (C, height, width), [0, 1].

        Returns:
            Tensor: (C, height * scale, width * scale), [0, 1] except for overshoots.
        """
        sr: Tensor | None = None
        size = [side * self.scale for side in lr.shape[-2:]]
        for row, column, block in self.blocks(network, lr):
            if sr is None:
                sr = block.new_empty(len(block), *size)
            sr[:, row : row + block.shape[1], column : column + block.shape[2]] = block
        assert sr is not None  # the smallest image has one block
        return sr


def _ramp(length: int) -> np.ndarray:
    """Return ``length`` even steps from just above 0 to just below 1."""
    return (np.arange(length) + 0.5) / max(length, 1)
