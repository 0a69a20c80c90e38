"""What is wrong with the data is said before a training starts."""

import json
import re
import shutil
import sys

import cv2
import numpy as np
import pytest
from data_checks import check, check_data, found
from data_checks import coco_config as config
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsr4ir.datasets.checks.coco import read_coco
from mmsr4ir.datasets.checks.evaluators import check_evaluator
from mmsr4ir.datasets.checks.images import scan_image
from mmsr4ir.datasets.checks.problem import Report
from mmsr4ir.datasets.checks.sets import parts
from mmsr4ir.utils.errors import DataError

CONFIG = 'configs/sr4ir/faster-rcnn_edsr_tiny.py'


@pytest.fixture
def root(coco_root, tmp_path):
    return shutil.copytree(coco_root, tmp_path / 'data')


def test_good_data_passes(root):
    check_data(config(root))
    wrapped = config(root)
    wrapped.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=wrapped.train_dataloader.dataset
    )
    check_data(wrapped)


def test_wrappers_are_looked_through(root):
    (root / 'train.json').unlink()
    cfg = config(root)
    inner = cfg.train_dataloader.dataset
    for outer in (
        dict(type='RepeatDataset', dataset=inner),
        dict(type='ConcatDataset', datasets=[inner]),
    ):
        cfg.train_dataloader.dataset = outer
        with pytest.raises(DataError, match='train.json does not exist'):
            check_data(cfg)


def test_images_without_any_annotation_are_no_ground_truth(root):
    content = json.loads((root / 'train.json').read_text())
    (root / 'train.json').write_text(json.dumps(content | dict(annotations=[])))
    with pytest.raises(DataError, match='has no annotation.*train_dataloader'):
        check_data(config(root))


def test_classes_in_another_order_than_in_the_file(root):
    """mmdet takes the order of the file; names would be exchanged without a word."""
    with pytest.raises(DataError, match=r'another order.*classes=\(.green., .blue.\)'):
        check_data(config(root, classes=('blue', 'green')))


def test_a_metric_about_other_data(root):
    cfg = config(root)
    cfg.val_dataloader = cfg.train_dataloader
    cfg.val_evaluator = dict(type='CocoMetric', ann_file=f'{root}/./train.json')
    check_data(cfg, ('val',))
    content = json.loads((root / 'train.json').read_text())
    same = root / 'same.json'  # other boxes of the same images
    same.write_text(json.dumps(content | dict(annotations=[])))
    cfg.val_evaluator = [
        dict(type='mmsr4ir.SRQuality'),
        dict(type='mmdet.CocoMetric', ann_file=str(same)),
    ]
    check_data(cfg, ('val',))
    for changed in (
        dict(images=content['images'][:2]),
        dict(categories=content['categories'][::-1]),
    ):
        same.write_text(json.dumps(content | changed))
        with pytest.raises(
            DataError,
            match=f'val_evaluator: entry 1 .*{same}.*'
            f'{root}/train.json in val_dataloader: set ann_file',
        ):
            check_data(cfg, ('val',))


def test_one_metric_for_two_data_sets(root):
    """It would take the objects of an image for those of the other of its id."""
    cfg = config(root)
    one = cfg.train_dataloader.dataset.to_dict()
    other = one | dict(ann_file='val.json', data_prefix=dict(img='val/'))
    cfg.val_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[one, other]))
    for metric in (dict(), dict(ann_file=f'{root}/train.json')):
        cfg.val_evaluator = dict(type='mmdet.CocoMetric', **metric)
        ((severity, text),) = found(cfg, ('val',))
        assert severity == 'error' and text.startswith(
            'val_evaluator: entry 0 compares 2 data sets by image ids, and 3 ids are '
            "those of images of several (['0', '1', '2'])"
        )
    content = json.loads((root / 'val.json').read_text())
    for image in content['images']:
        image['id'] += 100
    for box in content['annotations']:
        box['image_id'] += 100
    (root / 'val.json').write_text(json.dumps(content))
    assert found(cfg, ('val',)) == []
    cfg.val_evaluator = dict(
        type='mmdet.MultiDatasetsEvaluator',
        metrics=[cfg.val_evaluator] * 2,
        dataset_prefixes=['a', 'b'],
    )
    cfg.val_dataloader.dataset.datasets = [one, one]
    assert found(cfg, ('val',)) == []


