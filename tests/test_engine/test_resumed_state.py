"""What a training goes on from is its own, complete, and told apart from the config."""

import re
import shutil

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook
from mmengine.registry import METRICS
from mmengine.runner import runner as mmengine_runner
from test_hooks import ToyDataset, runner

from mmsr4ir.compat.checkpoint import load_from_local
from mmsr4ir.engine import exact_loops
from mmsr4ir.engine.hooks import checkpoint_match_hook
from mmsr4ir.engine.runner import SR4IRRunner
from mmsr4ir.utils.errors import ConfigError
from toys import toy_config


@METRICS.register_module()
class ScoresOfATest(BaseMetric):
    """Scores that a test gives."""

    scores: list

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=self.scores.pop(0))


def resumed(folder, checkpoint, **settings):
    folder.mkdir(exist_ok=True)
    return runner(folder, load_from=str(checkpoint), resume=True, **settings)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A training of two epochs of two batches."""
    folder = tmp_path_factory.mktemp('trained')
    runner(folder, epochs=2).train()
    return folder


def test_a_training_goes_on_from_the_cpu_whatever_the_device(tmp_path, monkeypatch):
    """MMEngine loads on the training's device, where AdamW's count of steps stays."""
    adamw = dict(optimizer=dict(type='AdamW', lr=0.01))
    optimizers = dict(
        constructor='mmsr4ir.PerNetworkOptimWrapperConstructor', sr=adamw, task=adamw
    )
    first = tmp_path / 'first'
    first.mkdir()
    runner(first, epochs=1, optim_wrapper=optimizers).train()
    again = resumed(
        tmp_path / 'again',
        first / 'epoch_1.pth',
        epochs=2,
        optim_wrapper=optimizers,
        kind=SR4IRRunner,
    )
    # What is loaded on this device has no values.
    monkeypatch.setattr(mmengine_runner, 'get_device', lambda: 'meta')
    again.train()
    for wrapper in again.optim_wrapper.values():
        states = wrapper.optimizer.state.values()
        assert {float(state['step']) for state in states} == {4.0}
        assert {state['step'].device.type for state in states} == {'cpu'}


@pytest.mark.parametrize(
    'drop, message',
    [
        (['optimizer', 'param_schedulers'], r"lacks \['optimizer'\], as a best_"),
        (['message_hub'], r"lacks \['message_hub'\]"),
        (['meta'], r"lacks \['epoch', 'iter'\]"),
    ],
)
def test_weights_alone_are_no_training(trained, tmp_path, drop, message):
    content = load_from_local(str(trained / 'epoch_1.pth'))
    path = tmp_path / 'part.pth'
    torch.save({k: v for k, v in content.items() if k not in drop}, path)
    with pytest.raises(
        ValueError, match=f'{path} is not that of .*{message}.*load_from'
    ):
        resumed(tmp_path / 'run', path).train()


def test_what_fits_must_be_something(trained, tmp_path):
    """The file of a network alone has other names than the whole model."""
    state = load_from_local(str(trained / 'epoch_2.pth'))['state_dict']
    path = tmp_path / 'task.pth'
    torch.save(
        dict(
            state_dict={
                name.removeprefix('task.'): value
                for name, value in state.items()
                if name.startswith('task.')
            }
        ),
        path,
    )
    hooks = dict(
        checkpoint_match=dict(type='mmsr4ir.CheckpointMatchHook', strict=False)
    )
    with pytest.raises(ValueError, match='no tensor .*backbone.*model.task.init_cfg'):
        runner(tmp_path, load_from=str(path), hooks=hooks).train()


def test_another_recipe_is_no_training_to_go_on_with(trained, tmp_path):
    model = toy_config() | dict(
        recipe=dict(sr=dict(update='sr', losses=dict(pixel=1.0)))
    )
    with pytest.raises(
        ValueError,
        match=r"updates \['sr', 'task'\], and the recipe of "
        r"the config updates \['sr'\].*load_from",
    ):
        resumed(tmp_path / 'run', trained / 'epoch_1.pth', model=model).train()


def test_averages_are_not_gone_on_with_as_weights(tmp_path):
    (tmp_path / 'ema').mkdir()
    ema = dict(ema=dict(type='EMAHook'))
    runner(tmp_path / 'ema', epochs=1, hooks=ema).train()
    last = tmp_path / 'ema' / 'epoch_1.pth'
    with pytest.raises(ValueError, match='are averages .EMAHook.*put the hook back'):
        resumed(tmp_path / 'run', last).train()
    again = resumed(tmp_path / 'again', last, hooks=ema)
    again.train()
    assert any(isinstance(hook, EMAHook) for hook in again.hooks) and again.epoch == 2


def test_what_differs_from_the_config_of_the_checkpoint_is_said(tmp_path, monkeypatch):
    def config(rate, epochs, loop='mmsr4ir.ExactEpochLoop'):
        optimizer = dict(type='SGD', lr=0.01, momentum=0.9)
        return dict(
            optim_wrapper=dict(
                constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
                sr=dict(optimizer=dict(optimizer, lr=rate)),
                task=dict(optimizer=optimizer),
            ),
            train_cfg=dict(type=loop, max_epochs=epochs),
        )

    (tmp_path / 'first').mkdir()
    runner(tmp_path / 'first', cfg=Config(config(0.01, 2)), **config(0.01, 2)).train()
    last = tmp_path / 'first' / 'epoch_2.pth'
    lines = []
    monkeypatch.setattr(
        checkpoint_match_hook, 'print_log', lambda text, *_: lines.append(text)
    )
    resumed(
        tmp_path / 'same', last, cfg=Config(config(0.01, 2)), **config(0.01, 2)
    ).train()
    assert not lines
    plain = config(0.01, 2, 'EpochBasedTrainLoop')
    resumed(tmp_path / 'plain', last, **plain).train()
    assert lines[0].startswith('EpochBasedTrainLoop goes on with other random numbers')
    lines.clear()
    other = resumed(
        tmp_path / 'other', last, cfg=Config(config(0.5, 3)), **config(0.5, 3)
    )
    other.train()
    (line,) = lines
    assert 'optim_wrapper.sr.optimizer.lr: 0.01 -> 0.5' in line
    assert 'train_cfg.max_epochs: 2 -> 3' in line and 'task' not in line
    assert other.optim_wrapper.get_lr()['sr.lr'] == [0.01]  # as is said


def test_within_an_epoch_other_batches_are_refused(tmp_path):
    (tmp_path / 'cut').mkdir()
    loop = dict(type='mmsr4ir.ExactEpochLoop', max_epochs=1)
    every = dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False))
    runner(tmp_path / 'cut', train_cfg=loop, hooks=every).train()
    loader = dict(
        dataset=ToyDataset(),
        num_workers=0,
        batch_size=1,
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    with pytest.raises(
        ValueError,
        match='within an epoch, 1 of 2 batches on, and the '
        'epochs of this run have 4: go on with the batch size',
    ):
        resumed(
            tmp_path / 'run',
            tmp_path / 'cut' / 'iter_1.pth',
            train_cfg=loop,
            train_dataloader=loader,
        ).train()


@pytest.mark.parametrize(
    'kind, length, consequence',
    [
        ('Epoch', dict(max_epochs=2), 'a schedule that counts .* ends elsewhere'),
        ('Iter', dict(max_iters=3), 'goes on at another place in the data'),
    ],
)
def test_other_batches_from_the_end_of_an_epoch_on_are_warned_of(
    kind, length, consequence, tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr(exact_loops, 'print_log', lambda text, *args: said.append(text))
    (tmp_path / 'whole').mkdir()
    loop = dict(type='mmsr4ir.ExactEpochLoop', max_epochs=1)
    runner(tmp_path / 'whole', train_cfg=loop).train()
    assert not said
    loader = dict(
        dataset=ToyDataset(),
        num_workers=0,
        batch_size=1,
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    resumed(
        tmp_path / 'run',
        tmp_path / 'whole' / 'epoch_1.pth',
        by_epoch=kind == 'Epoch',
        train_dataloader=loader,
        train_cfg=dict(type=f'mmsr4ir.Exact{kind}Loop', **length),
    ).train()
    assert any(
        re.search('had 2 batches, those of this run have 4: .*' + consequence, text)
        for text in said
    )


def test_an_epoch_without_a_whole_batch_is_refused(tmp_path):
    loader = dict(
        dataset=ToyDataset(),
        num_workers=0,
        batch_size=5,
        drop_last=True,
        sampler=dict(type='DefaultSampler', shuffle=True),
    )
    with pytest.raises(ValueError, match='the 4 images make no whole one for each'):
        runner(
            tmp_path,
            train_dataloader=loader,
            train_cfg=dict(type='mmsr4ir.ExactEpochLoop', max_epochs=1),
        ).train()


def best(folder, scores, epochs, **settings):
    """A training with a validation after each epoch."""
    folder.mkdir(exist_ok=True)
    ScoresOfATest.scores = [*scores]
    loader = dict(
        dataset=ToyDataset(),
        num_workers=0,
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    runner(
        folder,
        epochs=epochs,
        val_dataloader=loader,
        val_cfg={},
        val_evaluator=dict(type='ScoresOfATest'),
        hooks=dict(
            checkpoint=dict(
                type='CheckpointHook', interval=1, save_best='score', rule='greater'
            )
        ),
        **settings,
    ).train()
    return sorted(path.name for path in folder.glob('best_*'))


def test_the_best_checkpoint_of_another_run_is_left_alone(tmp_path):
    first = tmp_path / 'first'
    assert best(first, [3.0, 5.0], 2) == ['best_score_epoch_2.pth']
    shutil.copytree(first, tmp_path / 'copy')
    going_on = dict(load_from=str(first / 'epoch_2.pth'), resume=True)
    # In a new folder each run looks for its own best, from its first validation on.
    assert best(tmp_path / 'new', [4.0], 3, **going_on) == ['best_score_epoch_3.pth']
    # A copy has its own best already.
    assert best(tmp_path / 'copy', [6.0], 3, **going_on) == ['best_score_epoch_3.pth']
    assert (first / 'best_score_epoch_2.pth').exists()
    # In its own folder the run goes on as ever.
    assert best(first, [4.0, 7.0], 4, **going_on) == ['best_score_epoch_4.pth']


def test_the_loop_that_a_config_names_is_taken():
    for given, kind in [
        (dict(by_epoch=True), 'mmsr4ir.ExactEpochLoop'),
        (dict(by_epoch=False), 'mmsr4ir.ExactIterLoop'),
        (dict(type='IterBasedTrainLoop'), 'mmsr4ir.ExactIterLoop'),
        (dict(type='MyLoop'), 'MyLoop'),
    ]:
        cfg = Config(dict(train_cfg=given))
        exact_loops.use_exact_loops(cfg)
        assert cfg.train_cfg == dict(type=kind)
    for given, message in [
        (dict(max_epochs=2), 'neither type and by_epoch'),
        (dict(type='MyLoop', by_epoch=True), 'both type and by_epoch'),
    ]:
        with pytest.raises(ConfigError, match=message):
            exact_loops.use_exact_loops(Config(dict(train_cfg=given)))
