"""What the measurement of long trainings sees, on processes and numbers of our own."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from long_run import command, family, iteration, look, slope, summary

# Opens as many files and takes as much memory (MiB) as it is told.
GREEDY = """
import os, sys, time
files = [open(os.devnull) for _ in range(int(sys.argv[1]))]
block = bytearray(os.urandom(1 << 20)) * int(sys.argv[2])
print('ready', flush=True)
time.sleep(60)
"""


def start(*args):
    process = subprocess.Popen(
        [sys.executable, '-c', GREEDY, *map(str, args)], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    return process


def test_memory_and_open_files_of_a_process_are_seen():
    little, much = start(0, 1), start(25, 64)
    try:
        small, all_small, none, few = look(little.pid)
        large, all_large, also_none, more = look(much.pid)
        assert none == also_none == 0
        assert large - small == pytest.approx(63, abs=3)
        assert all_large - all_small == pytest.approx(63, abs=3)
        assert more - few == 25
    finally:
        little.kill(), much.kill()
        little.communicate(), much.communicate()


def test_the_children_of_a_process_are_seen():
    code = 'import subprocess, sys; subprocess.run([sys.executable, "-c", sys.argv[1]])'
    parent = subprocess.Popen(
        [sys.executable, '-c', code, 'x = bytearray(b"1" * (32 << 20)); input()'],
        stdin=subprocess.PIPE,
    )
    try:
        deadline = time.monotonic() + 30
        while look(parent.pid)[2] < 32:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert len(list(family(parent.pid))) == 2
    finally:
        parent.communicate(b'\n')
    assert look(parent.pid) == (0.0, 0.0, 0, 0)


# Two processes with the same 64 MiB; the parent makes half of them its own.
SHARED = """
import mmap, os, signal, sys
block = mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
block.write(b'1' * (64 << 20))
child = os.fork()
if child == 0:
    signal.pause()
print('ready', flush=True)
sys.stdin.readline()
block[:32 << 20] = b'2' * (32 << 20)
print('done', flush=True)
sys.stdin.read()
os.kill(child, signal.SIGKILL)
"""


def test_a_page_that_gets_copied_is_told_from_one_that_is_new():
    process = subprocess.Popen(
        [sys.executable, '-c', SHARED],
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        process.stdout.readline()
        share, full, other, _ = look(process.pid)
        print('go', file=process.stdin, flush=True)
        process.stdout.readline()
        more, as_full, also_more, _ = look(process.pid)
    finally:
        process.communicate()
    assert more - share == pytest.approx(16, abs=2)  # 32 x 1/2 became 32 x 1
    assert also_more - other == pytest.approx(16, abs=2)
    assert as_full - full == pytest.approx(0, abs=2)


def test_the_slope_and_its_error():
    iterations = np.arange(0, 2000, 100)
    rise, error = slope(iterations, 500 + 0.003 * iterations)
    assert rise == pytest.approx(3) and error < 1e-6
    noise = np.random.default_rng(0).normal(0, 1, 20)
    rise, error = slope(iterations, 500 + noise)
    # By the textbook: residual variance over the sum of squares of x.
    x = iterations / 1000
    fit = np.polyval(np.polyfit(x, noise, 1), x)
    expected = np.sqrt(((noise - fit) ** 2).sum() / 18 / ((x - x.mean()) ** 2).sum())
    assert error == pytest.approx(expected)
    assert abs(rise) < 3 * error


def test_a_leak_is_told_from_swings():
    rng = np.random.default_rng(1)
    flat = [
        (i, 400 + 50 * (rng.random() < 0.2), 600.0, 100.0, 80 + i % 3)
        for i in range(0, 2000, 5)
    ]
    found = summary(flat, 200)
    assert found['iterations'] == [200, 1995]
    assert abs(found['process']['slope']) <= 2 * found['process']['error'] + 0.1
    assert abs(found['handles'][1] - found['handles'][0]) <= 1
    leaks = [
        (i, share + 0.01 * i, full + 0.02 * i, other + 0.002 * i, files + i // 100)
        for i, share, full, other, files in flat
    ]
    found = summary(leaks, 200)
    assert found['process']['slope'] == pytest.approx(10, abs=1)
    assert found['in_full']['slope'] == pytest.approx(20, abs=0.1)
    assert found['workers']['slope'] == pytest.approx(2, abs=0.2)
    assert found['handles'][1] - found['handles'][0] > 10


def test_the_iteration_is_read_from_the_newest_log(tmp_path):
    assert iteration(tmp_path) == 0
    for name, text in (
        ('20250101', '{"iter": 90}\n'),
        (
            '20250102',
            (
                '{"loss": 1, "iter": 10}\n{"coco/bbox_mAP": 0.1, "step": '
                '1}\n{"iter": 20}'
                '\n{"iter": 3'
            ),
        ),
    ):
        (tmp_path / name / 'vis_data').mkdir(parents=True)
        (tmp_path / name / 'vis_data/scalars.json').write_text(text)
    assert iteration(tmp_path) == 20


def test_the_command_is_one_of_the_tool(tmp_path):
    line = command(tmp_path, '--resume', train_cfg__max_epochs=3)
    assert line[1] == 'tools/train.py' and os.path.isfile(line[2])
    assert '--resume' in line and line[-1] == 'train_cfg.max_epochs=3'
