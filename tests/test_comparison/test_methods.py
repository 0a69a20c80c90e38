"""What each method makes of one SR4IR config."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmsr4ir.comparison.methods import METHODS, ComparisonError, plan_parts
from mmsr4ir.comparison.results import check_metric_group, main_metric

CONFIG = 'configs/sr4ir/resnet18_edsr_tiny.py'
RECIPES = 'configs/_base_/recipes'


@pytest.fixture
def cfg():
    return Config.fromfile(CONFIG)


def test_all_methods(cfg, tmp_path):
    parts = plan_parts(cfg, list(METHODS), [3], tmp_path)
    assert [part.method for part in parts] == [
        'h2t',
        'l2t',
        'l2t_kd',
        's',
        's2t',
        's2t_kd',
        't2s',
        'frozen_t',
        's_and_t',
        'sr4ir',
        'hlf_fm',
    ]
    for part in parts:
        model = part.cfg.model
        recipe = Config.fromfile(f'{RECIPES}/{part.method}.py').recipe
        assert model.recipe == recipe
        assert model.test_on == ('hr' if part.method == 'h2t' else 'sr')
        interpolated = part.method in ('h2t', 'l2t', 'l2t_kd')
        assert (model.sr.type == 'mmsr4ir.InterpolateUpsampler') == interpolated
        taught = part.method in ('l2t_kd', 's2t_kd', 'hlf_fm')
        assert ('teacher' in model) == taught
        assert ('tdp' in model) == (taught or part.method == 'sr4ir')
        assert ('patch_mix' in model) == (part.method == 'sr4ir')
        assert part.cfg.randomness.seed == 3
        assert part.folder == tmp_path / part.method / 'seed_3'
        for key in (
            'train_dataloader',
            'test_dataloader',
            'train_cfg',
            'optim_wrapper',
            'param_scheduler',
        ):
            assert part.cfg[key] == cfg[key], (part.method, key)
    by_name = {part.method: part for part in parts}
    assert {name: starts(part) for name, part in by_name.items() if part.needs} == dict(
        l2t_kd=dict(teacher='h2t'),
        s2t=dict(sr='s'),
        s2t_kd=dict(sr='s', teacher='h2t'),
        t2s=dict(task='h2t'),
        frozen_t=dict(task='h2t'),
        hlf_fm=dict(sr='s', task='h2t', teacher='h2t'),
    )
    assert by_name['s'].cfg.val_dataloader is None
    assert not by_name['s'].is_tested and by_name['h2t'].is_tested
    assert cfg.to_dict() == Config.fromfile(CONFIG).to_dict(), 'left as it was'


def starts(part) -> dict[str, str]:
    """Where each network of a config comes from, as the method of that run."""
    files = {
        network: part.cfg.model[network].get('init_cfg', {}).get('checkpoint')
        for network in ('sr', 'task', 'teacher')
        if network in part.cfg.model
    }
    found = {network: Path(file).parts[-3:] for network, file in files.items() if file}
    assert all(one[1:] == (f'seed_{part.seed}', 'final.pth') for one in found.values())
    return {network: one[0] for network, one in found.items()}


def test_a_fair_start_for_all(cfg, tmp_path):
    parts = plan_parts(cfg, list(METHODS), [0], tmp_path, 'trained')
    for part in parts:
        found = starts(part)
        if part.method in ('s', 't'):
            assert found == {} and not part.is_tested
            assert part.cfg.val_dataloader is None
            continue
        want = dict(task='h2t' if part.method in ('t2s', 'frozen_t') else 't')
        if METHODS[part.method].restores:
            want['sr'] = 's'
        if part.method in ('l2t_kd', 's2t_kd', 'hlf_fm'):
            want['teacher'] = 'h2t'
        assert found == want
        assert part.cfg.default_hooks.alternate.warmup == 0
        taught = 'h2t' in want.values()  # whose T comes from t in turn
        assert {one.method for one in part.sources} == {*want.values(), *['t'] * taught}
    assert cfg.default_hooks.alternate.warmup == 4


def test_only_what_is_needed_for_each_seed(cfg, tmp_path):
    parts = plan_parts(cfg, ['t2s', 'sr4ir', 't2s'], [0, 1, 0], tmp_path)
    assert [(part.method, part.seed) for part in parts] == [
        ('h2t', 0),
        ('t2s', 0),
        ('sr4ir', 0),
        ('h2t', 1),
        ('t2s', 1),
        ('sr4ir', 1),
    ]
    assert parts[4].needs['task'] is parts[3]


def test_sr4ir_keeps_the_recipe_of_the_config(cfg, tmp_path):
    cfg.model.recipe.sr.losses.pixel = 0.5
    (part,) = plan_parts(cfg, ['sr4ir'], [0], tmp_path)
    assert part.cfg.model.recipe.sr.losses.pixel == 0.5


def test_settings_of_a_method_alone(cfg, tmp_path):
    cfg.comparison = dict(l2t={'train_cfg.max_epochs': 3})
    h2t, l2t = plan_parts(cfg, ['h2t', 'l2t'], [0], tmp_path)
    assert l2t.cfg.train_cfg.max_epochs == 3
    assert h2t.cfg.train_cfg.max_epochs == cfg.train_cfg.max_epochs != 3


def test_what_cannot_be_compared_is_refused(cfg, tmp_path):
    with pytest.raises(ComparisonError, match=r"unknown methods \['x2y'\].*'h2t'"):
        plan_parts(cfg, ['x2y'], [0], tmp_path)
    cfg.comparison = dict(h2l={})
    with pytest.raises(ComparisonError, match=r"comparison.*unknown methods \['h2l'\]"):
        plan_parts(cfg, ['h2t'], [0], tmp_path)
    cfg.load_from = 'a.pth'
    with pytest.raises(ComparisonError, match='load_from would replace .*init_cfg'):
        plan_parts(cfg, ['h2t'], [0], tmp_path)
    cfg.model = dict(type='ImageClassifier')
    with pytest.raises(ComparisonError, match='ImageClassifier.*must|takes a config'):
        plan_parts(cfg, ['h2t'], [0], tmp_path)


@pytest.mark.parametrize(
    'config, key',
    [
        ('faster-rcnn_edsr_tiny', 'coco/bbox_mAP'),
        ('deeplabv3_edsr_tiny', 'mIoU'),
        ('resnet18_edsr_tiny', 'accuracy/top1'),
    ],
)
def test_the_metric_that_ranks(config, key):
    cfg = Config.fromfile(f'configs/sr4ir/{config}.py')
    assert main_metric(cfg) == key
    check_metric_group(cfg, key)
    check_metric_group(cfg, 'sr/PSNR')
    with pytest.raises(ComparisonError, match='--metric cocco/bbox_mAP: .*sr/'):
        check_metric_group(cfg, 'cocco/bbox_mAP')
    with pytest.raises(ComparisonError, match='sr/LPIPS: less of it is better'):
        check_metric_group(cfg, 'sr/LPIPS')
    cfg.test_evaluator = [e for e in cfg.test_evaluator if 'SRQuality' in e.type]
    with pytest.raises(ComparisonError, match='no task metric.*nothing to compare'):
        main_metric(cfg)
    cfg.test_evaluator = dict(type='OwnMetric')
    with pytest.raises(ComparisonError, match='--metric'):
        main_metric(cfg)
