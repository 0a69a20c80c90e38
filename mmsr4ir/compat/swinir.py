"""SwinIR without masks built again and again, and in a graph for any image.

Three things in mmagic 1.2 are fixed here; the first is also in spandrel 0.4, in
``SwinIR``, ``Swin2SR`` and ``DRCT``:

- Each block builds its attention mask on the CPU and copies it to the device in every
  pass, unless the image has the size of the training (``img_size``).
  :func:`keep_masks` has the blocks share one mask as long as the size stays.
- It puts windows together again with ``int(windows / (H * W / size / size))`` for the
  batch. A tracer cannot follow a float and keeps the batch of its sample.
- It asks whether the image has the size of the training (``img_size``), for which it
  keeps the mask. The mask that it makes for any other size is the same. A tracer keeps
  the branch of its sample.

:func:`any_size` changes the last two while a graph is made.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

_MODULE = 'mmagic.models.editors.swinir.swinir_rstb'
# Those whose SwinTransformerBlock builds its mask in every pass.
_BUILDERS = (
    _MODULE,
    *(
        f'spandrel.architectures.{name}'
        for name in (
            'SwinIR.__arch.SwinIR',
            'Swin2SR.__arch.Swin2SR',
            'DRCT.__arch.drct_arch',
        )
    ),
)


def keep_masks(network: nn.Module) -> None:
    """Let the blocks of a SwinIR share their attention mask from pass to pass.

    The class of the blocks is changed, once for the process. Other networks stay as
    they are.
    """
    kinds: set[Any] = {type(module) for module in network.modules()}
    for kind in kinds:
        build = vars(kind).get('calculate_mask')
        if kind.__module__ in _BUILDERS and build and not hasattr(build, '__wrapped__'):
            kind.calculate_mask = _with_memory(build)


def _with_memory(
    build: Callable[[Any, tuple[int, int]], Tensor],
) -> Callable[[Any, tuple[int, int]], Tensor]:
    """Keep the mask of the last size, for each device, type and kind of windows.

    A size takes 4 bytes * height * width * (pixels of a window).

    Args:
        build: A block's method ``calculate_mask``; (height, width) of the features, in
            pixels, to (windows, pixels of a window, pixels of a window).
    """
    kept: dict[tuple, tuple[tuple[int, int], Tensor]] = {}

    @wraps(build)
    def calculate_mask(block: Any, x_size: tuple[int, int]) -> Tensor:
        like = block.norm1.weight
        # Tensors of a graph, and fake ones without content, must not be kept.
        if (
            torch.compiler.is_compiling()
            or torch.jit.is_tracing()
            or type(like) is not nn.Parameter
        ):
            return build(block, x_size)
        key = (block.window_size, block.shift_size, like.device, like.dtype)
        size, mask = kept.get(key, (None, None))
        if mask is None or size != x_size:
            mask = build(block, x_size).to(like)
            if not block.shift_size:  # all zeros: one window's are enough
                mask = mask[:1].clone().expand_as(mask)
            if type(mask) is Tensor:
                kept[key] = x_size, mask
        return mask

    return calculate_mask


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
