"""Segmentation and classification through the command lines, on the embedded data."""

import json
import re
import sys
from pathlib import Path

import pytest
import torch

from mmsr4ir.compat.checkpoint import load_predictions

PYTHON = sys.executable


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


@pytest.mark.slow
@pytest.mark.parametrize(
    'config, folder, losses, metric',
    [
        ('deeplabv3_edsr_tiny', '', ('decode.loss_ce', 'aux.loss_ce'), 'mIoU'),
        ('resnet18_edsr_tiny', 'classification', ('loss',), 'accuracy/top1'),
    ],
)
def test_train_and_test(config, folder, losses, metric, shapes, run_tool, tmp_path):
    options = [
        '--cfg-options',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=2',
        'default_hooks.alternate.warmup=1',
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=2',
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
    assert len(list((tmp_path / 'pictures').glob('*.png'))) == 4
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
    """Turned back before they are merged: about those of the image itself."""
    plain, merged = (
        predictions(config, folder, options, run_tool, *more)
        for more in ((), ('--tta',))
    )
    same = [
        (one['pred_sem_seg']['data'] == both['pred_sem_seg']['data']).float().mean()
        for one, both in zip(plain, merged, strict=True)
    ]
    assert 0.5 < sum(same) / len(same) < 1


def test_coverage_can_be_made_again(run_tool):
    text = run_tool(PYTHON, 'tools/misc/make_coverage.py', '--only', 'MSRResNet').stdout
    assert re.search(r'\| mmagic \| MSRResNet \| 64 \| \d.*\|', text)
    process = run_tool(
        PYTHON, 'tools/misc/make_coverage.py', '--only', 'nothing', ok=False
    )
    assert process.returncode == 1 and "nothing has 'nothing'" in process.stdout
