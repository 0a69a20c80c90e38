"""Test-time augmentation: the SR network's input, and what merged samples hold."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.structures import BaseDataElement

from mmsr4ir.datasets.move_resize import move_resize, noted_tta
from mmsr4ir.engine.tta import MergedVersions, keep_images, use_tta
from mmsr4ir.models.task_resize import TaskSize
from mmsr4ir.utils.errors import ConfigError

LOAD, LABELS, PACK = (
    dict(type=name)
    for name in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')
)
WIDE = dict(type='Resize', scale=(200, 120), keep_ratio=True)
RATIOS = [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (1, 2)]
FLIPS = [dict(type='RandomFlip', prob=prob) for prob in (1.0, 0.0)]
NOTED = [dict(type='mmsr4ir.NoteTaskSize', resize=[one]) for one in RATIOS]


def config(*pipelines: list, stages: list | None = None, **model) -> Config:
    """A test on data sets with these pipelines, with stages of ``TestTimeAug``."""
    datasets: list[dict] = [dict(type='Own', pipeline=one) for one in pipelines]
    cfg = dict(
        default_scope='mmseg',
        model=dict(type='mmsr4ir.SR4IR', **model),
        test_dataloader=dict(
            dataset=datasets[0]
            if len(datasets) == 1
            else dict(type='ConcatDataset', datasets=datasets)
        ),
    )
    if stages:
        cfg['tta_pipeline'] = [LOAD, dict(type='TestTimeAug', transforms=stages)]
    return Config(copy.deepcopy(cfg))


def test_resizes_of_the_versions_come_after_the_sr_network():
    """Without a task_resize, too; the test's own resize stays before it."""
    stages = [RATIOS, FLIPS, [LABELS], [PACK]]
    cfg = config([LOAD, WIDE, LABELS, PACK], [LOAD, LABELS, PACK], stages=stages)
    use_tta(cfg)
    assert cfg.model.type == 'mmsr4ir.MergedVersions'
    assert cfg.model.merger == dict(type='SegTTAModel')
    assert cfg.model.module.task_resize == dict(train=[], test=[])
    pack = [dict(type='mmsr4ir.PackTaskSize', pack=PACK)]
    versions = dict(type='TestTimeAug', transforms=[NOTED, FLIPS, [LABELS], pack])
    first, second = cfg.test_dataloader.dataset.datasets
    assert first.pipeline == [LOAD, WIDE, versions]
    assert second.pipeline == [LOAD, versions]


def test_a_resize_that_a_crop_needs_stays():
    crop = dict(type='CenterCrop', crop_size=32)
    cfg = config([LOAD, WIDE, crop, PACK], stages=[RATIOS, FLIPS, [crop], [PACK]])
    given = copy.deepcopy(cfg.tta_pipeline)
    use_tta(cfg)
    assert cfg.test_dataloader.dataset.pipeline == given
    assert 'task_resize' not in cfg.model.module
    outer = [LOAD, WIDE, crop, dict(type='TestTimeAug', transforms=[FLIPS, [PACK]])]
    assert noted_tta(outer) == outer


def test_each_data_set_keeps_its_own_pipeline_before_the_flips():
    cfg = config([LOAD, WIDE, PACK], [LOAD, PACK])
    use_tta(cfg)
    first, second = cfg.test_dataloader.dataset.datasets
    versions = dict(type='TestTimeAug', transforms=[FLIPS[::-1], [PACK]])
    assert first.pipeline == [LOAD, WIDE, versions]
    assert second.pipeline == [LOAD, versions]
    assert 'pipeline' not in cfg.test_dataloader.dataset
    assert 'task_resize' not in cfg.model.module


def test_a_librarys_own_test_tool():
    """It has put its pipeline and its model into the config before the Runner reads."""
    cfg = config(
        [LOAD, WIDE, dict(type='TestTimeAug', transforms=[FLIPS, [LABELS], [PACK]])],
        task_resize='pipeline',
    )
    cfg.val_dataloader = dict(dataset=dict(pipeline=[LOAD, WIDE, LABELS, PACK]))
    cfg.model = dict(type='DetTTAModel', tta_cfg=dict(a=1), module=cfg.model)
    keep_images(move_resize(cfg))
    assert cfg.model.merger == dict(type='DetTTAModel', tta_cfg=dict(a=1))
    assert cfg.model.module.task_resize == dict(train=[], test=[WIDE])
    load, versions = cfg.test_dataloader.dataset.pipeline
    assert load == LOAD and versions.transforms == [
        [dict(type='mmsr4ir.NoteTaskSize', resize=[WIDE])],
        FLIPS,
        [LABELS],
        [dict(type='mmsr4ir.PackTaskSize', pack=PACK)],
    ]
    before = copy.deepcopy(cfg.to_dict())
    keep_images(move_resize(cfg))
    assert cfg.to_dict() == before


@MMENGINE_MODELS.register_module()
class LastOfToyTTA(BaseTTAModel):
    """Merges into the last version, as mmseg's, and no masks, as mmdet's."""

    def merge_preds(self, data_samples_list):
        assert 'masks' not in data_samples_list[0][0], 'no masks now'
        for versions in data_samples_list:
            versions[-1].prediction = len(versions)
        return [versions[-1] for versions in data_samples_list]


class Versions(torch.nn.Module):
    """Gives its data samples back."""

    def test_step(self, data):
        return data['data_samples']


def version(flip: bool, height: int, **data) -> BaseDataElement:
    return BaseDataElement(
        metainfo=dict(
            flip=flip, img_shape=(height, 9), task_size=TaskSize((1, 1), (1, 1))
        ),
        images=dict(hr=torch.zeros(3, height, 9)),
        gt_map=torch.tensor([height]),
        **data,
    )


def test_pictures_are_those_of_the_image_itself():
    model = MergedVersions(dict(type='LastOfToyTTA'), Versions())
    assert [name for name, _ in model.named_modules()].count('module') == 1
    versions = [[version(True, 4)], [version(False, 5)], [version(True, 6)]]
    (merged,) = model.test_step(dict(data_samples=versions))
    assert merged.prediction == 3 and merged.gt_map == 5
    assert merged.images['hr'].shape == (3, 5, 9)
    assert merged.metainfo == dict(flip=False, img_shape=(5, 9))
    with pytest.raises(ConfigError, match='^--tta: LastOfToyTTA cannot .*: no masks'):
        model.test_step(dict(data_samples=[[version(False, 4, masks=[1])]]))
