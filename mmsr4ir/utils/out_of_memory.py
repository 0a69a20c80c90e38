"""Say what to lower when the memory is full."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import SR4IRError

# A CPU's allocator has no exception of its own, nor has cuBLAS for its workspace.
_MESSAGES = ("can't allocate memory", 'not enough memory', 'STATUS_ALLOC_FAILED')


class OutOfMemoryError(SR4IRError, RuntimeError):
    """The memory is full; the message names the settings to lower."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a GPU's or the CPU's memory is full."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and any(text in str(error) for text in _MESSAGES)
    )


@contextmanager
def explain_out_of_memory(batch: dict) -> Iterator[None]:
    """Turn an error of full memory into one that helps.

    Args:
        batch: The batch that did not fit.

    Raises:
        OutOfMemoryError: If the block fills the memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        said = (str(error).splitlines() or [type(error).__name__])[0]
        shapes = sorted({tuple(image.shape[-2:]) for image in batch['inputs']})
        sizes = ', '.join(f'{height}x{width}' for height, width in shapes[-3:])
        raise OutOfMemoryError(
            f'out of memory at a batch of {len(batch["inputs"])} images (height x '
            f'width up to {sizes}). Lower train_dataloader.batch_size '
            '(optim_wrapper.sr.accumulative_counts and .task.accumulative_counts keep '
            'the step as it was), or the size in the Resize or RandomCrop of '
            'train_pipeline; on a GPU, --amp needs less too. '
            f'({said})'
        ) from error
