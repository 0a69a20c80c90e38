"""Pairs of LR and HR images, and the pipelines, are looked at before a start."""

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmsr4ir.datasets.checks import pairs
from mmsr4ir.datasets.checks.pairs import check_transforms
from mmsr4ir.datasets.checks.problem import Report, stop_on_errors
from mmsr4ir.utils.errors import DataError

LOAD, PACK = dict(type='LoadImageFromFile'), dict(type='PackInputs')
FLIP = dict(type='RandomFlip', prob=0.5)


def write(path, height: int, width: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))


def check_pairs(cfg, splits=('train', 'val')) -> None:
    report = Report('pairs')
    for split in splits:
        pairs.check_pairs(report, cfg, split)
    stop_on_errors(report.problems)


@pytest.fixture
def cfg(tmp_path) -> Config:
    """Two classes of two images, 16 x 12 and 8 x 10, with LR images x4."""
    for name in ('train/a', 'train/b', 'val/a', 'val/b'):
        write(tmp_path / f'hr/{name}/0.jpg', 12, 16)
        write(tmp_path / f'hr/{name}/1.png', 10, 8)
        write(tmp_path / f'lr/{name}/0.png', 3, 4)
        write(tmp_path / f'lr/{name}/1.png', 3, 2)
    loaders = {
        f'{split}_dataloader': dict(
            dataset=dict(
                type='CustomDataset',
                data_root=f'{tmp_path}/hr',
                data_prefix='train' if split == 'train' else 'val',
                pipeline=[LOAD, PACK],
            )
        )
        for split in ('train', 'val', 'test')
    }
    return Config(
        dict(
            default_scope='mmpretrain',
            **loaders,
            model=dict(
                task=dict(type='ImageClassifier'),
                degradation=dict(
                    type='mmsr4ir.PairedLR',
                    hr_root=f'{tmp_path}/hr',
                    lr_root=f'{tmp_path}/lr',
                ),
            ),
        )
    )


def test_good_pairs_pass(cfg):
    check_pairs(cfg)
    wrapped = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    cfg.train_dataloader.dataset = wrapped
    cfg.train_dataloader.dataset.dataset.pipeline.insert(1, FLIP)
    check_pairs(cfg, ('train', 'val', 'test'))


@pytest.mark.parametrize(
    'form, lr_size',
    [('JPEG', (4, 3)), ('TIFF', (4, 3)), ('WEBP', (4, 3)), ('PNG', (4, 3))],
)
def test_hr_images_are_turned_as_the_loader_turns_them(cfg, tmp_path, form, lr_size):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (16, 12)).save(tmp_path / 'hr/train/a/0.jpg', form, exif=exif)
    write(tmp_path / 'lr/train/a/0.png', *lr_size)
    check_pairs(cfg)


def test_all_files_that_do_not_fit_are_named(cfg, tmp_path):
    (tmp_path / 'lr/train/a/0.png').unlink()
    write(tmp_path / 'lr/train/a/1.png', 2, 2)
    write(tmp_path / 'lr/train/b/1.jpg', 3, 2)
    (tmp_path / 'lr/train/b/0.png').write_bytes(b'none')
    with pytest.raises(DataError, match='4 problems in the data: ') as error:
        check_pairs(cfg)
    for part in (
        'train/a/0.jpg has no LR image',
        'lr/train/a/1.png has 2 x 2 pixels',
        'b/1.png has 2 LR images',
        'lr/train/b/0.png is truncated or no image',
        'or set lr_root, hr_root and scale',
    ):
        assert part in str(error.value)
    check_pairs(cfg, ('val',))


def test_two_hr_images_of_one_name(cfg, tmp_path):
    write(tmp_path / 'hr/train/a/0.png', 12, 16)
    with pytest.raises(DataError, match=r'0.jpg and .*0.png have the same LR image'):
        check_pairs(cfg)


def test_flips_need_sizes_that_the_scale_divides(cfg):
    cfg.train_dataloader.dataset.pipeline.insert(
        1, dict(FLIP, direction=['horizontal', 'vertical'])
    )
    with pytest.raises(DataError, match='2 problems.*1.png has 8 x 10 pixels, which 4'):
        check_pairs(cfg)


