"""The configs of the paper's experiments against the published settings.

The numbers are those of options/{seg,det,cls}/*.yml in the authors' code.
"""

import math
from copy import deepcopy
from functools import cache

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope
from torch import nn

from mmsr4ir.engine import PerNetworkOptimWrapperConstructor, move_resize
from mmsr4ir.models.weights import WeightsError
from mmsr4ir.utils.configs import config_values

# data: epochs, warm-up, ramp, batch, lr and weight decay of T, classes, TDP layer,
# levels, weights, grid
DATA = {
    'seg_voc': (100, 10, 0, 16, 0.02, 1e-6, 21, 'network.backbone', (-1,), (1.0,), 8),
    'det_voc': (
        30,
        3,
        1,
        16,
        0.02,
        1e-4,
        20,
        'network.backbone',
        (0, 1),
        (0.5, 0.5),
        8,
    ),
    'cls_cub': (200, 20, 0, 128, 0.03, 1e-4, 200, 'network.layer4', (-1,), (1.0,), 4),
    'cls_cars': (200, 20, 0, 128, 0.03, 1e-4, 196, 'network.layer4', (-1,), (1.0,), 4),
}
# method: what each phase updates and its losses
METHODS = {
    'h2t': [(['task'], dict(task_hr=1.0))],
    'l2t': [(['task'], dict(task_sr=1.0))],
    's': [(['sr'], dict(pixel=1.0))],
    's2t': [(['task'], dict(task_sr=1.0))],
    't2s': [(['sr'], dict(pixel=1.0, task_sr=1.0))],
    's_and_t': [(['sr', 'task'], dict(pixel=1.0, task_sr=1.0))],
    'sr4ir': [
        (['sr'], dict(pixel=1.0, tdp=dict(weight=1.0, during='main'))),
        (['task'], dict(task_sr=0.34, task_hr=0.34, task_mix=0.34)),
    ],
}
RUNS = [
    ('h2t', 'bilinear', 4, 'h2t'),
    ('l2t', 'bilinear', 4, 'l2t_x4'),
    ('l2t', 'bilinear', 8, 'l2t_x8'),
] + [
    (method, network, scale, f'{method}_{network}_x{scale}')
    for method in ('s', 's2t', 't2s', 's_and_t', 'sr4ir')
    for network in ('edsr', 'swinir')
    for scale in (4, 8)
]


@cache
def read(data: str, name: str) -> Config:
    return move_resize(
        Config.fromfile(ROOT / 'configs/sr4ir' / data / f'{data}_{name}.py')
    )


def load(data: str, name: str) -> Config:
    return deepcopy(read(data, name))


def test_there_is_a_config_for_each_of_the_authors_runs():
    found = {
        p.relative_to(ROOT / 'configs/sr4ir').as_posix()
        for data in DATA
        for p in (ROOT / 'configs/sr4ir' / data).glob('*.py')
    }
    assert found == {f'{d}/{d}_{name}.py' for d in DATA for *_, name in RUNS}
    assert len(found) == 92
    for path in found:
        assert len((ROOT / 'configs/sr4ir' / path).read_text().splitlines()) <= 15


