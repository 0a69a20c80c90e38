"""The shell launchers and the demo."""

import re
import sys
from contextlib import contextmanager
from subprocess import PIPE, STDOUT
from types import SimpleNamespace

import pytest
from long_run import SHRUNK

from mmsr4ir.cli import embedded_demo

PYTHON = sys.executable


@pytest.mark.parametrize(
    'script, argument, command',
    [
        (
            'slurm_train.sh',
            'work',
            'train.py c.py --work-dir work --launcher slurm --amp',
        ),
        ('slurm_test.sh', 'x.pth', 'test.py c.py x.pth --launcher slurm --amp'),
    ],
)
def test_slurm_scripts_hand_everything_to_srun(
    script, argument, command, tmp_path, run_tool
):
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\necho "$@"\n')
    srun.chmod(0o755)
    process = run_tool(
        'bash',
        f'tools/{script}',
        'gpus',
        'job',
        'c.py',
        argument,
        '--amp',
        env=dict(
            PATH=f'{tmp_path}:/usr/bin:/bin',
            GPUS='4',
            GPUS_PER_NODE='2',
            SRUN_ARGS='--mem 8G',
        ),
    )
    assert process.stdout.startswith(
        '-p gpus --job-name=job --gres=gpu:2 --ntasks=4 --ntasks-per-node=2 '
        '--cpus-per-task=5 --kill-on-bad-exit=1 --mem 8G python -u '
    )
    assert process.stdout.strip().endswith(command)


@pytest.mark.parametrize(
    'script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh']
)
def test_scripts_without_arguments_say_how(script, run_tool):
    process = run_tool('bash', f'tools/{script}', ok=False)
    assert process.returncode == 2 and 'usage: ' in process.stdout


@pytest.mark.parametrize('work', ['folder', 'file'])
def test_the_demo_removes_nothing_of_others(work, tmp_path, run_tool):
    mine = tmp_path / 'epoch_1.pth'
    mine.write_text('weeks of training')
    process = run_tool(
        PYTHON,
        'tools/embedded_demo.py',
        '--out',
        tmp_path if work == 'folder' else mine,
        ok=False,
    )
    assert process.returncode == 1
    assert 'holds something else than an earlier demo' in process.stdout
    assert mine.read_text() == 'weeks of training'


@pytest.mark.slow
def test_the_demo_writes_its_table_and_pictures(
    tmp_path, run_tool, monkeypatch, capsys
):
    """The demo with small networks, on 16 images and one epoch.

    Its commands run in forks of the tool server, which start sooner.
    """

    @contextmanager
    def popen(command, **_):
        assert command[:4] == [PYTHON, '-u', '-m', 'mmsr4ir']
        process = run_tool(PYTHON, *command[2:], ok=False)
        lines = process.stdout.splitlines(keepends=True)
        yield SimpleNamespace(stdout=lines, returncode=process.returncode)

    fake = SimpleNamespace(Popen=popen, PIPE=PIPE, STDOUT=STDOUT)
    monkeypatch.setattr(embedded_demo, 'subprocess', fake)
    out = tmp_path / 'out'
    small = SHRUNK | {'test_dataloader.dataset.pipeline.1.scale': '"(64,64)"'}
    arguments = [
        'embedded_demo',
        '--out',
        str(out),
        '--cfg-options',
        'train_dataloader.dataset.indices=16',
        'val_dataloader.dataset.indices=4',
        'test_dataloader.dataset.indices=4',
        'train_cfg.max_epochs=1',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=1',
        *(f'{key}={value}' for key, value in small.items()),
    ]
    monkeypatch.setattr(sys, 'argv', arguments)
    embedded_demo.main()
    shown = capsys.readouterr().out
    assert re.search(
        r'^  Epoch 1/1 \[2/2\] \| .* \| loss sr .* \| loss task \S+ = sr \S+ \+ hr \S+',
        shown,
        re.MULTILINE,
    )
    assert shown.count('\n  Val epoch 1/1 | coco/bbox_mAP: ') == 1
    assert shown.count('\n  Test | coco/bbox_mAP: ') == 3
    table = (out / 'results.md').read_text()
    rows = [line for line in table.splitlines() if line.startswith('| ')]
    assert [row[2:].split(' | ')[0] for row in rows] == [
        'trained by, on',
        '---',
        'SR4IR, on HR',
        'SR4IR, on LR x4, bilinear',
        'L→T, on LR x4, bilinear',
        'SR4IR, on LR x4, restored (SR)',
    ]
    for row in rows[2:]:
        assert re.search(r'\| -?\d\.\d{3} \| -?\d\.\d{3} \| (-|\d+\.\d\d) \|$', row)
    assert len(list((out / 'pictures').glob('*.png'))) == 4
    assert table in shown