def test_folders_that_are_wrong(cfg, tmp_path):
    cfg.model.degradation.hr_root = f'{tmp_path}/lr'
    with pytest.raises(DataError, match='problems.*not in model.degradation.hr_root'):
        check_pairs(cfg)
    cfg.model.degradation.lr_root = f'{tmp_path}/no'
    cfg.model.degradation.hr_root = f'{tmp_path}/hr'
    with pytest.raises(DataError, match='lr_root=.*no. is no folder'):
        check_pairs(cfg)
    cfg.train_dataloader.dataset.data_prefix = 'no'
    with pytest.raises(DataError, match='train_dataloader cannot be read .FileNotF'):
        check_pairs(cfg)


def test_other_degradations_and_tests_on_lr_images_have_no_pairs(cfg, tmp_path):
    cfg.test_dataloader.dataset.pipeline = [LOAD, dict(type='Resize'), PACK]
    with pytest.raises(DataError, match='test_dataloader'):
        check_pairs(cfg, ('test',))
    cfg.test_cfg = dict(type='mmsr4ir.LRTestLoop')
    check_pairs(cfg, ('test',))
    cfg.train_dataloader.dataset.pipeline = [dict(type='Resize')]
    cfg.model.degradation = dict(type='mmsr4ir.BicubicDownsample')
    check_pairs(cfg)
    cfg.model.degradation = None
    check_pairs(cfg)


@pytest.mark.parametrize('place', ['data_preprocessor', 'task', 'classifier'])
def test_mixing_of_images_in_a_batch(cfg, place):
    augments = dict(type='Mixup', alpha=0.8)
    if place == 'data_preprocessor':
        cfg.data_preprocessor = dict(batch_augments=dict(augments=augments))
    elif place == 'task':
        cfg.model.task.data_preprocessor = dict(
            batch_augments=[dict(type='BatchFixedSizePad'), augments]
        )
    else:
        cfg.model.task.train_cfg = dict(augments=[augments])
    with pytest.raises(DataError, match=r"has \['Mixup'\], which LR images"):
        check_pairs(cfg)
    check_pairs(cfg, ('val',))


def test_padding_of_a_batch_is_no_harm(cfg):
    cfg.model.task.data_preprocessor = dict(
        batch_augments=[dict(type='BatchFixedSizePad')]
    )
    check_pairs(cfg)


def test_directions_of_flips():
    assert check_transforms([LOAD, PACK], 'train') == set()
    assert check_transforms([LOAD, FLIP, PACK], 'train') == {'horizontal'}
    assert check_transforms(
        [dict(type='mmdet.RandomFlip', direction=['vertical', 'diagonal'])], 'train'
    ) == {'vertical', 'diagonal'}


@pytest.mark.parametrize(
    'pipeline, message',
    [
        (
            [LOAD, dict(type='mmdet.Resize'), dict(type='RandomErasing'), PACK],
            r"the pipeline of train_dataloader has \['Resize', 'RandomErasing'\], "
            r'which LR',
        ),
        ([LOAD, FLIP, dict(FLIP, direction='vertical'), PACK], 'RandomFlip 2 times'),
        (
            [
                LOAD,
                FLIP,
                dict(type='PackDetInputs', meta_keys=('img_path', 'img_shape')),
            ],
            r"put \['flip', 'flip_direction'\] into meta_keys of PackDetInputs",
        ),
        (
            [LOAD, dict(type='PackSegInputs', meta_keys=('img_shape',))],
            r"put \['img_path'\] into meta_keys of PackSegInputs",
        ),
    ],
)
def test_pipelines_that_lr_images_cannot_follow(pipeline, message):
    with pytest.raises(DataError, match=message):
        check_transforms(pipeline, 'train')


def test_a_resize_to_the_same_size_may_stay():
    pack = dict(type='PackDetInputs')
    check_transforms([LOAD, dict(type='Resize', scale_factor=1.0), pack], 'val')
    with pytest.raises(DataError, match='val_dataloader .*Resize'):
        check_transforms([LOAD, dict(type='Resize', scale_factor=0.5), pack], 'val')


def test_the_pipeline_of_a_wrapper(cfg):
    cfg.train_dataloader.dataset = dict(
        type='MultiImageMixDataset',
        pipeline=[dict(type='Mosaic')],
        dataset=cfg.train_dataloader.dataset,
    )
    with pytest.raises(DataError, match='Mosaic'):
        check_pairs(cfg)
