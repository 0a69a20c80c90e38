"""Segmentation and classification through the command lines, on the embedded data."""

import importlib
import json
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from mmsr4ir.compat.checkpoint import load_predictions

PYTHON, ROOT = sys.executable, Path(__file__).parents[2]


@pytest.fixture(scope='module')
def shapes(tmp_path_factory, run_tool):
    root = tmp_path_factory.mktemp('shapes')
    run_tool(
        PYTHON,
        'tools/dataset_converters/make_textured_shapes.py',
        '--out',
        root,
        '--num-train',
        8,
        '--num-val',
        4,
        '--size',
        64,
    )
    return root


#: Of a classifier of thermal images.
GRAY = [
    'model.sr.in_channels=1',
    'model.sr.out_channels=1',
    'model.sr.rgb_mean=(0.5,)',
    'model.sr.rgb_std=(1.0,)',
    'model.task.backbone.in_channels=1',
    'data_preprocessor.mean=(124.0,)',
    'data_preprocessor.std=(58.0,)',
    *(
        f'{split}_dataloader.dataset.pipeline.0.color_type=grayscale'
        for split in ('train', 'val', 'test')
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    'config, folder, losses, metric, more',
    [
        ('deeplabv3_edsr_tiny', '', ('decode.loss_ce', 'aux.loss_ce'), 'mIoU', []),
        ('resnet18_edsr_tiny', 'classification', ('loss',), 'accuracy/top1', GRAY),
    ],
)
def test_train_and_test(
    config, folder, losses, metric, more, shapes, run_tool, tmp_path
):
    options = [
        '--cfg-options',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=2',
        'default_hooks.alternate.warmup=1',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=2',
        *more,
    ]
    for loader in ('train', 'val', 'test'):
        at = f'{loader}_dataloader'
        options += [
            f'{at}.dataset.data_root={shapes / folder}/',
            f'{at}.batch_size=4',
            f'{at}.num_workers=0',
            f'{at}.persistent_workers=False',
        ]
    config = f'configs/sr4ir/{config}.py'
    text = run_tool(
        PYTHON, 'tools/train.py', config, '--work-dir', tmp_path, *options
    ).stdout
    first, last = (
        next(
            line
            for line in text.splitlines()
            if re.search(rf'Epoch {epoch}/2 \[2/2\]', line)
        )
        for epoch in (1, 2)
    )
    assert 'TDP off | loss sr' in first and 'TDP on | loss sr' in last
    assert re.search(r'\| loss task \S+ = sr \S+ \+ hr \S+ \+ mix \S+$', first)
    logged = json.loads(
        next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()[0]
    )
    for image in ('sr', 'hr', 'mix'):
        assert all(f'task/{image}/{loss}' in logged for loss in losses)
    assert re.search(rf'{metric}: \d+.* sr/PSNR: \d+', text)
    text = run_tool(
        PYTHON,
        'tools/test.py',
        config,
        tmp_path / 'epoch_2.pth',
        '--work-dir',
        tmp_path / 'test',
        '--show-dir',
        tmp_path / 'pictures',
        *options,
    ).stdout
    assert re.search(rf'{metric}: \d+.* sr/PSNR: \d+', text)
    shown = 16 if 'top1' in metric else 4  # the class crops are four times as many
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == shown
    if metric == 'mIoU':
        check_tta_of_maps(config, tmp_path, options, run_tool)
    else:
        check_tta_of_scores(config, tmp_path, options, run_tool)


def predictions(config, folder, options, run_tool, *more) -> list[dict]:
    """What `tools/test.py --out` writes."""
    out = folder / 'predictions.pkl'
    run_tool(
        PYTHON,
        'tools/test.py',
        config,
        folder / 'epoch_2.pth',
        '--work-dir',
        folder / 'test',
        '--out',
        out,
        *more,
        *options,
    )
    return load_predictions(out)


def check_tta_of_scores(config, folder, options, run_tool) -> None:
    """The mean of the scores of an image and of its mirror image."""
    (folder / 'flipped.py').write_text(
        f'_base_ = {str(Path(config).resolve())!r}\n'
        'test_dataloader = dict(dataset=dict(pipeline=[\n'
        '    _base_.test_dataloader.dataset.pipeline[0],\n'
        "    dict(type='RandomFlip', prob=1.0),\n"
        '    *_base_.test_dataloader.dataset.pipeline[1:]]))\n'
    )
    plain, merged = (
        predictions(config, folder, options, run_tool, *more)
        for more in ((), ('--tta',))
    )
    mirrored = predictions(folder / 'flipped.py', folder, options, run_tool)
    for one, other, both in zip(plain, mirrored, merged, strict=True):
        assert not torch.equal(one['pred_score'], other['pred_score'])
        torch.testing.assert_close(
            both['pred_score'], (one['pred_score'] + other['pred_score']) / 2
        )


def check_tta_of_maps(config, folder, options, run_tool) -> None:
    """Turned back before they are merged: about those of the image itself.

    The ``tta_pipeline`` of mmseg's bases resizes, but not what the SR network gets.
    """
    plain, merged = (
        predictions(config, folder, options, run_tool, *more)
        for more in ((), ('--tta',))
    )
    logs = sorted((folder / 'test').glob('*/*.json'))[-2:]
    without, with_tta = (json.loads(path.read_text()) for path in logs)
    for key in ('sr/PSNR', 'sr/SSIM'):
        assert with_tta[key] == pytest.approx(without[key], rel=1e-4)
    assert with_tta['mIoU'] != without['mIoU']
    for one, both in zip(plain, merged, strict=True):
        assert one['img_shape'] == both['img_shape'] and not both['flip']
    same = [
        (one['pred_sem_seg']['data'] == both['pred_sem_seg']['data']).float().mean()
        for one, both in zip(plain, merged, strict=True)
    ]
    assert 0.5 < sum(same) / len(same) < 1


SWEEP = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, 'tools/misc')
import make_coverage

