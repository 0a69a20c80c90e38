"""SwinIR in a graph for batches and images of any size.

Two things in mmagic 1.2 tie a traced SwinIR to the sample that it was traced with:

- It puts windows together again with ``int(windows / (H * W / size / size))`` for the
  batch. A tracer cannot follow a float and keeps the batch of its sample.
- It asks whether the image has the size of the training (``img_size``), for which it
  keeps the mask. The mask that it makes for any other size is the same.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

_MODULE = 'mmagic.models.editors.swinir.swinir_rstb'


@contextmanager
def any_size(network: nn.Module) -> Iterator[None]:
    """Let the SwinIR in a network leave batch and size open, for a while."""
    module: Any = sys.modules.get(_MODULE)  # None if no SwinIR was built
    blocks = [
        block
        for block in network.modules()
        if module and isinstance(block, module.SwinTransformerBlock)
    ]
    if not blocks:
        yield
        return
    original = module.window_reverse
    resolutions = [block.input_resolution for block in blocks]
    try:
        module.window_reverse = window_reverse
        for block in blocks:
            block.input_resolution = None
        yield
    finally:
        module.window_reverse = original
        for block, resolution in zip(blocks, resolutions, strict=True):
            block.input_resolution = resolution


def window_reverse(
    windows: Tensor, window_size: int, height: int, width: int
) -> Tensor:
    """Put windows (N * windows, size, size, C) together to (N, height, width, C)."""
    channels = windows.shape[-1]
    grid = windows.view(
        -1,
        height // window_size,
        width // window_size,
        window_size,
        window_size,
        channels,
    )
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)
