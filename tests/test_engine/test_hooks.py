"""Hooks in a real Runner on toy networks."""

import json

import pytest
import torch
from mmdet.engine.hooks import CheckInvalidLossHook
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmpretrain.engine.hooks import PreciseBNHook
from torch.utils.data import Dataset

from mmsr4ir.compat.checkpoint import load_from_local
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.utils.errors import ConfigError
from toys import RECIPES, toy_config, toy_data


class ToyDataset(Dataset):
    metainfo = dict(classes=('a', 'b', 'c'))

    def __len__(self):
        return 4

    def __getitem__(self, i):
        data = toy_data(((16, 16),), seed=i)
        return dict(inputs=data['inputs'][0], data_samples=data['data_samples'][0])


def runner(
    work_dir,
    by_epoch=True,
    warmup=1,
    epochs=2,
    model=None,
    hooks=None,
    kind=Runner,
    **cfg,
):
    loop = (
        dict(by_epoch=True, max_epochs=epochs)
        if by_epoch
        else dict(by_epoch=False, max_iters=epochs * 2)
    )
    optimizer = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
    settings = dict(
        model=model or toy_config(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=ToyDataset(),
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=pseudo_collate,
        ),
        train_cfg=loop,
        optim_wrapper=dict(
            constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
            sr=optimizer,
            task=optimizer,
        ),
        default_hooks=dict(
            alternate=dict(
                type='mmsr4ir.AlternateTrainingHook', warmup=warmup, by_epoch=by_epoch
            ),
            non_finite_loss=dict(type='mmsr4ir.NonFiniteLossHook'),
            checkpoint_match=dict(type='mmsr4ir.CheckpointMatchHook'),
            checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch),
        )
        | (hooks or {}),
        randomness=dict(seed=0),
        log_level='ERROR',
        experiment_name=f'{work_dir.name}_{len(list(work_dir.iterdir()))}',
    )
    return kind(**(settings | cfg))


def test_a_warmup_that_cannot_end_is_refused(tmp_path):
    one = runner(
        tmp_path,
        by_epoch=True,
        warmup=1,
        train_cfg=dict(type='mmsr4ir.ExactIterLoop', max_iters=6),
    )
    with pytest.raises(ValueError, match='never ends.*alternate.by_epoch=False'):
        one.train()


@pytest.mark.parametrize(
    'by_epoch, stages',
    [(True, ['warmup'] * 2 + ['main'] * 4), (False, ['warmup'] * 1 + ['main'] * 5)],
)
def test_warmup_by_epoch_and_by_iteration(tmp_path, monkeypatch, by_epoch, stages):
    seen = []
    plain = SR4IR.train_step
    monkeypatch.setattr(
        SR4IR,
        'train_step',
        lambda self, *args, **kwargs: (
            seen.append(self.stage),
            plain(self, *args, **kwargs),
        )[1],
    )
    runner(tmp_path, by_epoch, epochs=3).train()
    assert seen == stages


def test_a_resumed_training_is_in_its_stage_and_ends_the_same(tmp_path, monkeypatch):
    whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'
    whole.mkdir(), resumed.mkdir()
    runner(whole, epochs=2, warmup=1).train()
    seen = []
    plain = SR4IR.train_step
    monkeypatch.setattr(
        SR4IR,
        'train_step',
        lambda self, *args, **kwargs: (
            seen.append(self.stage),
            plain(self, *args, **kwargs),
        )[1],
    )
    # The toy cells are drawn from the global generator; both runs start epoch 2 alike.
    runner(
        resumed, epochs=2, warmup=1, load_from=str(whole / 'epoch_1.pth'), resume=True
    ).train()
    assert seen == ['main', 'main']
    a, b = (load_from_local(f / 'epoch_2.pth') for f in (whole, resumed))
    for name in ('sr', 'task'):
        assert (
            a['optimizer'][name]['param_groups'] == b['optimizer'][name]['param_groups']
        )
    assert a['meta']['iter'] == b['meta']['iter'] == 4


def test_a_network_without_optimizer_is_named(tmp_path):
    only_task = dict(
        constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
        task=dict(optimizer=dict(type='SGD', lr=0.1)),
    )
    for_both = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    message = r"phase 'sr' updates \['sr'\].*no optimizer"
    for wrapper in (only_task, for_both):
        with pytest.raises(ValueError, match=message):
            runner(tmp_path, optim_wrapper=wrapper).train()
    runner(
        tmp_path, optim_wrapper=only_task, model=toy_config(recipe=RECIPES['H->T'])
    ).train()


def test_an_optimizer_without_network_or_of_no_kind_is_named(tmp_path):
    for name, kind, message in [
        ('srr', 'SGD', r"\['srr'\], but the networks are"),
        ('task', 'SGDD', r"optim_wrapper.task.optimizer.type 'SGDD': .* SGD"),
    ]:
        with pytest.raises(ConfigError, match=message):
            runner(
                tmp_path,
                optim_wrapper=dict(
                    constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
                    **{name: dict(optimizer=dict(type=kind, lr=0.1))},
                ),
            ).train()


def test_networks_with_one_loss_must_accumulate_alike(tmp_path):
    optimizers = dict(
        constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
        sr=dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=2),
        task=dict(optimizer=dict(type='SGD', lr=0.1)),
    )
    with pytest.raises(
        ValueError,
        match=(r"'both' .* accumulative_counts is \{'sr': 2, 'task': 1\}.*same number"),
    ):
        runner(
            tmp_path,
            optim_wrapper=optimizers,
            model=toy_config(recipe=RECIPES['S+T'], tdp=None),
        ).train()
    runner(tmp_path, optim_wrapper=optimizers).train()