@pytest.mark.parametrize('data', DATA)
@pytest.mark.parametrize('run', RUNS, ids=lambda run: run[3])
def test_the_published_settings(data, run):
    method, network, scale, name = run
    cfg = load(data, name)
    (epochs, warmup, ramp, batch, lr, decay, classes, layer, levels, weights, grid) = (
        DATA[data]
    )
    model = cfg.model
    assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size) == (
        epochs,
        batch,
    )
    assert cfg.default_hooks.alternate.warmup == warmup
    phases = [(p['update'], p['losses']) for p in model.recipe.values()]
    assert phases == METHODS[method]
    assert [p.get('sr_in_train_mode', False) for p in model.recipe.values()] == (
        [False, True] if method == 'sr4ir' else [False]
    )
    assert model.degradation == dict(type='mmsr4ir.BicubicDownsample', scale=scale)
    assert model.get('test_on', 'sr') == ('hr' if method == 'h2t' else 'sr')
    check_networks(model, network, scale)
    assert model.task.num_classes == classes
    assert model.get('count_padding', False) == (data == 'det_voc')
    assert not model.get('task_resize')
    sr, task = (cfg.optim_wrapper[k].optimizer for k in ('sr', 'task'))
    assert (sr.type, sr.lr, sr.weight_decay, sr.betas) == (
        'AdamW',
        1e-4,
        0,
        (0.9, 0.999),
    )
    assert (task.type, task.lr, task.momentum, task.weight_decay) == (
        'SGD',
        lr,
        0.9,
        decay,
    )
    if method == 'sr4ir':
        tdp = MODELS.build(model.tdp)
        assert (tdp.layer, tdp.levels, tdp.weights) == (layer, levels, weights)
        assert (model.patch_mix.grid, model.patch_mix.p) == (grid, 0.5)
    else:
        assert 'tdp' not in model and 'patch_mix' not in model
    for part, eta_min in (('sr', 1e-6), ('task', 1e-4)):
        assert cfg.param_scheduler[part] == [
            dict(
                type='mmsr4ir.RampCosineRestartLR',
                ramp=ramp,
                eta_min=eta_min,
                convert_to_iter_based=True,
                periods=[warmup - ramp, epochs - warmup]
                if method == 'sr4ir'
                else [epochs],
            )
        ]
    if method == 's2t':
        assert model.sr.init_cfg.checkpoint == (
            f'work_dirs/{data}_s_{network}_x{scale}/epoch_{epochs}.pth'
        )
    if method == 't2s':
        assert model.task.init_cfg.checkpoint == (
            f'work_dirs/{data}_h2t/epoch_{epochs}.pth'
        )


def check_networks(model, network: str, scale: int) -> None:
    sr = model.sr
    if network == 'bilinear':
        assert (sr.type, sr.mode, sr.scale) == (
            'mmsr4ir.InterpolateUpsampler',
            'bilinear',
            scale,
        )
        assert sr.align_corners  # torch.nn.UpsamplingBilinear2d
    elif network == 'edsr':
        assert (sr.num_blocks, sr.mid_channels, sr.upscale_factor) == (16, 64, scale)
        assert model.sr_range == 255
        assert sr.rgb_mean == pytest.approx([114.444, 111.4605, 103.02])
    else:
        assert (sr.upscale, sr.embed_dim, sr.window_size, sr.img_size) == (
            scale,
            180,
            8,
            48,
        )
        assert list(sr.depths) == list(sr.num_heads) == [6] * 6
        assert sr.upsampler == 'pixelshuffle' and model.get('sr_range', 1) == 1


@pytest.mark.parametrize('data', DATA)
@pytest.mark.parametrize('run', RUNS, ids=lambda run: run[3])
def test_the_model_and_its_optimizers_build(data, run):
    cfg = load(data, run[3])
    init_default_scope(cfg.default_scope)
    if run[1] == 'swinir' and run[0] != 'sr4ir':
        # The same network as in SR4IR's configs; its depth costs the time.
        cfg.model.sr.update(depths=[1], num_heads=[6])
    model = cfg.model
    if cfg.get('data_preprocessor'):
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(model)
    for split in ('train', 'val'):
        assert len(Compose(cfg[f'{split}_dataloader'].dataset.pipeline).transforms) >= 3
    wrapper_cfg = cfg.optim_wrapper.copy()
    wrapper_cfg.pop('constructor')
    wrappers = PerNetworkOptimWrapperConstructor(wrapper_cfg)(model)
    assert set(wrappers.keys()) == {n for u, _ in METHODS[run[0]] for n in u}
    for name in wrappers.keys():
        # MMEngine keeps the base values of several groups with a tensor of its own.
        held = {
            id(p)
            for g in wrappers[name].param_groups
            for p in g['params']
            if isinstance(p, nn.Parameter)
        }
        assert held == {id(p) for p in getattr(model, name).parameters()}