def test_a_list_of_metrics_in_another(root):
    cfg = config(root)
    cfg.val_evaluator = [[dict(type='IoUMetric')], dict(type='mmsr4ir.SRQuality')]
    with pytest.raises(
        DataError,
        match=(r'val_evaluator: entry 0 has a list.*\[\*_base_.val_evaluator, '),
    ):
        check_data(cfg, ('val',))


@pytest.mark.parametrize(
    'content, message',
    [
        (None, 'does not exist: set data_root and ann_file'),
        ('', 'is empty'),
        ('not json {', 'is not JSON.*voc2coco'),
        ('[1, 2]', r"has no list \['images', 'annotations', 'categories'\]"),
        ('{"images": [], "annotations": []}', r"has no list \['categories'\]"),
        ('{"images": [], "annotations": [], "categories": []}', 'lists no image'),
    ],
)
def test_a_bad_annotation_file_is_named(root, content, message):
    path = root / 'train.json'
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DataError, match=f'{path}.*{message}'):
        check_data(config(root))


def test_a_json_file_of_another_kind_of_data_set_is_none_of_coco(root):
    cfg = config(root)
    cfg.default_scope = 'mmpretrain'
    cfg.train_dataloader.dataset.update(type='MultiLabelDataset', data_prefix='train')
    (root / 'train.json').write_text(
        json.dumps(
            dict(
                metainfo=dict(classes=['green', 'blue']),
                data_list=[dict(img_path='0.png', gt_label=[0, 1])],
            )
        )
    )
    check_data(cfg, ('train',))
    cfg.train_dataloader.dataset.type = 'mmdet.CocoDataset'
    with pytest.raises(DataError, match='has no list'):
        check_data(cfg, ('train',))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_a_named_error_or_a_coco_dict(tmp_path_factory, content):
    path = tmp_path_factory.mktemp('fuzz') / 'x.json'
    path.write_bytes(content)
    with pytest.raises(DataError, match='x.json'):
        read_coco(str(path))


@pytest.mark.parametrize(
    'classes, num_classes, message',
    [
        (('red',), 1, r"1 classes and .*has 2: .*\['blue', 'green'\] only in the file"),
        ((), 0, r"0 classes and .*has 2: .*\['blue', 'green'\] only in the file"),
        (('green', 'blue', 'red'), 3, r"\['red'\] only in the config"),
        (('green', 'bleu'), 2, r"\['bleu'\] only in the config, \['blue'\] only in"),
        (
            ('green', 'blue'),
            80,
            r'roi_head.bbox_head\[0\].num_classes=80, but .*set model.num_classes=2',
        ),
    ],
)
def test_classes_that_differ_are_named(root, classes, num_classes, message):
    with pytest.raises(DataError, match=message):
        check_data(config(root, classes, num_classes))


def test_some_of_the_categories_of_a_file(root):
    """mmdet leaves out the objects of the others."""
    ((severity, text),) = found(config(root, ('blue',), 1))
    assert severity == 'warning' and text.startswith(
        f'annotation file {root}/train.json has 1 categories that are none of the '
        "classes of the config (['green'])"
    )
    content = json.loads((root / 'train.json').read_text())
    content['categories'].append(dict(id=3, name='red'))
    (root / 'train.json').write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"another order.*classes=\('green', 'blue'\)"):
        check_data(config(root, ('blue', 'green')))


