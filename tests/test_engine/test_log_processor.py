"""The log lines of a real Runner against what the model gave."""

import json
import re
from collections import defaultdict
from statistics import mean

import mmengine.runner.log_processor as mmengine_processor
import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric
from mmengine.runner import LogProcessor
from test_hooks import ToyDataset, runner

from mmsr4ir.compat.checkpoint import load_from_local
from mmsr4ir.engine.log_processor import phase_losses
from mmsr4ir.models.recipes import parse_recipe
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import LOG_PROCESSORS
from toys import HLF_FM, RECIPES, ToyTask, toy_config

NUMBER = r'(-?\d\S*)'


class ScoreSum(BaseMetric):
    """A metric of the task; its name sorts behind 'sr'."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results += [float(sample['score'].sum()) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(score=sum(results))


def training(work_dir, by_epoch=True, hooks=None, log=None, **changes):
    """A runner that logs every iteration as it is."""
    work_dir.mkdir(exist_ok=True)
    return runner(
        work_dir,
        by_epoch,
        log_level='INFO',
        hooks=dict(
            logger=dict(
                type='LoggerHook',
                interval=1,
                **({} if by_epoch else dict(log_metric_by_epoch=False)),
            ),
            **(hooks or {}),
        ),
        log_processor=dict(
            dict(type='mmsr4ir.PhaseLogProcessor', window_size=1, by_epoch=by_epoch),
            **(log or {}),
        ),
        **changes,
    )


def validated(**loop):
    """Settings of a runner that validates and tests."""
    loader = dict(
        dataset=ToyDataset(),
        batch_size=2,
        num_workers=0,
        collate_fn=pseudo_collate,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    metrics = [dict(type='mmsr4ir.SRQuality'), ScoreSum()]
    return dict(
        val_dataloader=loader,
        val_evaluator=metrics,
        val_cfg=dict(),
        test_dataloader=loader,
        test_evaluator=metrics,
        test_cfg=dict(),
        **loop,
    )


def lines(work_dir, start):
    """The text of the log lines that begin so."""
    text = next(work_dir.glob('*/*.log')).read_text()
    found = re.findall(r' - mmengine - INFO - (.*)', text)
    return [line for line in found if line.startswith(start)]


def scalars(work_dir):
    text = next(work_dir.glob('*/vis_data/scalars.json')).read_text()
    return [json.loads(line) for line in text.splitlines()]


def parse(line):
    """The losses of a line: {phase: (their sum, {name: value})}."""
    phases = {}
    for part in re.findall(r'loss ([^|]+)', line):
        name, total, _, terms = part.strip().split(' ', 3)
        values = [term.split() for term in terms.split(' + ')]
        phases[name] = (
            float(total),
            {term[0]: float(term[1] if len(values) > 1 else total) for term in values},
        )
    return phases


def close(value):
    """To four digits."""
    return pytest.approx(float(value), rel=6e-4)


@pytest.fixture
def steps(monkeypatch):
    """What each call of train_step returned."""
    seen = []
    plain = SR4IR.train_step

    def spy(self, *args, **kwargs):
        logs = plain(self, *args, **kwargs)
        seen.append({key: float(value) for key, value in logs.items()})
        return logs

    monkeypatch.setattr(SR4IR, 'train_step', spy)
    return seen


@pytest.fixture
def two_losses(monkeypatch):
    """The task network has a second loss, as a detector."""
    plain = ToyTask.loss

    def loss(self, inputs, data_samples):
        return plain(self, inputs, data_samples) | dict(
            loss_size=self.head.weight.square().mean()
        )

    monkeypatch.setattr(ToyTask, 'loss', loss)


def optimizers(**more):
    return dict(
        constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
        sr=dict(optimizer=dict(type='SGD', lr=0.01), **more),
        task=dict(optimizer=dict(type='SGD', lr=0.2), **more),
    )


def test_a_training_line_says_what_train_step_gave(tmp_path, steps, two_losses):
    halve = [dict(type='MultiStepLR', milestones=[2], gamma=0.5)]
    training(
        tmp_path,
        epochs=3,
        warmup=1,
        optim_wrapper=optimizers(),
        param_scheduler=dict(sr=halve, task=[]),
    ).train()
    found = lines(tmp_path, 'Epoch')
    assert len(found) == len(steps) == 6
    for i, (line, logs) in enumerate(zip(found, steps, strict=True)):
        epoch, iteration = i // 2 + 1, i % 2 + 1
        assert line.startswith(f'Epoch {epoch}/3 [{iteration}/2] | eta 0:00:0')
        assert re.search(r'\d s/it \(data \d', line)
        rate = '1.00e-02' if epoch < 3 else '5.00e-03'
        assert f' | learning rate sr {rate}, task 2.00e-01 | ' in line
        stage = 'warmup, TDP off' if epoch == 1 else 'main, TDP on'
        assert f' | {stage} | loss sr ' in line
        phases = parse(line)
        assert list(phases) == ['sr', 'task']
        terms = {
            name: close(logs[f'sr/loss_{name}'])
            for name in (('pixel',) if epoch == 1 else ('pixel', 'tdp'))
        }
        assert phases['sr'] == (close(logs['sr/loss']), terms)
        assert phases['task'] == (
            close(logs['task/loss']),
            {
                image: close(
                    logs[f'task/{image}/loss_cls'] + logs[f'task/{image}/loss_size']
                )
                for image in ('sr', 'hr', 'mix')
            },
        )
        assert '\n' not in line and 'accuracy' not in line and len(line) < 220


def test_the_visual_backends_get_what_they_got_before(tmp_path, steps):
    for name, kind in (('ours', 'mmsr4ir.PhaseLogProcessor'), ('plain', LogProcessor)):
        kind = kind if isinstance(kind, str) else kind.__name__
        training(
            tmp_path / name,
            log=dict(type=kind, window_size=3),
            epochs=2,
            **validated(train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1)),
        ).train()
    assert lines(tmp_path / 'ours', 'Epoch 1/2 [1/2]')
    assert lines(tmp_path / 'plain', 'Epoch(train)')
    ours, plain = (
        [
            {k: v for k, v in line.items() if k not in ('time', 'data_time')}
            for line in scalars(tmp_path / name)
        ]
        for name in ('ours', 'plain')
    )
    assert ours == plain and len(ours) == 2 * (2 + 1)
    last = [line for line in ours if 'iter' in line][-1]
    assert {*steps[3], 'sr.lr', 'task.lr'} <= set(last)
    assert {'sr/loss_tdp', 'task/mix/loss_cls', 'task/mix/accuracy'} <= set(last)
    assert {'toy/score', 'sr/PSNR', 'sr/SSIM'} <= set(ours[-1])


def test_losses_are_smoothed_and_add_up_where_the_stage_changes(tmp_path, steps):
    training(tmp_path, epochs=3, log=dict(window_size=4)).train()
    history = defaultdict(list)
    for line, logs in zip(lines(tmp_path, 'Epoch'), steps, strict=True):
        for key, value in logs.items():
            history[key].append(value)
        smooth = {key: mean(values[-4:]) for key, values in history.items()}
        total, terms = parse(line)['sr']
        assert terms == {name: close(smooth[f'sr/loss_{name}']) for name in terms}
        assert total == pytest.approx(sum(terms.values()), rel=1e-3)
    assert list(terms) == ['pixel', 'tdp']


@pytest.mark.parametrize(
    'method, warmup, main',
    [
        ('H->T', r'learning rate task \S+ \| loss task (\S+) = hr', None),
        ('L->T', r'learning rate task \S+ \| loss task (\S+) = sr', None),
        (
            'T->S',
            r'learning rate sr \S+ \| loss sr (\S+) = pixel \S+ \+ task_sr \S+',
            None,
        ),
        (
            'S+T',
            r'learning rate sr \S+, task \S+ \| loss both (\S+) = '
            r'pixel \S+ \+ task_sr \S+',
            None,
        ),
        # What is over is not shown any more, though MMEngine still has its values.
        (
            'S->T',
            r'learning rate sr \S+, task \S+ \| warmup \| loss sr (\S+) = pixel',
            r'learning rate sr \S+, task \S+ \| main \| loss task (\S+) = sr',
        ),
    ],
)
def test_every_method(method, warmup, main, tmp_path, steps):
    training(tmp_path, model=toy_config(recipe=RECIPES[method])).train()
    found = lines(tmp_path, 'Epoch')
    for line, logs, pattern in zip(
        found, steps, [warmup] * 2 + [main or warmup] * 2, strict=True
    ):
        match = re.search(rf'\| {pattern}( \| memory .*)?$', line)
        assert match, line
        ((phase, (total, terms)),) = parse(line).items()
        assert float(match[1]) == total == close(logs[f'{phase}/loss'])
        if len(terms) == 2:
            assert terms == dict(
                pixel=close(logs[f'{phase}/loss_pixel']),
                task_sr=close(logs[f'{phase}/sr/loss_cls']),
            )


@pytest.mark.parametrize(
    'tdp, said',
    [
        (0.5, 'TDP on'),
        (0.0, 'TDP off'),
        (dict(weight=1.0, during='warmup'), 'warmup, TDP on'),
    ],
)
def test_whether_tdp_is_on_follows_from_the_recipe(tdp, said, tmp_path):
    recipe = dict(sr=dict(update='sr', losses=dict(pixel=1.0, tdp=tdp)))
    training(tmp_path, epochs=1, model=toy_config(recipe=recipe)).train()
    assert all(f' | {said} | ' in line for line in lines(tmp_path, 'Epoch'))


def test_feature_matching_is_shown_apart():
    phase = parse_recipe(HLF_FM)[-1]
    start = 'task/sr|hr/'
    values = {
        start + 'loss_cls': 1.5,
        start + 'loss_match': 0.25,
        start + 'accuracy': 9,
    }
    want = {'sr|hr': 1.5, 'sr|hr match': 0.25}
    assert phase_losses(phase, 'main', values) == want


def test_iterations_instead_of_epochs(tmp_path, steps):
    training(
        tmp_path,
        by_epoch=False,
        warmup=3,
        **validated(train_cfg=dict(by_epoch=False, max_iters=10, val_interval=5)),
    ).train()
    found = lines(tmp_path, 'Iter')
    assert [line.split(' | ')[0] for line in found] == [
        f'Iter {i:2}/10' for i in range(1, 11)
    ]
    assert ['TDP on' in line for line in found] == [False] * 3 + [True] * 7
    assert parse(found[9])['sr'][0] == close(steps[9]['sr/loss'])
    assert [line.split(' | ')[0] for line in lines(tmp_path, 'Val')] == [
        'Val iter  5/10 [1/2]',
        'Val iter  5/10 [2/2]',
        'Val iter  5/10',
        'Val iter 10/10 [1/2]',
        'Val iter 10/10 [2/2]',
        'Val iter 10/10',
    ]


def test_a_validation_line_begins_with_the_metrics_of_the_task(tmp_path):
    training(
        tmp_path,
        epochs=1,
        **validated(train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=1)),
    ).train()
    *batches, result = lines(tmp_path, 'Val')
    for i, line in enumerate(batches, 1):
        assert re.fullmatch(
            rf'Val epoch 1/1 \[{i}/2\] \| eta 0:00:00, {NUMBER} s/it '
            rf'\(data {NUMBER}\)',
            line,
        )
    match = re.fullmatch(
        rf'Val epoch 1/1 \| toy/score: {NUMBER} \| sr/PSNR: {NUMBER}  '
        rf'sr/SSIM: {NUMBER} \| {NUMBER} s/it \(data {NUMBER}\)',
        result,
    )
    logged = scalars(tmp_path)[-1]
    assert [float(x) for x in match.groups()[:3]] == [
        close(logged[key]) for key in ('toy/score', 'sr/PSNR', 'sr/SSIM')
    ]


def test_a_validation_or_test_alone(tmp_path):
    training(tmp_path / 'val', **validated()).val()
    assert [line.split(' | ')[0] for line in lines(tmp_path / 'val', 'Val')] == [
        'Val [1/2]',
        'Val [2/2]',
        'Val',
    ]
    training(tmp_path / 'test', by_epoch=False, **validated()).test()
    found = lines(tmp_path / 'test', 'Test')
    assert [line.split(' | ')[0] for line in found] == [
        'Test [1/2]',
        'Test [2/2]',
        'Test',
    ]
    assert re.search(rf' toy/score: {NUMBER} \| sr/PSNR: {NUMBER}  sr/SSIM', found[-1])


def test_accumulation_gradient_norms_and_entries_of_ones_own(tmp_path, steps):
    """They are at the end, and no loss is counted twice."""
    training(
        tmp_path,
        optim_wrapper=optimizers(accumulative_counts=2, clip_grad=dict(max_norm=100)),
        log=dict(
            custom_cfg=[
                dict(
                    data_src='task/hr/loss_cls',
                    log_name='task/hr/loss_cls_all',
                    method_name='mean',
                    window_size='global',
                )
            ]
        ),
    ).train()
    found = lines(tmp_path, 'Epoch')
    for i, (line, logs) in enumerate(zip(found, steps, strict=True)):
        assert parse(line)['task'][0] == close(logs['task/loss'])
        assert parse(line)['task'][1]['hr'] == close(logs['task/hr/loss_cls'])
        over_all = float(re.search(rf' \| task/hr/loss_cls_all {NUMBER}', line)[1])
        assert over_all == close(mean(x['task/hr/loss_cls'] for x in steps[: i + 1]))
    norms = [
        float(re.search(rf' \| grad_norm_{name} {NUMBER}', found[-1])[1])
        for name in ('sr', 'task')
    ]
    last = scalars(tmp_path)[-1]
    assert norms == [close(last['grad_norm_sr']), close(last['grad_norm_task'])]
    assert norms[0] != norms[1] and 'grad_norm' not in last


@pytest.mark.parametrize(
    'log, kept',
    [
        (dict(), 2),
        (dict(window_size=4), 4),
        (
            dict(
                custom_cfg=[
                    dict(
                        data_src='sr/loss',
                        method_name='mean',
                        window_size=5,
                        log_name='five',
                    )
                ]
            ),
            5,
        ),
        (
            dict(
                custom_cfg=[
                    dict(data_src='sr/loss', method_name='max', log_name='most')
                ]
            ),
            8,
        ),
    ],
)
def test_the_history_is_as_long_as_a_window_needs(tmp_path, log, kept):
    """8 iterations in 4 epochs, with a validation of 2 batches after each."""
    run = training(
        tmp_path,
        epochs=4,
        log=log,
        **validated(train_cfg=dict(by_epoch=True, max_epochs=4, val_interval=1)),
    )
    run.train()
    history = run.message_hub.log_scalars
    assert len(history['train/sr/loss'].data[0]) == kept
    assert len(history['val/time'].data[0]) == kept
    saved = load_from_local(tmp_path / 'epoch_4.pth')['message_hub']['log_scalars']
    assert len(saved['train/task/loss'].data[0]) == kept


def test_the_memory_of_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(mmengine_processor, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(LogProcessor, '_get_max_memory', lambda *args: 1234)
    training(tmp_path, epochs=1).train()
    assert all(line.endswith(' | memory 1234 MiB') for line in lines(tmp_path, 'Epoch'))
    assert [line['memory'] for line in scalars(tmp_path)] == [1234, 1234]


def test_names_with_the_mode_in_front(tmp_path, steps):
    training(tmp_path, epochs=1, log=dict(log_with_hierarchy=True)).train()
    line, logged = lines(tmp_path, 'Epoch')[-1], scalars(tmp_path)[-1]
    assert parse(line)['sr'][0] == close(steps[-1]['sr/loss'])
    assert 'learning rate sr 1.00e-02, task 1.00e-02' in line and 'train/' not in line
    assert logged['train/sr/loss'] == pytest.approx(steps[-1]['sr/loss'])


def test_digits(tmp_path, steps):
    training(tmp_path, epochs=1, log=dict(num_digits=2)).train()
    for line, logs in zip(lines(tmp_path, 'Epoch'), steps, strict=True):
        total = re.search(r'loss sr (\S+) =', line)[1]
        assert len(total.replace('.', '').lstrip('0')) == 2
        assert float(total) == pytest.approx(logs['sr/loss'], rel=0.06)


@pytest.mark.parametrize(
    'config, settings',
    [
        ('faster-rcnn_edsr_coco', dict(window_size=50, by_epoch=True)),
        ('faster-rcnn_edsr_tiny', dict(window_size=50, by_epoch=True)),
        ('deeplabv3_edsr_cityscapes', dict(by_epoch=False)),
        ('deeplabv3_edsr_tiny', dict(by_epoch=True)),
        ('resnet50_edsr_imagenet', {}),
        ('resnet18_edsr_tiny', {}),
        ('det_voc/det_voc_sr4ir_edsr_x4', dict(window_size=50, by_epoch=True)),
        ('seg_voc/seg_voc_s_and_t_edsr_x4', dict(by_epoch=True)),
        ('cls_cub/cls_cub_h2t', {}),
    ],
)
def test_every_library_s_configs_have_it(config, settings):
    cfg = Config.fromfile(ROOT / f'configs/sr4ir/{config}.py')
    found = {k: v for k, v in cfg.log_processor.items() if k != '_scope_'}
    assert found == dict(type='mmsr4ir.PhaseLogProcessor', **settings)
    assert isinstance(LOG_PROCESSORS.build(cfg.log_processor), LogProcessor)
