"""SwinIR in a graph for batches of any size.

mmagic 1.2 puts windows together again with ``int(windows / (H * W / size / size))`` for
the batch. A tracer cannot follow a float and takes the batch of its sample for all.
"""
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

_MODULE = 'mmagic.models.editors.swinir.swinir_rstb'


@contextmanager
def any_batch() -> Iterator[None]:
    """Let SwinIR leave the batch open; without effect where SwinIR is not loaded."""
    module = sys.modules.get(_MODULE)
    if module is None:
        yield
        return
    original = module.window_reverse
    module.window_reverse = window_reverse
    try:
        yield
    finally:
        module.window_reverse = original


def window_reverse(windows: Tensor, window_size: int, height: int, width: int
                   ) -> Tensor:
    """Put windows (N * windows, size, size, C) together to (N, height, width, C)."""
    channels = windows.shape[-1]
    grid = windows.view(-1, height // window_size, width // window_size, window_size,
                        window_size, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, channels)
