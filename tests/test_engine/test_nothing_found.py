"""Trainings go on after a validation in which the task network found nothing."""

import json

import pytest
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from mmengine.runner import Runner

from toys import toy_runner

REPORTED = []


@METRICS.register_module(force=True)
class ToyDetections(BaseMetric):
    """Reports as mmdet's metrics: nothing, where nothing was found."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return REPORTED.pop(0)


@pytest.fixture
def runner(tmp_path):
    def build(found: list[dict], save_best, hooks=(), scheduler=None) -> Runner:
        REPORTED[:] = found
        runner = toy_runner(
            tmp_path,
            val_cfg=dict(type='ValLoop'),
            val_dataloader=toy_runner(tmp_path).train_dataloader,
            val_evaluator=[
                dict(type='ToyDetections'),
                dict(type='mmsr4ir.SRQuality', metrics=['PSNR']),
            ],
            custom_hooks=[dict(type='mmsr4ir.NothingFoundHook'), *hooks],
            param_scheduler=scheduler,
        )
        runner._train_loop.update(max_epochs=len(found), val_interval=1)
        runner._hooks[:] = [
            hook for hook in runner.hooks if type(hook).__name__ != 'CheckpointHook'
        ]
        runner.register_hook(dict(type='CheckpointHook', interval=1, **save_best))
        return runner

    return build


def best(folder) -> list[str]:
    return sorted(path.name for path in folder.glob('best_*'))


@pytest.mark.parametrize(
    'save_best',
    [dict(save_best='toy/AP', rule='greater'), dict(save_best='auto', rule='greater')],
)
def test_the_best_checkpoint_is_chosen_by_what_was_to_be_found(
    runner, tmp_path, save_best
):
    runner([{}, dict(AP=0.3), {}, dict(AP=0.2)], save_best).train()
    assert best(tmp_path) == ['best_toy_AP_epoch_2.pth']


def test_schedulers_and_early_stopping_count_it_as_the_worst(runner, tmp_path):
    stopping = dict(
        type='EarlyStoppingHook',
        monitor='toy/AP',
        rule='greater',
        patience=3,
        strict=True,
    )
    plateau = dict(
        type='ReduceOnPlateauLR',
        monitor='toy/AP',
        rule='greater',
        patience=1,
        factor=0.5,
    )
    run = runner([{}] * 6, dict(), [stopping], dict(sr=[plateau], task=[]))
    run.train()
    assert run.epoch == 4  # the first is the best, three are not better
    rate = run.optim_wrapper['sr'].param_groups[0]['lr']
    assert rate == pytest.approx(0.1 * 0.5)
    lines = (tmp_path / run.timestamp / 'vis_data/scalars.json').read_text()
    logged = [json.loads(line) for line in lines.splitlines()]
    assert any('sr/PSNR' in line for line in logged)
    assert not any('toy/AP' in line for line in logged)


def test_a_criterion_of_sr_quality_is_left_alone(runner, tmp_path):
    runner([{}, {}], dict(save_best='sr/PSNR', rule='greater')).train()
    assert best(tmp_path)[0].startswith('best_sr_PSNR')


def test_without_the_hook_the_training_ends(runner, tmp_path):
    """Once it does not, the hook is not needed any more."""
    run = runner([{}], dict(save_best='toy/AP', rule='greater'))
    run._hooks[:] = [
        hook for hook in run.hooks if type(hook).__name__ != 'NothingFoundHook'
    ]
    with pytest.raises(KeyError, match='toy/AP'):
        run.train()
