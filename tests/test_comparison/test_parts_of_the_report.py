"""What stands beside the table: parts of the metric, trade-off, images that flip."""

import json

import cv2
import pytest
from mmengine.config import Config

from mmsr4ir.comparison import flips, runner
from mmsr4ir.comparison.breakdown import breakdown
from mmsr4ir.comparison.methods import Part
from mmsr4ir.comparison.pictures import pareto_front, trade_off
from mmsr4ir.comparison.testing import PANELS

# Stands in for a test: a picture for each index in the config, in the method's colour.
TEST = """
import sys
from pathlib import Path
import cv2, numpy as np
from mmengine.config import Config
cfg = Config.fromfile(sys.argv[1])
out = Path(sys.argv[sys.argv.index('--show-dir') + 1])
out.mkdir(parents=True)
indices = cfg.test_dataloader.dataset.indices
assert cfg.default_hooks.picture_grid.max_images == len(indices)
picture = np.full((8, 24, 3), len(cfg.model.name), np.uint8)
for index in indices:
    cv2.imwrite(str(out / f'{index}.png'), picture)
"""


def record(labels, classes=('a', 'b', 'c')) -> dict:
    """The classes in turn are true; these are what a method said."""
    return dict(
        kind='classification',
        classes=list(classes),
        images=[
            dict(name=f'{i}.jpg', label=label, true_label=i % 3, score=0.5)
            for i, label in enumerate(labels)
        ],
    )


def row(title: str, **run) -> dict:
    return dict(title=title, runs={0: run})


def test_the_metric_by_the_size_of_objects():
    methods = {
        name: row(
            name.upper(),
            metrics={
                'coco/bbox_mAP_s': small,
                'coco/bbox_mAP_m': -1,
                'coco/bbox_mAP_l': 0.5,
            },
        )
        for name, small in (('l2t', 0.125), ('sr4ir', 0.25))
    }
    for metric in ('coco/bbox_mAP', 'coco/bbox_mAP_50'):
        text = '\n'.join(breakdown(methods, {}, metric))
        assert '| L2T | 0.125 | 0.500 |' in text and '| SR4IR | 0.250 | 0.500 |' in text
        assert 'medium' not in text  # no object has that size


def test_the_metric_by_the_difficulty_of_classes():
    methods = dict(l2t=row('L→T'), sr4ir=row('SR4IR'))
    records = {
        ('l2t', 0): record([0, 1, 0, 0, 0, 0]),  # a 100 %, b 50 %, c 0 %
        ('sr4ir', 0): record([1, 1, 2, 0, 1, 0]),  # a 50 %, b 100 %, c 50 %
    }
    text = '\n'.join(breakdown(methods, records, 'accuracy/top1'))
    # Both together have 75, 75 and 25 %.
    assert 'for all methods on LR images together (1, 1, 1 classes)' in text
    assert '| L→T | 0.000 | 100.000 | 50.000 |' in text
    assert '| SR4IR | 50.000 | 50.000 | 100.000 |' in text
    assert breakdown(methods, {}, 'accuracy/top1') == []


def test_the_methods_that_no_other_beats():
    points = dict(slow=(9.0, 5.0), fast=(1.0, 2.0), worse=(2.0, 1.0), best=(4.0, 5.0))
    assert pareto_front(points) == ['fast', 'best']
    report = dict(
        metric='mIoU',
        methods={
            'h2t': dict(title='H→T', task=dict(mean=9.0)),
            'l2t': dict(title='L→T', task=dict(mean=2.0)),
            'sr4ir': dict(title='SR4IR', task=dict(mean=5.0)),
        },
        inference={'sr4ir': dict(sr_ms=3.0, task_ms=1.0)},
    )
    assert trade_off(report) is None  # one has a time
    report['inference']['l2t'] = dict(sr_ms=0.0, task_ms=1.0)
    assert trade_off(report).startswith(b'\x89PNG')


@pytest.mark.parametrize('own, first', [(-4, -4), ([5, 6, 7, 8], 5)])
def test_images_that_flip_are_drawn_once(tmp_path, monkeypatch, own, first):
    """Also in a test on a part of the images, whose file has others before them."""
    (tmp_path / 'test.py').write_text(TEST)
    monkeypatch.setattr(runner, 'COMMANDS', dict(test=[str(tmp_path / 'test.py')]))
    parts = {}
    for method, labels in (('l2t', [0, 0, 2, 1]), ('sr4ir', [0, 1, 0, 0])):
        cfg = Config(
            dict(
                model=dict(name=method),
                test_dataloader=dict(dataset=dict(type='x', indices=own)),
                default_hooks=dict(picture_grid=dict(type='y')),
            )
        )
        part = parts[method] = Part(method, 0, tmp_path / method, cfg)
        part.folder.mkdir()
        (part.folder / 'images.json').write_text(json.dumps(record(labels)))
        (part.folder / 'trained.json').write_text(json.dumps(dict(run=method)))
    for _ in range(2):
        lines = flips.draw_flips(parts['l2t'], parts['sr4ir'], tmp_path, 4)
        assert 'right or better with SR4IR than with L→T: 1.jpg, 3.jpg.' in lines[0]
        assert 'wrong or worse with SR4IR than with L→T: 2.jpg.' in lines[1]
        monkeypatch.setattr(runner, 'COMMANDS', None)  # the second time nothing is run
    assert {path.name for path in (tmp_path / 'flips/gained').iterdir()} == {
        f'{first + 1}.png',
        f'{first + 3}.png',
    }
    picture = cv2.imread(str(tmp_path / f'flips/lost/{first + 2}.png'))
    assert picture[2, -24 // len(PANELS) - 1, 0] == len('l2t')  # the first row
    assert len(picture) == 2 * 8


@pytest.mark.parametrize('broken', ['no record', 'other images', 'test fails'])
def test_what_is_not_drawn_is_said(tmp_path, monkeypatch, broken):
    (tmp_path / 'test.py').write_text("import sys; sys.exit('error: out of paint')")
    monkeypatch.setattr(runner, 'COMMANDS', dict(test=[str(tmp_path / 'test.py')]))
    parts = []
    # The data of the second test have another image.
    more = [0] * (broken == 'other images')
    for method, labels in (('l2t', [0, 0, 2]), ('sr4ir', [0, 1, 2, *more])):
        cfg = Config(
            dict(
                model=dict(name=method),
                test_dataloader=dict(dataset=dict(type='x')),
                default_hooks=dict(picture_grid=dict(type='y')),
            )
        )
        parts.append(Part(method, 0, tmp_path / method, cfg))
        parts[-1].folder.mkdir()
        if broken != 'no record':
            (parts[-1].folder / 'images.json').write_text(json.dumps(record(labels)))
    lines = flips.draw_flips(*parts, tmp_path, 4)
    if broken != 'test fails':
        assert lines == [
            'No images are compared: the tests kept no records of the same images.'
        ]
    else:
        assert lines[0].startswith('Not drawn (error: out of paint): 1.jpg, right')
        assert lines[1] == 'No image is wrong or worse with SR4IR than with L→T.'
        (tmp_path / 'test.py').write_text(TEST)  # fixed: the next start draws them
        lines = flips.draw_flips(*parts, tmp_path, 4)
        assert lines[0].startswith('`flips/gained`: right or better')
