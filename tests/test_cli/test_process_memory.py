"""What the C library does with the memory of tensors that are gone."""
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.skipif(
    torch.cuda.is_available() or platform.libc_ver()[0] != 'glibc',
    reason='of glibc, without a GPU')

# How many MiB the process gives back when two tensors of 64 MiB go, and how many it has
# less than before when there is one of 60 MiB. (The package would take long to import.)
CODE = """
import sys, torch
from pathlib import Path
sys.path.append('mmsr4ir/apis')
from process_memory import keep_freed_memory

def memory():
    line, = (line for line in Path('/proc/self/smaps_rollup').read_text().splitlines()
             if line.startswith('Anonymous:'))
    return int(line.split()[1]) / 1024

done = keep_freed_memory() if 'keep' in sys.argv else None
tensors = [torch.ones(16 << 20) for _ in range(2)]
full = memory()
tensors.clear()
lost = full - memory()
one = torch.ones(15 << 20)  # aligned, it needs a little more than its size
print(done, lost, full - memory())
"""


def about(mib):
    return pytest.approx(mib, abs=4)


def run(*args, **env):
    clean = {k: v for k, v in os.environ.items()
             if not k.startswith(('MALLOC_', 'GLIBC_TUNABLES'))}
    process = subprocess.run(
        [sys.executable, '-c', CODE, *args], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2], env=clean | env)
    done, *sizes = process.stdout.split()
    return done, *map(float, sizes)


def test_freed_memory_is_kept_and_used_again():
    assert run() == ('None', about(128), about(68))
    assert run('keep') == ('True', about(0), about(0))


@pytest.mark.parametrize('name, value', [
    ('MALLOC_ARENA_MAX', '2'), ('GLIBC_TUNABLES', 'glibc.malloc.arena_max=2')])
def test_the_variables_of_the_user_stay(name, value):
    done, lost, _ = run('keep', **{name: value})
    assert done == 'False' and lost == about(128)
