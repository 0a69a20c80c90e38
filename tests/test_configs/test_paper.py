"""The configs of the paper's experiments against the published settings.

The numbers are those of options/{seg,det,cls}/*.yml in the authors' code.
"""
from copy import deepcopy
from functools import cache

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmsr4ir.engine import PerNetworkOptimWrapperConstructor, move_resize
from mmsr4ir.models.weights import WeightsError

# data: epochs, warm-up, ramp, batch, lr and weight decay of T, classes, TDP layer,
# levels, weights, grid
DATA = {
    'seg_voc': (100, 10, 0, 16, 0.02, 1e-6, 21, 'backbone', (-1, ), (1.0, ), 8),
    'det_voc': (30, 3, 1, 16, 0.02, 1e-4, 20, 'neck', (0, 1), (0.5, 0.5), 8),
    'cls_cub': (200, 20, 0, 128, 0.03, 1e-4, 200, 'backbone', (-1, ), (1.0, ), 4),
    'cls_cars': (200, 20, 0, 128, 0.03, 1e-4, 196, 'backbone', (-1, ), (1.0, ), 4),
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
        (['task'], dict(task_sr=0.34, task_hr=0.34, task_mix=0.34))],
}
RUNS = [('h2t', 'bilinear', 4, 'h2t'), ('l2t', 'bilinear', 4, 'l2t_x4'),
        ('l2t', 'bilinear', 8, 'l2t_x8')] + [
    (method, network, scale, f'{method}_{network}_x{scale}')
    for method in ('s', 's2t', 't2s', 's_and_t', 'sr4ir')
    for network in ('edsr', 'swinir') for scale in (4, 8)]


@cache
def read(data: str, name: str) -> Config:
    return move_resize(
        Config.fromfile(ROOT / 'configs/sr4ir' / data / f'{data}_{name}.py'))


def load(data: str, name: str) -> Config:
    return deepcopy(read(data, name))


def test_there_is_a_config_for_each_of_the_authors_runs():
    found = {p.relative_to(ROOT / 'configs/sr4ir').as_posix()
             for data in DATA for p in (ROOT / 'configs/sr4ir' / data).glob('*.py')}
    assert found == {f'{d}/{d}_{name}.py' for d in DATA for *_, name in RUNS}
    assert len(found) == 92
    for path in found:
        assert len((ROOT / 'configs/sr4ir' / path).read_text().splitlines()) <= 15


@pytest.mark.parametrize('data', DATA)
@pytest.mark.parametrize('run', RUNS, ids=lambda run: run[3])
def test_the_published_settings(data, run):
    method, network, scale, name = run
    cfg = load(data, name)
    (epochs, warmup, ramp, batch, lr, decay, classes, layer, levels, weights,
     grid) = DATA[data]
    model = cfg.model
    assert (cfg.train_cfg.max_epochs, cfg.train_dataloader.batch_size) == (
        epochs, batch)
    assert cfg.default_hooks.alternate.warmup == warmup
    phases = [(p['update'], p['losses']) for p in model.recipe.values()]
    assert phases == METHODS[method]
    assert model.degradation == dict(type='mmsr4ir.BicubicDownsample', scale=scale)
    assert model.get('test_on', 'sr') == ('hr' if method == 'h2t' else 'sr')
    check_networks(model, network, scale)
    counts = {str(v) for k, v in walk(model.task) if k == 'num_classes'}
    assert counts == {str(classes)}
    sr, task = (cfg.optim_wrapper[k].optimizer for k in ('sr', 'task'))
    assert (sr.type, sr.lr, sr.weight_decay, sr.betas) == (
        'AdamW', 1e-4, 0, (0.9, 0.999))
    assert (task.type, task.lr, task.momentum, task.weight_decay) == (
        'SGD', lr, 0.9, decay)
    if method == 'sr4ir':
        tdp = MODELS.build(model.tdp)
        assert (tdp.layer, tdp.levels, tdp.weights) == (layer, levels, weights)
        assert (model.patch_mix.grid, model.patch_mix.p) == (grid, 0.5)
    else:
        assert 'tdp' not in model and 'patch_mix' not in model
    for part, eta_min in (('sr', 1e-6), ('task', 1e-4)):
        *first, last = cfg.param_scheduler[part]
        assert [s['type'] for s in first] == ['LinearLR'] * ramp
        assert (last.begin, last.end, last.eta_min) == (ramp, epochs, eta_min)
        if method == 'sr4ir':
            assert last.type == 'CosineRestartLR'
            assert last.periods == [warmup - ramp, epochs - warmup]
        else:
            assert (last.type, last.T_max) == ('CosineAnnealingLR', epochs - ramp)
    if method == 's2t':
        assert model.sr.init_cfg.checkpoint == (
            f'work_dirs/{data}_s_{network}_x{scale}/epoch_{epochs}.pth')
    if method == 't2s':
        assert model.task.init_cfg.checkpoint == (
            f'work_dirs/{data}_h2t/epoch_{epochs}.pth')


def walk(node):
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield key, value
        if isinstance(value, dict | list | tuple):
            yield from walk(value)


def check_networks(model, network: str, scale: int) -> None:
    sr = model.sr
    if network == 'bilinear':
        assert (sr.type, sr.mode, sr.scale) == (
            'mmsr4ir.InterpolateUpsampler', 'bilinear', scale)
    elif network == 'edsr':
        assert (sr.num_blocks, sr.mid_channels, sr.upscale_factor) == (16, 64, scale)
        assert model.sr_range == 255
        assert sr.rgb_mean == pytest.approx([114.444, 111.4605, 103.02])
    else:
        assert (sr.upscale, sr.embed_dim, sr.window_size, sr.img_size) == (
            scale, 180, 8, 48)
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
    wrapper_cfg = cfg.optim_wrapper.copy()
    wrapper_cfg.pop('constructor')
    wrappers = PerNetworkOptimWrapperConstructor(wrapper_cfg)(model)
    assert set(wrappers.keys()) == {n for u, _ in METHODS[run[0]] for n in u}
    for name in wrappers.keys():
        held = {id(p) for g in wrappers[name].param_groups for p in g['params']}
        assert held == {id(p) for p in getattr(model, name).parameters()}


def test_missing_weights_name_the_file_and_where_it_comes_from(monkeypatch):
    from mmsr4ir.models.weights import load_weights
    cfg = load('seg_voc', 's_edsr_x4')
    network = MODELS.build({k: v for k, v in cfg.model.sr.items() if k != 'init_cfg'})
    with pytest.raises(WeightsError, match=(
            r'edsr-baseline_x4\.pth does not exist.*6b446fab\.pt.*edsr2mmagic')):
        load_weights('sr', network, cfg.model.sr.init_cfg)
    cfg = load('seg_voc', 's2t_edsr_x4')
    with pytest.raises(WeightsError, match='checkpoint of the run that trains'):
        load_weights('sr', network, cfg.model.sr.init_cfg)
