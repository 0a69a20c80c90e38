"""Logs of a training through the command line."""

import json
import sys

import pytest
from PIL import Image

from mmsr4ir.analysis.logs import read_log
from mmsr4ir.cli.analyze_logs import train_time

TOOL = 'tools/analysis_tools/analyze_logs.py'


@pytest.fixture
def work_dirs(tmp_path):
    for run, time in (('first', 1.0), ('second', 3.0)):
        folder = tmp_path / run / '20260101_000000' / 'vis_data'
        folder.mkdir(parents=True)
        (folder / 'scalars.json').write_text(
            ''.join(
                json.dumps(
                    {
                        'sr/loss_pixel': 1 / step,
                        'time': time,
                        'epoch': 1,
                        'iter': step,
                        'step': step,
                    }
                )
                + '\n'
                for step in range(1, 4)
            )
        )
    return [tmp_path / 'first', tmp_path / 'second']


def test_curves_and_times(work_dirs, run_tool, tmp_path):
    out = tmp_path / 'curves.png'
    text = run_tool(
        sys.executable,
        TOOL,
        'plot_curve',
        *work_dirs,
        '--out',
        out,
        env=dict(DISPLAY='', MPLBACKEND=''),
        fresh=True,
    ).stdout
    assert 'second: iterations 1 to 3, 0 validations, from 1 run(s)' in text
    assert Image.open(out).size[0] > 500
    process = run_tool(
        sys.executable,
        TOOL,
        'cal_train_time',
        *work_dirs,
        work_dirs[0] / 'none',
        ok=False,
    )
    assert process.returncode == 1 and 'none does not exist' in process.stdout
    assert 'Traceback' not in process.stdout


def test_train_time(work_dirs):
    log = read_log(work_dirs[1])
    assert train_time(log, False).splitlines()[-1] == '  mean: 3.0000 s/iter'