def test_networks_with_one_loss_must_accumulate_in_step(tmp_path):
    optimizer = dict(optimizer=dict(type='SGD', lr=0.1), accumulative_counts=2)
    recipe = dict(
        sr=dict(update='sr', during='warmup', losses=dict(pixel=1.0)),
        both=dict(RECIPES['S+T']['both'], during='main'),
    )
    with pytest.raises(ValueError, match="'both' .* out of step"):
        runner(
            tmp_path,
            optim_wrapper=dict(
                constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
                sr=optimizer,
                task=optimizer,
            ),
            model=toy_config(recipe=recipe, tdp=None),
        ).train()


def test_a_constructor_of_an_entry_is_used(tmp_path):
    built = runner(
        tmp_path,
        optim_wrapper=dict(
            constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
            sr=dict(optimizer=dict(type='SGD', lr=0.1)),
            task=dict(
                optimizer=dict(type='SGD', lr=0.1),
                paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=0.1)}),
            ),
        ),
    )
    wrappers = built.build_optim_wrapper(built.optim_wrapper)
    rates = {round(group['lr'], 6) for group in wrappers['task'].param_groups}
    assert rates == {0.1, 0.01}


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_a_loss_that_is_no_number_stops_before_the_next_checkpoint(
    tmp_path, monkeypatch, value
):
    plain = SR4IR.train_step
    calls = []

    def poisoned(self, *args, **kwargs):
        logs = plain(self, *args, **kwargs)
        calls.append(1)
        if len(calls) == 4:
            logs['sr/loss_tdp'] = torch.tensor(value)
        return logs

    monkeypatch.setattr(SR4IR, 'train_step', poisoned)
    with pytest.raises(FloatingPointError) as error:
        runner(tmp_path, epochs=3).train()
    text = str(error.value)
    assert "iteration 4 (epoch 2): {'sr/loss_tdp': " in text
    assert str(tmp_path / 'epoch_1.pth') in text
    assert (tmp_path / 'epoch_1.pth').is_file()
    assert not (tmp_path / 'epoch_2.pth').exists()


def test_a_file_that_holds_no_dict_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match='holds a list and is no checkpoint'):
        runner(tmp_path, load_from=str(tmp_path / 'list.pth')).train()


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    runner(tmp_path, epochs=1).train()
    wider = toy_config()
    wider['task'] = dict(wider['task'], channels=6)
    with pytest.raises(ValueError, match='another architecture.*of another shape'):
        runner(tmp_path, model=wider, load_from=str(tmp_path / 'epoch_1.pth')).train()
    plain = toy_config(
        recipe=RECIPES['H->T'], sr=dict(type='mmsr4ir.InterpolateUpsampler', scale=2)
    )
    one = dict(
        constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
        task=dict(optimizer=dict(type='SGD', lr=0.1)),
    )
    with pytest.raises(ValueError, match='another architecture.*unknown, such as sr.'):
        runner(
            tmp_path,
            model=plain,
            optim_wrapper=one,
            load_from=str(tmp_path / 'epoch_1.pth'),
        ).train()
    runner(tmp_path, load_from=str(tmp_path / 'epoch_1.pth')).train()


def test_losses_and_both_learning_rates_are_logged(tmp_path):
    runner(tmp_path, hooks=dict(logger=dict(type='LoggerHook', interval=1))).train()
    lines = [
        json.loads(line)
        for line in next(tmp_path.glob('*/vis_data/scalars.json'))
        .read_text()
        .splitlines()
    ]
    assert {'sr.lr', 'task.lr', 'sr/loss', 'sr/loss_pixel', 'task/hr/loss_cls'} <= set(
        lines[0]
    )
    assert 'sr/loss_tdp' not in lines[0] and 'sr/loss_tdp' in lines[-1]


@pytest.mark.parametrize('warmup, said', [(1, 0), (2, 1)])
def test_a_warmup_that_never_ends_is_warned_of(warmup, said, tmp_path, monkeypatch):
    run = runner(tmp_path, warmup=warmup, epochs=2)
    lines = []
    monkeypatch.setattr(run.logger, 'warning', lambda text, *_: lines.append(text))
    run.train()
    assert sum('as long as the whole training (2)' in line for line in lines) == said


def test_hooks_of_the_task_libraries_find_what_they_ask_for(tmp_path, monkeypatch):
    """SSD and YOLACT of mmdet ask for a loss, RegNet of mmpretrain for a batch size."""
    seen = []
    plain = CheckInvalidLossHook.after_train_iter

    def watched(self, runner, batch_idx, data_batch=None, outputs=None):
        seen.append(
            (
                outputs['loss'].item(),
                sum(outputs[f'{name}/loss'].item() for name in ('sr', 'task')),
            )
        )
        plain(self, runner, batch_idx, data_batch, outputs)

    monkeypatch.setattr(CheckInvalidLossHook, 'after_train_iter', watched)
    run = runner(
        tmp_path,
        epochs=1,
        hooks=dict(invalid=dict(type='mmdet.CheckInvalidLossHook', interval=1)),
        train_cfg=dict(type='mmsr4ir.ExactEpochLoop', max_epochs=1),
    )
    # Of its own the hook asks by how many samples each process is to see.
    run.register_hook(PreciseBNHook(num_samples=4))
    before = run.model.task.backbone.norm.running_mean.clone()
    run.train()
    assert len(seen) == 2 and all(one == pytest.approx(other) for one, other in seen)
    assert not torch.equal(run.model.task.backbone.norm.running_mean, before)
    assert run.train_dataloader.batch_size == 2
