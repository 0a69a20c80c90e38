"""A training on pairs of LR and HR images by the command lines."""

import re
import sys

import pytest
from conftest import ROOT

CONFIG = """\
_base_ = ['{root}/configs/sr4ir/faster-rcnn_edsr_tiny.py']

model = dict(degradation=dict(
    _delete_=True, type='mmsr4ir.PairedLR', hr_root='{hr}', lr_root='{lr}'))
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
train_dataloader = dict(dataset=dict(pipeline=[
    *load, dict(type='RandomFlip', prob=0.5), dict(type='PackDetInputs')]))
val_dataloader = dict(dataset=dict(pipeline=[*load, dict(type='PackDetInputs')]))
test_dataloader = val_dataloader
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory, coco_root, run_tool):
    """A config on pairs whose LR images are made by the command line."""
    folder = tmp_path_factory.mktemp('pairs')
    run_tool(
        sys.executable,
        'tools/dataset_converters/make_lr_dataset.py',
        'configs/_base_/degradations/bicubic_x4.py',
        '--images',
        coco_root,
        '--out',
        folder / 'lr',
    )
    (folder / 'pairs.py').write_text(
        CONFIG.format(root=ROOT, hr=coco_root, lr=folder / 'lr')
    )
    return folder / 'pairs.py'


def test_training_validates_on_pairs(config, coco_root, tiny_options, run_tool):
    options = tiny_options(
        coco_root, **{'train_cfg.max_epochs': 1, 'train_cfg.val_interval': 1}
    )
    process = run_tool(
        sys.executable,
        'tools/train.py',
        config,
        '--work-dir',
        config.parent / 'work',
        *options,
    )
    assert re.search(r'coco/bbox_mAP: .*sr/PSNR: \d+\.\d+', process.stdout)
    assert (config.parent / 'work/epoch_1.pth').is_file()


def test_a_missing_lr_image_stops_the_start(config, coco_root, tiny_options, run_tool):
    (config.parent / 'lr/val/1.png').rename(config.parent / 'away.png')
    try:
        process = run_tool(
            sys.executable,
            'tools/test.py',
            config,
            config,  # as the checkpoint: a file that exists; it is not read
            *tiny_options(coco_root),
            ok=False,
        )
    finally:
        (config.parent / 'away.png').rename(config.parent / 'lr/val/1.png')
    assert process.returncode == 1
    assert re.search(
        r'error: .*1.jpg has no LR image '
        r'.*lr/val/1\.\*',
        process.stdout,
    )
