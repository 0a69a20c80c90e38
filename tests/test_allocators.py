"""What is in use is told from gaps, for glibc's blocks and Python's small objects."""

import json
import platform
from types import SimpleNamespace

import numpy as np
import pytest
from allocators import AllocatorsHook, anonymous, c_library, python
from long_run import allocators

MIB = 2**20
pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='looks into glibc'
)


def test_blocks_of_the_c_library():
    used, _ = c_library()
    blocks = [np.ones(4096, np.uint8) for _ in range(16 * 256)]  # 16 MiB
    more, full = c_library()
    assert more - used == pytest.approx(16, abs=1)
    del blocks[::2]  # leaves gaps: each has a neighbour that stays
    less, gaps = c_library()
    assert less - used == pytest.approx(8, abs=1)
    assert gaps - full == pytest.approx(8, abs=1)


def test_small_objects_of_python():
    used, _ = python()
    objects = [bytes(100) for _ in range(64 * 1024)]  # of 144 bytes with their heads
    more, full = python()
    assert more - used == pytest.approx(9, abs=0.5)
    del objects[::2]
    less, gaps = python()
    assert less - used == pytest.approx(4.5, abs=0.5)
    assert gaps - full == pytest.approx(4.5, abs=0.5)


def test_lines_of_a_training(tmp_path):
    hook = AllocatorsHook(interval=5)
    for number in range(100):
        hook.after_train_iter(SimpleNamespace(iter=number, work_dir=tmp_path), number)
    lines = [
        json.loads(line)
        for line in (tmp_path / 'allocators.json').read_text().splitlines()
    ]
    assert [line['iter'] for line in lines] == [*range(5, 101, 5)]
    assert all(line['python_used'] < line['anonymous'] for line in lines)
    assert lines[-1]['anonymous'] == pytest.approx(anonymous(), abs=5)
    for line in lines:
        line['malloc_free'] = 3 + 0.002 * line['iter']
    (tmp_path / 'allocators.json').write_text(
        '\n'.join(json.dumps(line) for line in lines)
    )
    found = allocators(tmp_path, steady=20)['malloc_free']
    assert found['slope'] == pytest.approx(2) and found['last'] == 3.2
