"""Which resize leaves the pipelines of a config, and the way back."""

import copy

import pytest
from mmengine.config import Config

from mmsr4ir.datasets.move_resize import move_resize, return_resize, split_pipeline

KEEP = dict(type='Resize', scale=(200, 120), keep_ratio=True)
DRAWN = dict(type='RandomChoiceResize', scales=[(100, 80), (150, 110)], keep_ratio=True)


def moved(*pipeline: str | dict, split: str = 'train') -> tuple:
    """What leaves a pipeline of these transforms, and the names of what stays."""
    rule, rest = split_pipeline(
        [dict(type=one) if isinstance(one, str) else one for one in pipeline], split
    )
    return rule, [one['type'] for one in rest]


def test_which_transforms_move():
    pad = dict(type='Pad', size_divisor=32)
    assert moved('Load', KEEP, 'RandomFlip', 'Pack') == (
        [KEEP],
        ['Load', 'RandomFlip', 'Pack'],
    )
    assert moved('Load', KEEP, 'RandomFlip', pad, 'Pack') == (
        [KEEP, pad],
        ['Load', 'RandomFlip', 'Pack'],
    )
    assert moved('Load', 'Flip', 'Pack') == (None, ['Load', 'Flip', 'Pack'])
    # A crop has a size in the pixels of what was resized before it.
    for after in (
        'RandomCrop',
        'Mosaic',
        'CachedMixUp',
        'RandomAffine',
        'CopyPaste',
        'RandomShift',
        'CutOut',
        'RandomErasing',
    ):
        assert moved('Load', KEEP, after, 'Pack') == (
            None,
            ['Load', 'Resize', after, 'Pack'],
        )
    assert moved('Mosaic', 'RandomAffine', KEEP, pad, 'Pack') == (
        [KEEP, pad],
        ['Mosaic', 'RandomAffine', 'Pack'],
    )
    assert moved(KEEP, 'RandomCrop', DRAWN, 'Pack') == (
        [DRAWN],
        ['Resize', 'RandomCrop', 'Pack'],
    )
    # A choice of colours is none of sizes.
    colours = dict(type='RandomChoice', transforms=[[dict(type='Grey')], []])
    assert moved(KEEP, colours, 'Pack') == ([KEEP], ['RandomChoice', 'Pack'])
    # As in DETR: what each branch resizes last is noted, for its images alone.
    crop = dict(type='RandomCrop', crop_size=(9, 9))
    rule, (_, choice, pack) = split_pipeline(
        [
            dict(type='Load'),
            dict(
                type='RandomChoice',
                transforms=[[DRAWN], [KEEP, crop, DRAWN], [KEEP, crop]],
            ),
            dict(type='PackDetInputs'),
        ],
        'train',
    )
    note = dict(type='mmsr4ir.NoteTaskSize', resize=[DRAWN])
    assert rule is None and choice['transforms'] == [
        [note],
        [KEEP, crop, note],
        [KEEP, crop],
    ]
    assert pack == dict(type='mmsr4ir.PackTaskSize', pack=dict(type='PackDetInputs'))


@pytest.mark.parametrize(
    'change',
    [
        # As in YOLOX: the images of several samples are put together, or of a batch.
        dict(
            train_dataloader=dict(
                dataset=dict(
                    type='MultiImageMixDataset',
                    pipeline=[dict(type='Mosaic'), dict(type='Pack')],
                    dataset=dict(pipeline=[dict(type='Load'), KEEP]),
                )
            )
        ),
        dict(
            model=dict(
                task_resize='pipeline',
                task=dict(
                    data_preprocessor=dict(
                        batch_augments=[dict(type='BatchSyncRandomResize')]
                    )
                ),
            )
        ),
        dict(
            model=dict(
                task_resize='pipeline',
                task=dict(train_cfg=dict(augments=dict(type='Mixup'))),
            )
        ),
    ],
)
def test_a_resize_that_the_augmentation_needs_stays(change):
    pipeline = [dict(type='Load'), KEEP, dict(type='Pack')]
    cfg = Config(
        dict(
            dict(
                model=dict(task_resize='pipeline'),
                train_dataloader=dict(dataset=dict(pipeline=pipeline)),
                val_dataloader=dict(dataset=dict(pipeline=pipeline)),
            ),
            **change,
        )
    )
    before = copy.deepcopy(cfg.train_dataloader.to_dict())
    # The model may be wrapped, as test-time augmentation has it.
    cfg.model = dict(type='DetTTAModel', module=cfg.model)
    move_resize(cfg)
    assert cfg.model.module.task_resize == dict(train=[], test=[KEEP])
    assert cfg.train_dataloader.to_dict() == before


def test_a_whole_config_and_the_way_back():
    """The resize of two tests differs, and that of test-time augmentation."""
    other, pad = dict(KEEP, scale=(64, 64)), dict(type='Pad', size_divisor=32)
    load, labels, pack = (
        dict(type=name)
        for name in ('LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs')
    )

    def loader(*pipeline):
        return dict(
            dataset=dict(
                type='RepeatDataset', times=2, dataset=dict(pipeline=list(pipeline))
            )
        )

    given = Config(
        dict(
            model=dict(task_resize='pipeline'),
            train_dataloader=loader(load, labels, DRAWN, pack),
            val_dataloader=loader(load, KEEP, pad, labels, pack),
            test_dataloader=loader(load, other, labels, pack),
            tta_pipeline=[
                load,
                dict(
                    type='TestTimeAug',
                    transforms=[
                        [KEEP, other],
                        [dict(type='RandomFlip', prob=1.0)],
                        [pad],
                        [pack],
                    ],
                ),
            ],
        )
    )
    cfg = move_resize(copy.deepcopy(given))
    assert cfg.model.task_resize == dict(train=[DRAWN], test=[KEEP, pad])
    train, val, test = (
        cfg[f'{split}_dataloader'].dataset.dataset.pipeline
        for split in ('train', 'val', 'test')
    )
    assert train == val == [load, labels, pack]
    assert test == [
        load,
        labels,
        dict(type='mmsr4ir.NoteTaskSize', resize=[other]),
        dict(type='mmsr4ir.PackTaskSize', pack=pack),
    ]
    stages = cfg.tta_pipeline[1].transforms
    assert [one['resize'] for one in stages[0]] == [[KEEP, pad], [other, pad]]
    assert [stage[0]['type'] for stage in stages] == [
        'mmsr4ir.NoteTaskSize',
        'RandomFlip',
        'mmsr4ir.PackTaskSize',
    ]
    assert move_resize(copy.deepcopy(cfg)).to_dict() == cfg.to_dict(), 'all is moved'
    # The task network alone resizes in its own pipelines again.
    back = return_resize(cfg)
    assert {
        key: back[key] for key in given if key not in ('model', 'train_dataloader')
    } == {key: given[key] for key in given if key not in ('model', 'train_dataloader')}
