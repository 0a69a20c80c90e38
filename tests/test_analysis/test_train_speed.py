"""Training timed by its parts and in several ways, with a clock of our own."""

import copy
import itertools
import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.device.utils import get_max_cuda_memory
from mmengine.hooks import LoggerHook
from mmengine.runner import EpochBasedTrainLoop

import toys
from mmsr4ir.analysis import speed, train_speed
from mmsr4ir.analysis.complexity import count_flops
from mmsr4ir.analysis.speed import Laps, quartiles
from mmsr4ir.analysis.train_speed import Steps
from mmsr4ir.analysis.train_variants import VARIANTS, time_variants, variant_config
from mmsr4ir.cli import benchmark_train as tool
from mmsr4ir.registry import LOOPS

ROOT = Path(__file__).parents[2]


def run_config(by_epoch: bool = True, **model) -> Config:
    """A training of the toy networks, with schedules that do not end at 0."""
    sgd = dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1, momentum=0.9))
    cosine = dict(type='CosineAnnealingLR', T_max=5, eta_min=0.05, by_epoch=False)
    length = dict(max_epochs=9) if by_epoch else dict(max_iters=9)
    return Config(
        dict(
            default_scope='mmengine',
            custom_imports=dict(imports=['mmsr4ir', 'toys']),
            model=toys.toy_config(**model),
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=dict(type='ToyDraws'),
                sampler=dict(type='DefaultSampler', shuffle=True),
            ),
            train_cfg=dict(by_epoch=by_epoch, **length),
            optim_wrapper=dict(
                constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
                sr=sgd,
                task=sgd,
            ),
            param_scheduler=dict(sr=[cosine], task=[cosine]),
            default_hooks=dict(
                alternate=dict(type='mmsr4ir.AlternateTrainingHook', warmup=5),
                logger=dict(type='LoggerHook', interval=2),
            ),
        )
    )


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock is a second after the one before."""
    ticks = itertools.count()
    monkeypatch.setattr(speed, '_now', lambda: float(next(ticks)))


@pytest.fixture
def start(tmp_path):
    """Training that waits to be told, each in a folder of its own."""
    number = itertools.count()

    def begin(cfg: Config, stage: str = 'main') -> Steps:
        folder = tmp_path / f'{tmp_path.parent.name}_{tmp_path.name}_{next(number)}'
        folder.mkdir()
        return Steps(cfg, folder, stage)

    return begin


ALL = 'forward, pixel loss, backward'
REUSED = dict(
    sr=dict(update='sr', losses=dict(pixel=1.0)),
    task=dict(update='task', reuse_sr=True, losses=dict(task_sr=1.0)),
)
PARTS = {
    ('SR4IR', 'main'): [
        f'sr: S {ALL}',
        'sr: tdp, forward and backward',
        'sr: optimizer of sr',
        'task: S forward',
        *(f'task: task_{image}, forward and backward' for image in ('sr', 'hr', 'mix')),
        'task: optimizer of task',
    ],
    ('reused', 'main'): [
        f'sr: S {ALL}',
        'sr: optimizer of sr',
        'task: task_sr, forward and backward',
        'task: optimizer of task',
    ],
    ('H->T', 'main'): [
        'task: task_hr, forward and backward',
        'task: optimizer of task',
    ],
    ('L->T', 'main'): [
        'task: S forward',
        'task: task_sr, forward and backward',
        'task: optimizer of task',
    ],
    ('S->T', 'warmup'): [f'sr: S {ALL}', 'sr: optimizer of sr'],
    ('S->T', 'main'): [
        'task: S forward',
        'task: task_sr, forward and backward',
        'task: optimizer of task',
    ],
    ('T->S', 'main'): [
        f'sr: S {ALL}',
        'sr: task_sr, forward and backward',
        'sr: optimizer of sr',
    ],
    ('S+T', 'main'): [
        f'both: S {ALL}',
        'both: task_sr, forward and backward',
        'both: optimizer of sr',
        'both: optimizer of task',
    ],
}


@pytest.mark.parametrize('recipe, stage', PARTS)
def test_parts_of_a_recipe(recipe, stage, clock, start):
    steps = start(run_config(recipe=dict(toys.RECIPES, reused=REUSED)[recipe]), stage)
    before = {k: v.clone() for k, v in steps.model.named_parameters()}
    laps = train_speed.time_parts(steps, steps.batches(), iterations=5)
    assert laps.seconds == {
        name: [1.0] * 5
        for name in (
            'iteration',
            'HR and LR images',
            *PARTS[recipe, stage],
            'logging and other hooks',
        )
    }
    assert laps.images == [2] * 5
    # Real iterations, and nothing was learnt, whatever the schedules say.
    assert steps.loop.iter == 5 and set(steps.outputs) > {
        f'{phase.name}/loss'
        for phase in steps.model.recipe
        if phase.during in ('all', stage)
    }
    for name, value in steps.model.named_parameters():
        assert torch.equal(value, before[name]), name
    assert all(lr[0] > 0 for lr in steps.runner.optim_wrapper.get_lr().values())


def test_every_part_is_run_once(start, monkeypatch):
    steps = start(run_config())
    passes = []
    for name in ('sr', 'task.backbone', 'task.head'):
        steps.model.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: passes.append(
                (name, torch.is_grad_enabled() and output[-1].requires_grad)
            )
        )
    steps.iterate(next(steps.batches()))
    whole, passes[:] = sorted(passes), []
    train_speed.run_each_part(steps, next(steps.batches()), Laps())
    assert (
        sorted(passes)
        == whole
        == sorted(
            [
                ('sr', True),
                ('sr', False),
                ('task.backbone', False),
                ('task.backbone', True),
                *[('task.backbone', True), ('task.head', True)] * 3,
            ]
        )
    )
    # Nothing of the parts is left for the next iteration.
    assert all(p.grad is None for p in steps.model.parameters())
    assert all(module.training for module in steps.model.task.modules())


@pytest.mark.parametrize('by_epoch', [True, False])
def test_waiting_beside_the_training(by_epoch, clock, start):
    steps = start(run_config(by_epoch))
    got = train_speed.time_input(steps, steps.batches(), iterations=3, warmup=2)
    assert got == dict(waiting=1.0, iteration=1.0)
    assert steps.loop.iter == 5


def test_waiting_counts_as_overhead_unless_there_are_no_workers(start):
    steps = start(run_config())
    laps = Laps()
    for name, seconds in dict(iteration=[2.0, 4.0], a=[1.0, 1.0], b=[0.5, 2.0]).items():
        laps.seconds[name] += seconds
    assert train_speed.ratios(laps, steps, 1.0) == [3 / 2.5, 5 / 4]
    steps.loop.dataloader = steps.runner.build_dataloader(
        dict(
            batch_size=2,
            num_workers=1,
            dataset=dict(type='ToyDraws'),
            sampler=dict(type='DefaultSampler'),
        )
    )
    assert train_speed.ratios(laps, steps, 1.0) == [3 / 1.5, 5 / 3]


def test_hooks_alone_are_those_of_an_iteration(start):
    steps = start(run_config())
    data = next(steps.batches())
    for _ in range(2):
        steps.iterate(data)
    calls = []

    def watch(hook, name):
        call = getattr(hook, name)

        def watched(*args, **kwargs):
            calls.append((name, type(hook).__name__, kwargs['batch_idx']))
            return call(*args, **kwargs)

        setattr(hook, name, watched)

    for hook in steps.runner.hooks:
        watch(hook, 'before_train_iter')
        watch(hook, 'after_train_iter')
    steps.run_hooks(data)
    alone, calls[:] = list(calls), []
    assert {name for name, *_ in alone} == {'before_train_iter', 'after_train_iter'}
    assert {index for *_, index in alone} == {1}  # the log line comes again too
    steps.iterate(data)
    assert [call[:2] for call in calls] == [call[:2] for call in alone]


class _GPU:
    """Peaks in bytes as torch counts them."""

    def __init__(self, monkeypatch) -> None:
        self.peak = 0
        monkeypatch.setattr(
            torch.cuda, 'max_memory_allocated', lambda *_, **__: self.peak
        )
        monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', self.reset)

    def reset(self) -> None:
        self.peak = 0


def test_the_peak_outlives_the_log_that_counts_it_anew(start, monkeypatch):
    steps = start(run_config())
    gpu = _GPU(monkeypatch)
    kinds = [type(hook) for hook in steps.runner.hooks]
    assert kinds.index(speed.PeakHook) < kinds.index(LoggerHook)
    hooks = [one for one in steps.runner.hooks if isinstance(one, speed.PeakHook)]
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    for peaks, want in (((3, 7, 5), 7), ((2, 4), 4)):
        speed.reset_peak_memory()
        for peak in peaks:
            gpu.peak = peak * 2**20
            hooks[0].after_train_iter(steps.runner, 0)
            assert get_max_cuda_memory(torch.device('cpu')) == peak  # for the log
            assert gpu.peak == 0
        assert speed.peak_memory() == dict(mib=want, of='GPU')
        gpu.peak = 9 * 2**20  # what was not logged counts, too
        assert speed.peak_memory() == dict(mib=9, of='GPU')
    speed.reset_peak_memory()


def test_flops_by_hand(start):
    # One convolution; its backward pass has the weights' gradient alone to compute.
    steps = start(run_config(recipe=dict(sr=dict(update='sr', losses=dict(pixel=1.0)))))
    lr_pixels, weights = 2 * 8 * 8, 3 * 9 * 12
    flops = count_flops(
        lambda: steps.model.train_step(
            next(steps.batches()), steps.runner.optim_wrapper
        )
    )
    assert flops == 2 * 2 * lr_pixels * weights


@LOOPS.register_module()
class OwnLoop(EpochBasedTrainLoop):
    """A loop that nobody knows."""


def test_what_cannot_be_timed_is_named(start):
    cfg = run_config()
    cfg.train_cfg = dict(type='mmsr4ir.OwnLoop', max_epochs=1)
    with pytest.raises(ValueError, match="train_cfg.type 'mmsr4ir.OwnLoop'"):
        start(cfg)
    steps = start(
        variant_config(run_config(), 'accumulate_2', VARIANTS['accumulate_2'])
    )
    with pytest.raises(ValueError, match='accumulative_counts=1'):
        train_speed.run_each_part(steps, next(steps.batches()), Laps())


def test_variants_in_turns(clock, monkeypatch):
    order = []
    iterate = Steps.iterate
    monkeypatch.setattr(
        Steps,
        'iterate',
        lambda self, data: (
            order.append(self.model.recipe[0].losses[0].weight),
            iterate(self, data),
        )[1],
    )
    cfg = run_config()
    laps, differences = time_variants(
        cfg,
        {
            'plain': {},
            'double': {'model.recipe.sr.losses.pixel': 2.0},
            'ema': {'default_hooks.ema': dict(type='EMAHook')},
        },
        iterations=2,
        checked=1,
    )
    assert dict(laps.seconds) == dict(plain=[1.0] * 2, double=[1.0] * 2, ema=[1.0] * 2)
    assert order == [1, 2, 1, 2, 1, 1, 1, 1, 2]  # another one is first each time
    assert differences['double']['sr/loss_pixel'] == [pytest.approx(1, rel=1e-6)]
    assert differences['double']['sr/loss_tdp'] == [0]  # the first: the same weights
    assert list(differences['ema'].values()) == [[0.0]] * len(differences['double'])
    assert 'recipe' in cfg.model and cfg.model.recipe.sr.losses.pixel == 1.0


def test_differences_grow_by_what_was_learnt():
    faster = {'optim_wrapper.sr.optimizer.lr': 0.2}
    _, differences = time_variants(
        run_config(), {'plain': {}, 'faster': faster}, iterations=1, checked=2
    )
    first, second = differences['faster']['sr/loss_pixel']
    assert first == 0 and second > 1e-4


def test_quartiles():
    assert quartiles([4.0, 1.0, 2.0, 3.0, 5.0]) == [2.0, 3.0, 4.0]
    assert quartiles([7.0]) == [7.0, 7.0, 7.0]


@pytest.fixture
def config_file(tmp_path) -> Path:
    path = tmp_path / 'toy.py'
    run_config().dump(path)
    return path


@pytest.mark.slow
def test_tool_compares(config_file, run_tool, tmp_path):
    out = tmp_path / 'ways.json'
    text = run_tool(
        sys.executable,
        'tools/analysis_tools/benchmark_train.py',
        config_file,
        '--compare',
        'half',
        '--variant',
        'half',
        'model.recipe.sr.losses.pixel=0.5',
        '--iterations',
        3,
        '--warmup',
        1,
        '--out',
        out,
        env=dict(PYTHONPATH=f'{ROOT}:{ROOT / "tests/helpers"}'),
    ).stdout
    result = json.loads(out.read_text())
    assert list(result['variants']) == ['half', 'plain']
    for name, row in result['variants'].items():
        assert row['memory'] > 0
        assert row['ratio']['q1'] <= row['ratio']['median'] <= row['ratio']['q3']
        assert f'\n| {name} | ' in text
    assert result['variants']['half']['ratio']['median'] == 1
    assert '| 0 | 0 |\n' in text[text.index('| plain |') :]
    half = result['variants']['half']['losses']
    assert half['sr/loss_pixel'] == [pytest.approx(0.5)]
    assert half['sr/loss_tdp'] == [0.0]
    assert 'no GPU found' in text or result['device'] == 'cuda'


def test_tool_times_parts(config_file, monkeypatch, tmp_path, capsys):
    out = tmp_path / 'parts.json'
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'benchmark_train',
            str(config_file),
            '--iterations',
            '2',
            '--warmup',
            '1',
            '--batch-size',
            '4',
            '--peak-tflops',
            '1e-6',
            '--out',
            str(out),
        ],
    )
    tool.main()
    text, result = capsys.readouterr().out, json.loads(out.read_text())
    assert result['batch'] == 4 and result['input']['num_workers'] == 0
    assert set(result['seconds']) > set(PARTS['SR4IR', 'main'])
    assert result['tflops'] == pytest.approx(
        result['flops'] / result['seconds']['iteration']['median'] / 1e12
    )
    assert result['ratio']['q1'] <= result['ratio']['median'] <= result['ratio']['q3']
    assert result['memory']['mib'] > 1
    for word in ('sum of its parts', 'of the peak', 'task: task_mix', '0 workers'):
        assert word in text


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--compare', 'no_such_way'], "--compare ['no_such_way']: there are ['accum"),
        (['--variant', 'own', 'a=1'], '--variant own: --compare does not name it'),
        (
            ['--compare', 'plain', '--variant', 'own', 'a=1'],
            'own: --compare does not name',
        ),
        (['--compare', 'own', '--variant', 'own', 'a'], 'its settings are KEY=VALUE'),
        (['--iterations', '0'], '--iterations'),
    ],
)
def test_tool_refuses(config_file, arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['benchmark_train', str(config_file), *arguments])
    with pytest.raises(SystemExit) as error:
        tool.main()
    assert error.value.code == 2 and message in capsys.readouterr().err


def test_tool_names_what_is_wrong(tmp_path, monkeypatch):
    path = tmp_path / 'toy.py'
    cfg = copy.deepcopy(run_config())
    cfg.train_cfg = dict(type='mmsr4ir.OwnLoop', max_epochs=1)
    cfg.dump(path)
    monkeypatch.setattr(sys, 'argv', ['benchmark_train', str(path)])
    with pytest.raises(SystemExit, match='error: train_cfg.type'):
        tool.main()


@pytest.mark.parametrize(
    'setting, message',
    [
        (
            'modle.patch_mix.grid=2',
            'error: --variant own modle.patch_mix.grid: nothing '
            "reads 'modle'; did you mean 'model'",
        ),
        ('model.nix=3', "error: own: the config cannot be built: .*'nix'"),
        (
            'model.type=NoSuchModel',
            'error: own: the config cannot be built: .*NoSuchModel',
        ),
        ('optim_wrapper.sr.optimizer.nix=3', "error: own: the config cannot .*'nix'"),
    ],
)
def test_tool_names_what_is_wrong_with_a_variant(
    config_file, setting, message, monkeypatch
):
    monkeypatch.setattr(
        sys,
        'argv',
        [
            'benchmark_train',
            str(config_file),
            '--compare',
            'plain',
            'own',
            '--variant',
            'own',
            setting,
        ],
    )
    with pytest.raises(SystemExit, match=message):
        tool.main()