def test_the_classes_of_the_dataset_class_are_used(root):
    cfg = config(root)
    del cfg.train_dataloader.dataset['metainfo']
    cfg.train_dataloader.dataset['_scope_'] = 'mmdet'
    with pytest.raises(DataError, match="config has 80 classes.*'airplane'"):
        check_data(cfg)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'bmp'])
def test_missing_and_truncated_images_are_found_by_head_and_end(tmp_path, suffix):
    paths = [tmp_path / f'{i}.{suffix}' for i in range(4)]
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for path in paths[:3]:
        cv2.imwrite(str(path), picture)
    assert not any(scan_image(str(path), whole=False).problem for path in paths[:3])
    paths[1].write_bytes(paths[1].read_bytes()[:-300])
    paths[2].write_bytes(b'')
    problems = [scan_image(str(path), whole=False).problem for path in paths[1:]]
    assert problems[0].startswith('is truncated')
    assert problems[1:] == ['is empty (0 bytes)', 'is missing']


def test_bytes_after_the_end_of_an_image_do_no_harm(tmp_path):
    path = tmp_path / 'a.jpg'
    cv2.imwrite(str(path), np.zeros((16, 16, 3), np.uint8))
    path.write_bytes(path.read_bytes() + bytes(200_000))
    assert scan_image(str(path), whole=False).problem is None


@pytest.mark.parametrize(
    'damage, message',
    [
        ('annotation', 'error: annotation file .*train.json is empty'),
        ('image', r'error: .*train/0.png is truncated'),
        ('classes', 'error: the config has 2 classes'),
    ],
)
def test_the_command_line_stops_before_training(
    root, damage, message, tiny_options, run_tool, tmp_path
):
    if damage == 'annotation':
        (root / 'train.json').write_text('')
    elif damage == 'image':
        path = root / 'train' / '0.png'
        path.write_bytes(path.read_bytes()[:-100])
    else:
        content = json.loads((root / 'train.json').read_text())
        content['categories'][1]['name'] = 'red'
        (root / 'train.json').write_text(json.dumps(content))
    process = run_tool(
        sys.executable,
        'tools/train.py',
        CONFIG,
        '--work-dir',
        tmp_path / 'work',
        *tiny_options(root),
        ok=False,
    )
    assert process.returncode == 1
    assert re.search(message, process.stdout)
    assert 'Traceback' not in process.stdout
    assert not (tmp_path / 'work').exists()


def test_a_pipeline_that_pads_is_named(root):
    cfg = config(
        root,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale_factor=1.0),
            dict(type='mmdet.Pad'),
            dict(type='PadNothing'),
        ],
    )
    cfg.model.type = 'mmsr4ir.SR4IR'
    (said,) = check(cfg, ('train',))
    assert said.severity == 'warning'
    assert "the pipeline of train_dataloader has ['Pad']: pixels that" in said.what
    cfg.model.type = 'FasterRCNN'
    assert check(cfg, ('train',)) == []


def test_a_metric_without_topk_is_no_problem():
    """Such as mmpretrain's MultiLabelMetric."""
    report = Report('val')
    cfg = dict(
        model=dict(type='mmsr4ir.SR4IR', task=dict(head=dict(num_classes=3))),
        val_evaluator=[dict(type='MultiLabelMetric', topk=None)],
        default_scope='mmdet',
    )
    check_evaluator(report, cfg, 'val', [], {})
    assert report.problems == []


def test_data_that_is_read_again_for_another_question_is_looked_at_again():
    """A test whose metric compares with no label asks less of the same data."""
    loader = dict(dataset=dict(type='CocoDataset', ann_file='a.json'))
    cfg = dict(
        val_dataloader=loader,
        test_dataloader=loader,
        val_evaluator=dict(type='SRQuality'),
        test_evaluator=dict(type='CocoMetric'),
    )
    assert [part.same for part in parts(cfg)] == [None, None]
    cfg['val_evaluator'] = cfg['test_evaluator']
    assert [part.same for part in parts(cfg)] == [None, 'val']
