"""How a process that trains keeps its memory."""
import ctypes
import os
import sys

import torch

# Of malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Have the C library keep what tensors leave, for the tensors that come next.

    By default glibc gives the pages of a large tensor back to the system, which has to
    clear others when the next tensor asks for them: up to a fifth of a train step on a
    CPU. The process then stays as large as its largest iteration. On a GPU torch has an
    allocator of its own, and other C libraries have no such setting; ``MALLOC_...``
    variables of glibc are the user's own choice. Nothing is set in these cases.

    Returns:
        bool: Whether it was set.
    """
    if (torch.cuda.is_available() or not sys.platform.startswith('linux')
            or any(name.startswith('MALLOC_') for name in os.environ)):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, 'mallopt'):  # musl
        return False
    # No tensor gets pages of its own, and the heap never shrinks.
    return all([library.mallopt(_M_MMAP_MAX, 0),
                library.mallopt(_M_TRIM_THRESHOLD, -1)])
