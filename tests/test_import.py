import subprocess
import sys


def test_importing_the_package_imports_no_task_library():
    code = (
        'import sys, mmsr4ir, mmsr4ir.models, mmsr4ir.engine, mmsr4ir.evaluation;'
        'print([m for m in ("mmdet", "mmseg", "mmpretrain", "mmagic", "spandrel",'
        '"mmcv.ops") if m in sys.modules])'
    )
    process = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True
    )
    assert process.stdout.strip() == '[]', process.stderr


def test_a_torch_that_runs_code_of_checkpoints_is_refused_in_a_line():
    process = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            '-c',
            'import torch\ntorch.__version__ = "2.5.1+cpu"\nimport mmsr4ir',
        ],
        capture_output=True,
        text=True,
    )
    assert process.stderr.splitlines()[-1].startswith(
        'ImportError: mmsr4ir cannot be used yet (ImportError: torch 2.5.1+cpu is too '
        'old: '
    )