def test_missing_weights_name_the_file_and_where_it_comes_from(monkeypatch):
    from mmsr4ir.models.weights import load_weights

    cfg = load('seg_voc', 's_edsr_x4')
    network = MODELS.build({k: v for k, v in cfg.model.sr.items() if k != 'init_cfg'})
    with pytest.raises(
        WeightsError,
        match=(r'edsr-baseline_x4\.pth does not exist.*6b446fab\.pt.*edsr2mmagic'),
    ):
        load_weights('sr', network, cfg.model.sr.init_cfg)
    cfg = load('seg_voc', 's2t_edsr_x4')
    with pytest.raises(WeightsError, match='checkpoint of the run that trains'):
        load_weights('sr', network, cfg.model.sr.init_cfg)


def table_rows() -> list:
    """The rows of docs/en/published_settings.md that name a key and our value."""
    rows, data = [], None
    for line in (ROOT / 'docs/en/published_settings.md').read_text().splitlines():
        cells = [cell.strip().strip('`') for cell in line.strip('|').split('|')]
        if line.startswith('## '):
            data = cells[0].rpartition('(')[2].strip('`)')
        elif len(cells) == 5 and '.' in cells[2]:
            rows.append(pytest.param(data, *cells[2:4], id=f'{data}-{cells[2]}'))
    return rows


@pytest.mark.parametrize('data, key, value', table_rows())
def test_the_table_of_published_settings_says_what_the_configs_say(data, key, value):
    node = load(data, 'sr4ir_edsr_x4')
    for part in key.split('.'):
        node = node[int(part)] if part.isdigit() else node[part]
    assert node == config_values(f'value = {value}')['value']


def test_the_table_has_every_part_of_the_training():
    parts = {(row.values[0], row.values[1].split('.')[0]) for row in table_rows()}
    assert parts >= {
        (data, part)
        for data in ('det_voc', 'seg_voc', 'cls_cars')
        for part in (
            'model',
            'optim_wrapper',
            'param_scheduler',
            'train_dataloader',
            'train_cfg',
            'randomness',
        )
    }


def test_the_rates_of_the_published_schedules():
    """Against the published formulas, iteration by iteration."""
    length, rates = 5, {}
    for data in ('det_voc', 'seg_voc'):
        cfg = load(data, 'sr4ir_edsr_x4').param_scheduler['task'][0]
        optimizer = torch.optim.SGD(
            [dict(params=[nn.Parameter(torch.zeros(1))], lr=lr) for lr in (0.02, 0.2)],
            lr=0.02,
        )
        cfg = dict(cfg, optimizer=optimizer, epoch_length=length)
        scheduler = PARAM_SCHEDULERS.build(cfg)
        rates[data] = []
        for _ in range(length * (30 if data == 'det_voc' else 100)):
            rates[data].append([group['lr'] for group in optimizer.param_groups])
            optimizer.step()
            scheduler.step()

    def cosine(base, step, period):
        return 1e-4 + 0.5 * (base - 1e-4) * (1 + math.cos(math.pi * step / period))

    for i, pair in enumerate(rates['det_voc']):
        for rate, base in zip(pair, (0.02, 0.2), strict=True):
            if i < length:  # from 1 / length, linearly, to all of it
                want = base * (1 / length + (1 - 1 / length) * i / length)
            elif i <= 3 * length:  # the first after a period has its minimum
                want = cosine(base, i - length, 2 * length)
            else:
                want = cosine(base, i - 3 * length, 27 * length)
            assert rate == pytest.approx(want, rel=1e-9), i
    for i, pair in enumerate(rates['seg_voc']):
        period = (0, 10) if i <= 10 * length else (10, 90)
        for rate, base in zip(pair, (0.02, 0.2), strict=True):
            assert rate == pytest.approx(
                cosine(base, i - period[0] * length, period[1] * length), rel=1e-9
            ), i
