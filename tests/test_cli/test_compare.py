"""The comparison as a user runs it: cut off, started again, with bad settings."""

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

from mmsr4ir.cli import compare
from mmsr4ir.comparison import runner

PYTHON = sys.executable
ROOT = Path(__file__).parents[2]
CONFIG = 'configs/sr4ir/resnet18_edsr_tiny.py'


@pytest.fixture(scope='module')
def shapes(tmp_path_factory, run_tool):
    root = tmp_path_factory.mktemp('shapes')
    run_tool(
        PYTHON,
        'tools/dataset_converters/make_textured_shapes.py',
        '--out',
        root,
        '--num-train',
        8,
        '--num-val',
        4,
        '--size',
        64,
    )
    return root / 'classification'


def options(root, epochs):
    settings = [
        'model.sr.num_blocks=1',
        'model.sr.mid_channels=8',
        f'train_cfg.max_epochs={epochs}',
        f'train_cfg.val_interval={epochs}',
        'default_hooks.checkpoint.interval=1',
        'param_scheduler.sr.0.end=2',
        'param_scheduler.task.0.end=2',
    ]
    for loader in ('train', 'val', 'test'):
        at = f'{loader}_dataloader'
        settings += [
            f'{at}.dataset.data_root={root}/',
            f'{at}.batch_size=4',
            f'{at}.num_workers=0',
            f'{at}.persistent_workers=False',
        ]
    return ['--cfg-options', *settings]


@pytest.mark.slow
def test_cut_off_and_started_again(shapes, run_tool, tmp_path, monkeypatch, capsys):
    # Enough epochs that the first training cannot be through when it is stopped.
    command = [
        PYTHON,
        'tools/compare.py',
        CONFIG,
        '--methods',
        'h2t',
        'l2t_kd',
        '--start',
        'trained',
        '--out',
        str(tmp_path),
        '--images',
        '2',
        *options(shapes, 6),
    ]
    out = tmp_path / 'resnet18_edsr_tiny'
    train = out / 't' / 'seed_0' / 'train'
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1'),
    )
    for _ in range(2400):
        if (train / 'epoch_2.pth').exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    process.terminate()
    text = process.communicate()[0]
    assert process.returncode == 143, text
    assert not (out / 't' / 'seed_0' / 'trained.json').exists()

    class Forked:
        """Trains and tests in a fork of the tool server, which starts sooner."""

        def __init__(self, command, stdout, **_):
            assert command[:4] == [PYTHON, '-u', '-m', 'mmsr4ir']
            done = run_tool(PYTHON, *command[2:], ok=False)
            stdout.write(done.stdout)
            self.returncode = done.returncode

        def wait(self):
            return self.returncode

    fake = SimpleNamespace(Popen=Forked, STDOUT=subprocess.STDOUT)
    monkeypatch.setattr(runner, 'subprocess', fake)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', command[1:])
    compare.main()
    text = capsys.readouterr().out
    assert 'H→T seed 0: done' in text and '| L→T+KD |' in text
    log = (out / 't' / 'seed_0' / 'train.log').read_text()
    assert 'Resumed epoch: ' in log or 'resumed epoch: ' in log, log[-3000:]

    report = json.loads((out / 'results.json').read_text())
    assert report['metric'] == 'accuracy/top1'
    for row in report['methods'].values():
        run = row['runs']['0']
        assert run['state'] == 'done' and 0 <= run['task'] <= 100
        assert run['iter'] == run['iters'] == 6 * 2
    assert report['complexity']['sr']['params'] > 0
    taught = report['methods']['l2t_kd']['runs']['0']
    assert taught['TFD'] > 0 and taught['total']['teacher'] is True
    assert taught['total']['updates']['task'] == 3 * 6 * 2  # with those of T and H→T
    assert taught['total']['images'] == dict(sr=0, task=3 * 6 * 8)
    log = (out / 'l2t_kd' / 'seed_0' / 'train.log').read_text()
    assert 'teacher: all ' in log and 'task: all ' in log
    images = json.loads((out / 'l2t_kd' / 'seed_0' / 'images.json').read_text())
    right = [one['label'] == one['true_label'] for one in images['images']]
    assert 100 * sum(right) / len(right) == pytest.approx(taught['task'], abs=0.01)
    assert {'sr_ms', 'task_ms', 'mib'} <= set(report['inference']['l2t_kd'])
    assert report['verdict']['outcome'] == 'unknown'
    with (out / 'results.csv').open() as file:
        assert [row['method'] for row in csv.DictReader(file)] == ['h2t', 'l2t_kd']
    text = (out / 'results.md').read_text()
    assert text.startswith('L→T+KD is the best method here')
    assert 'no method with an SR network has a result (add sr4ir' in text
    assert 'order and augmentation: the same in all 3' in text
    assert 'LR images of the test: the same in all 2' in text
    assert cv2.imread(str(out / 'results.png')) is not None
    grids = sorted((out / 'grids').iterdir())
    assert len(grids) == 2 and len(cv2.imread(str(grids[0]))) > 2 * 64


@pytest.mark.parametrize(
    'config, more, message',
    [
        ('configs/none.py', (), 'error: config configs/none.py does not exist'),
        ('configs/_base_/sr4ir.py', (), 'model is None; the comparison takes'),
        (
            CONFIG,
            ('--cfg-options', 'test_dataloader.dataset.data_root=/nowhere'),
            'error: the data set of test_dataloader cannot be read',
        ),
    ],
)
def test_bad_settings_are_said_at_once(
    config, more, message, shapes, run_tool, tmp_path
):
    if more:  # the rest of the data is there
        more = (
            *more,
            f'train_dataloader.dataset.data_root={shapes}/',
            f'val_dataloader.dataset.data_root={shapes}/',
        )
    process = run_tool(
        PYTHON, 'tools/compare.py', config, '--out', tmp_path, *more, ok=False
    )
    assert process.returncode == 1 and message in process.stdout
    assert not list(tmp_path.rglob('config.py'))