work = Path(sys.argv[1])
make_coverage.prepare(set(), work)
make_coverage.attempt = lambda library, family, work: {
    'killed': lambda: os.kill(os.getpid(), signal.SIGKILL),
    'large': lambda: bytearray(9 << 30),
    'wrong': lambda: 1 / 0,
    'right': lambda: dict(losses={}),
}[family]()
names = ('killed', 'large', 'wrong', 'right')
make_coverage.sweep([('mmdet', name) for name in names], work)
"""


def test_a_trial_that_fails_does_not_end_the_sweep(run_tool, tmp_path):
    script = tmp_path / 'sweep.py'
    script.write_text(SWEEP)
    text = run_tool(PYTHON, script, tmp_path / 'work').stdout
    results = {
        path.stem.partition('-')[2]: json.loads(path.read_text())
        for path in (tmp_path / 'work').glob('*.json')
    }
    assert results['killed']['error'].startswith('ended by signal 9')
    assert results['large']['error'].startswith('MemoryError')
    assert results['wrong']['error'] == 'ZeroDivisionError: division by zero'
    assert results['right'] == dict(losses={})
    assert 'mmdet wrong: ZeroDivisionError' in text and 'right: green' in text


@pytest.fixture
def tools(monkeypatch):
    """Import a module of tools/misc."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools/misc'))
    return importlib.import_module


@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain', 'mmagic'])
def test_every_family_of_the_zoos_is_tried_or_out_of_scope(library, tools):
    page, zoo = tools('zoo_page'), tools('zoo_families')
    text = page.PAGE.read_text()
    families = page.families(text).get(library, {})
    tried, outside = set(families or zoo.SR_NETWORKS), page.out_of_scope(text)[library]
    folder = Path(find_spec(library).origin).parent / '.mim/configs'
    there = {path.name for path in folder.iterdir() if path.is_dir()}
    assert there == tried | outside
    assert not tried & outside
    for family, config in families.items():
        assert (folder / family / f'{config}.py').is_file(), config


