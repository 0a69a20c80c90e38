"""What the memory of a training is used for, from inside: a hook for long_run.py."""

import ctypes
import json
import os
import re
import sys
import tempfile
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

_MIB = 2**20


class _Mallinfo2(ctypes.Structure):
    """Of malloc.h, glibc 2.33 and later."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            'arena',
            'ordblks',
            'smblks',
            'hblks',
            'hblkhd',
            'usmblks',
            'fsmblks',
            'uordblks',
            'fordblks',
            'keepcost',
        )
    ]


def c_library() -> tuple[float, float]:
    """(MiB in blocks that are in use, MiB in gaps between them), of glibc's malloc."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    info = mallinfo2()
    return (info.uordblks + info.hblkhd) / _MIB, info.fordblks / _MIB


def python() -> tuple[float, float]:
    """(MiB in Python's small objects, MiB between them), of its own allocator."""
    with tempfile.TemporaryFile('w+') as file:
        stderr = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            sys._debugmallocstats()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        file.seek(0)
        text = file.read().replace(',', '')
    used = int(re.search(r'# bytes in allocated blocks += +(\d+)', text)[1])
    arenas = int(re.search(r'arenas \* \d+ bytes/arena += +(\d+)', text)[1])
    return used / _MIB, (arenas - used) / _MIB


def anonymous() -> float:
    """MiB of the process that are of no file."""
    return (
        int(
            re.search(
                r'^Anonymous: +(\d+) kB',
                Path('/proc/self/smaps_rollup').read_text(),
                re.M,
            )[1]
        )
        / 1024
    )


@HOOKS.register_module()
class AllocatorsHook(Hook):
    """Writes a line to ``allocators.json`` of the work directory now and then.

    Args:
        interval: Iterations between two lines.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        if not self.every_n_train_iters(runner, self.interval):
            return
        used, free = c_library()
        python_used, python_free = python()
        line = dict(
            iter=runner.iter + 1,
            anonymous=anonymous(),
            malloc_used=used,
            malloc_free=free,
            python_used=python_used,
            python_free=python_free,
        )
        with open(Path(runner.work_dir) / 'allocators.json', 'a') as file:
            print(json.dumps(line), file=file)
