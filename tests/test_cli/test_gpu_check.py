"""The check for GPUs, as far as a CPU can tell; and what its summary says."""

import importlib.util
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location(
    'gpu_check', ROOT / 'tools/misc/gpu_check.py'
)
gpu_check = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(gpu_check)

# In the place of Python: parity and the timing of ways fail, all others are well.
PYTHON = """#!/bin/sh
case "$*" in
  *import\\ torch*) echo "$GPU" ;;
  *gpu_check.py\\ ops*) echo noise; echo RESULT one; echo RESULT two ;;
  *gpu_check.py\\ parity*) echo RESULT far off; exit 1 ;;
  *--compare*) exit 3 ;;
  *benchmark_train*) echo "given: $*" ;;
esac
"""


@pytest.fixture
def check(tmp_path, run_tool):
    python = tmp_path / 'python'
    python.write_text(PYTHON)
    python.chmod(0o755)

    def check(gpu: str = 'NVIDIA A100-SXM4-80GB', **variables):
        variables |= dict(PYTHON=str(python), GPU=gpu)
        return run_tool(
            'bash', 'tools/misc/gpu_check.sh', tmp_path / 'out', ok=False, env=variables
        )

    return check


def test_the_summary_says_what_failed(check, tmp_path):
    process = check(STAGES='ops|parity|time')
    lines = (tmp_path / 'out/summary.txt').read_text().splitlines()
    found = [(line.split()[0], line.split()[1]) for line in lines]
    assert found == [
        ('ops', 'PASS'),
        ('parity', 'FAIL'),
        ('time_det', 'INFO'),
        ('time_ways', 'INFO'),
    ]
    assert lines[0].endswith('one;two')
    assert lines[1].endswith('exit code 1; far off')
    assert process.returncode == 1
    given = (tmp_path / 'out/time_det.log').read_text()
    assert given.rstrip().endswith('--iterations 12 --warmup 4 --peak-tflops 156')
    assert check(STAGES='ops').returncode == 0


def test_without_a_gpu_or_time_nothing_is_run(check, tmp_path):
    process = check('')
    assert process.returncode == 1 and 'error: torch finds no GPU' in process.stdout
    process = check('', CUDA_OFF='1', MINUTES='0', STAGES='ops')
    assert process.returncode == 0
    text = (tmp_path / 'out/summary.txt').read_text()
    assert text.split() == ['ops', 'SKIP', '0s', 'no', 'time', 'left']


def test_ops_agree_with_the_cpu(capsys, tmp_path, monkeypatch):
    assert gpu_check.ops(tmp_path)
    lines = capsys.readouterr().out.splitlines()
    ops = ['RoIAlign', 'RoIPool', 'DCNv1', 'DCNv2', 'focal loss', 'nms', 'soft_nms']
    for line, op in zip(lines, ops, strict=True):
        assert line.startswith(f'RESULT {op} ') and 'FAIL' not in line
    run = gpu_check.run_op
    calls = []

    def wrong_at_the_second(*args):  # the first is the CPU's, which is right
        calls.append(args)
        return [value + len(calls) % 2 - 1 for value in run(*args)]

    monkeypatch.setattr(gpu_check, 'run_op', wrong_at_the_second)
    assert not gpu_check.ops(tmp_path)
    assert capsys.readouterr().out.count('<-- FAIL') == 5


def test_relative_differences():
    found = gpu_check.relative(dict(a=1.1, b=float('nan')), dict(a=1.0, b=2.0))
    assert found == dict(a=pytest.approx(0.1), b=float('inf'))
    assert torch.tensor(list(found.values())).isinf().tolist() == [False, True]
