"""A process that dies ends the training; with restarts it goes on to the last bit."""

import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from mmsr4ir.compat.checkpoint import load_from_local
from toys import toy_config

CONFIG = """
custom_imports = dict(imports=['mmsr4ir', 'toys', 'dying_process'])
default_scope = 'mmengine'
model = {model}
model_wrapper_cfg = dict(type='mmsr4ir.SeparateDistributedDataParallel')
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='ToyDraws', length=16),
    sampler=dict(type='DefaultSampler'), collate_fn=dict(type='pseudo_collate'))
train_cfg = dict(by_epoch=True, max_epochs=3)
optim_wrapper = dict(
    constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
    sr=dict(optimizer=dict(type='AdamW', lr=0.01)),
    task=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9)))
log_processor = dict(type='mmsr4ir.PhaseLogProcessor')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    alone=dict(type='LogAlone', priority='NORMAL'),
    alternate=dict(type='mmsr4ir.AlternateTrainingHook', warmup=1),
    checkpoint=dict(type='CheckpointHook', interval=1),
    die=dict(type='Die', before=-1, how='error', mark='{root}/unused'))
randomness = dict(seed=0)
"""


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp('dying')
    (path / 'config.py').write_text(CONFIG.format(model=toy_config(), root=path))
    return path


@pytest.fixture(scope='module')
def train(root, run_tool):
    """Train in two processes with tools/dist_train.sh, four iterations an epoch."""

    def run(work, *options, ok=True, **env):
        process = run_tool(
            'bash',
            'tools/dist_train.sh',
            root / 'config.py',
            2,
            '--no-data-check',
            '--work-dir',
            root / work,
            *options,
            ok=ok,
            env=dict(
                env,
                PORT='29633',
                PYTHONPATH=f'{ROOT}/tests/helpers',
                PYTHONWARNINGS='ignore',
                PATH=f'{Path(sys.executable).parent}:/usr/bin:/bin',
            ),
        )
        assert not left_over(root)
        return process

    return run


def left_over(root) -> list[str]:
    """The command lines of processes that still train here."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        with suppress(OSError):  # it has ended meanwhile
            found.append(path.read_bytes())
    return [line.decode() for line in found if str(root).encode() in line]


def die(root, before, how):
    return (
        '--cfg-options',
        f'default_hooks.die.before={before}',
        f'default_hooks.die.how={how}',
        f'default_hooks.die.mark={root}/{before}',
    )


@pytest.mark.slow
def test_deaths_end_the_job_and_restarts_finish_it(root, train):
    assert 'mine 7.000' in train('whole').stdout
    failed = train('cut', *die(root, 5, 'error'), ok=False)
    assert failed.returncode == 1
    cause = failed.stdout.rpartition('Root Cause')[2]
    assert 'rank      : 1' in cause
    assert 'RuntimeError: process 1 has an error of its own' in cause
    assert [path.name for path in (root / 'cut').glob('*.pth')] == ['epoch_1.pth']

    # Its processes would train to the end without it.
    orphaned = train('cut', '--resume', *die(root, 4, 'launcher'), ok=False)
    assert orphaned.returncode == -signal.SIGKILL and not left_over(root)
    assert [path.name for path in (root / 'cut').glob('*.pth')] == ['epoch_1.pth']

    restarted = train('cut', '--resume', *die(root, 9, 'kill'), MAX_RESTARTS='1')
    for start in ('resumed epoch: 1, iter: 4', 'resumed epoch: 2, iter: 8'):
        assert start in restarted.stdout
    assert (root / '9').is_file()
    whole, cut = (
        load_from_local(root / name / 'epoch_3.pth') for name in ('whole', 'cut')
    )
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(cut[part], whole[part], rtol=0, atol=0)
