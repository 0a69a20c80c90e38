import subprocess
import sys


def test_importing_the_package_imports_no_task_library():
    code = ('import sys, mmsr4ir, mmsr4ir.models, mmsr4ir.engine, mmsr4ir.evaluation;'
            'print([m for m in ("mmdet", "mmseg", "mmpretrain", "mmagic", "diffusers",'
            '"mmcv.ops") if m in sys.modules])')
    process = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True)
    assert process.stdout.strip() == '[]', process.stderr