def test_the_coverage_page_takes_results(tools):
    page, zoo = tools('zoo_page'), tools('zoo_families')
    text = page.PAGE.read_text()
    losses = dict(losses={'sr/loss_pixel': 0.25, 'sr/loss_tdp': 0.5, 'task/loss': 3.0})
    results = {
        ('mmdet', 'atss'): losses,
        ('mmdet', 'fcos'): dict(error='TypeError: a | b'),
        ('mmseg', 'fcn'): losses,
        ('spandrel', 'HAT'): losses | dict(tiles=0.5),
    }
    assert page.update(text, {}).splitlines()[6:] == text.splitlines()[6:]
    # As a page whose rows were never tried.
    lines = text.splitlines()
    for row in page.rows(text):
        if row.heading not in ('', page.OUT_HEADING):
            first = 3 if row.heading == page.SR_HEADING else 2
            cells = [*row.cells[:first], '-', '-', *row.cells[first + 2 :]]
            lines[row.number] = f'| {" | ".join(cells)} |'
    new = page.update('\n'.join(lines), results)
    total = sum(map(len, page.families(text).values())) + len(zoo.SR_NETWORKS)
    out = sum(map(len, page.out_of_scope(text).values()))
    assert f'\n2 of the {total} families in scope are green (1 %), 1 red and ' in new
    assert f'{total - 3} not tried; {out} families are out of scope.\n' in new
    assert f'| **all** | 2 | 1 | {total - 3} | {out} | 1 % |' in new
    assert '| `atss_r50_fpn_1x_coco` | green | 0.25, 0.5, 3 | - |' in new
    assert r'| **red** TypeError: a \| b | - |' in new
    assert '| spandrel | HAT | `HAT` | green | 0.25, 0.5, 3 | 0.5 |' in new
    assert page.families(new) == page.families(text)
    # What is no result is as it was.
    assert new[new.index('## Out of scope') :] == text[text.index('## Out of scope') :]


def test_the_coverage_page_names_the_settings_of_the_trials(tools):
    page, networks = tools('zoo_page'), tools('zoo_networks')
    rows = list(page.rows(page.PAGE.read_text()))
    for (library, family), settings in tools('zoo_families').SETTINGS.items():
        (row,) = [
            row for row in rows if (row.heading, row.cells[0]) == (library, family)
        ]
        for key, value in settings.items():
            assert f'`{key}={value!r}`' in row.cells[4]
    trial, data = tools('zoo_trial'), tools('zoo_data')
    text = page.PAGE.read_text()
    edge, overlap = networks.TILE
    for words in (
        f'{data.NUM_IMAGES} images of random pixels',
        f'about {trial.EDGES["mmdet"]} pixels for mmdet and {trial.EDGES["mmseg"]} for',
        f'at most {trial.EDGES["mmpretrain"]} pixels',
        f'at most {trial.LIMITS["num"]}, `max_per_img` {trial.LIMITS["max_per_img"]}',
        f'`nms_pre` {trial.LIMITS["nms_pre"]}',
        f'at most {trial.CPU_LIMIT} s of CPU time and {trial.MEMORY_LIMIT >> 30} GB',
        f'two images of {networks.HR_SIZE} pixels',
        f'tiles of {edge} with an overlap of {overlap} pixels',
    ):
        assert words in ' '.join(text.split()), words
    tried = {tuple(row.cells[:2]) for row in rows if row.heading == page.SR_HEADING}
    assert tried == {
        *(('mmagic', name) for name in networks.SR_NETWORKS),
        *(('spandrel', name) for name in networks.SPANDREL),
    }


def test_what_a_trial_changes_in_a_config(tools):
    trial = tools('zoo_trial')
    config = [
        dict(type='Resize', scale=(1333, 800), ratio=(0.1, 2.0)),
        dict(type='RandomChoiceResize', scales=[(1333, 480), (1000, 600)]),
        dict(size_divisor=32, batch_augments=[dict(size=(1024, 1024))], depth=640),
    ]
    trial.shrink(config[:1], 160)
    trial.shrink(config[1:], 160)
    assert config == [
        dict(type='Resize', scale=(160, 96), ratio=(0.1, 2.0)),
        dict(type='RandomChoiceResize', scales=[(160, 64), (128, 64)]),
        dict(size_divisor=32, batch_augments=[dict(size=(128, 128))], depth=640),
    ]
    small = [dict(scale=96)]
    trial.shrink(small, 160)
    trial.shrink(small, None)
    assert small == [dict(scale=96)]
    network = dict(
        backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='a.pth')),
        neck=dict(init_cfg=dict(type='Xavier')),
        pretrained=True,
        train_cfg=[dict(sampler=dict(num=512)), dict(max_per_img=50)],
    )
    trial.without_weights(network)
    trial.limit(network)
    assert network == dict(
        backbone=dict(init_cfg=None),
        neck=dict(init_cfg=dict(type='Xavier')),
        pretrained=False,
        train_cfg=[dict(sampler=dict(num=32)), dict(max_per_img=50)],
    )
