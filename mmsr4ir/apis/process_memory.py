"""How a process that trains keeps its memory."""
import ctypes
import os
import sys

from mmengine.device import get_device

# Of malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Have the C library keep what tensors leave, for the tensors that come next.

    By default glibc gives the pages of a large tensor back to the system, which has to
    clear others when the next tensor asks for them: some per cent of a train step on a
    CPU. The process, and loader workers that it starts later, then stay about as large
    as they ever were. Nothing is set with a GPU, where torch has an allocator of its
    own, with another C library, and where the environment already says how glibc shall
    keep memory (``MALLOC_...``, ``GLIBC_TUNABLES=glibc.malloc...``).

    Returns:
        bool: Whether it was set.
    """
    if (get_device() != 'cpu' or not sys.platform.startswith('linux')
            or any(name.startswith('MALLOC_') for name in os.environ)
            or 'glibc.malloc' in os.environ.get('GLIBC_TUNABLES', '')):
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, 'mallopt'):  # musl
        return False
    # No tensor gets pages of its own, and the heap never shrinks.
    return all([library.mallopt(_M_MMAP_MAX, 0),
                library.mallopt(_M_TRIM_THRESHOLD, -1)])
