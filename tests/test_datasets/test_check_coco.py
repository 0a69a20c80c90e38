"""Faults of COCO-style data, each found before a training; and what is none."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from data_checks import check, check_data, found
from data_checks import coco_config as config
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch.utils.data import IterableDataset

from mmsr4ir.datasets.checks.coco_entries import mask_problem
from mmsr4ir.utils.errors import DataError


@pytest.fixture
def root(coco_root, tmp_path):
    return shutil.copytree(coco_root, tmp_path / 'data')


def edit(root, change, name='train.json') -> dict:
    content = json.loads((root / name).read_text())
    change(content)
    (root / name).write_text(json.dumps(content))
    return content


@pytest.mark.parametrize(
    'part, change, message',
    [
        ('images', dict(id=None), r'images.0. has the id None, which must be a whole'),
        (
            'images',
            dict(width=None),
            'image 0 has the width None, which must be a number',
        ),
        (
            'images',
            dict(height=-1),
            'image 0 has the height -1, which must be a number ab',
        ),
        (
            'categories',
            dict(id=[1]),
            r'categories.0. has the id \[1\], which must be a wh',
        ),
        (
            'categories',
            dict(name='a'),
            r'has a category twice: .*Give each an id and a',
        ),
        (
            'annotations',
            dict(bbox=None),
            'annotation 1 has the bbox None, which must be f',
        ),
        (
            'annotations',
            dict(area=None),
            'annotation 1 has the area None, which must be a',
        ),
        (
            'annotations',
            dict(area=10**400),
            'annotation 1 has the area 1000.*be a finite',
        ),
        (
            'annotations',
            dict(id=5),
            r"annotation ids more than once \(\['5'\]\), which mm",
        ),
        ('annotations', dict(category_id=7), r'annotation \d+ has the category_id 7'),
        (
            'annotations',
            dict(image_id=77),
            'no annotation has the image_id of one of its',
        ),
        (
            'annotations',
            dict(iscrowd=1),
            'no object that counts: all 12 are crowds or ig',
        ),
        (
            'annotations',
            dict(ignore=1),
            'no object that counts: all 12 are crowds or ign',
        ),
        ('annotations', dict(iscrowd=None), 'annotation 1 has the iscrowd None, which'),
        ('annotations', dict(iscrowd='0'), "annotation 1 has the iscrowd '0', which m"),
        ('annotations', dict(ignore='0'), "annotation 1 has the ignore '0', which mus"),
        (
            'annotations',
            dict(area=0),
            r'has 12 annotations, and none of them is left \(such as annotation 1, wh',
        ),
        (
            'annotations',
            dict(bbox=[0, 0, 1, 0.5]),
            r'has only boxes with values from 0 to 1 \(12\): .* fractions of the image',
        ),
        *[
            (
                'annotations',
                dict(bbox=box),
                'annotation 1 has the bbox .* four finite nu',
            )
            for box in (
                [1, 2, float('nan'), 8],
                [1, 2, float('inf'), 8],
                [1, 2, None, 8],
                [1, 2, '12', 8],
                [1, 2, 3],
                [1, 2, 3, 4, 5],
                [True, 2, 3, 4],
            )
        ],
    ],
)
@pytest.mark.parametrize('whole', [False, True])
def test_entries_that_a_training_cannot_use(part, change, message, whole, root):
    edit(root, lambda content: [entry.update(change) for entry in content[part]])
    errors = [
        one for one in check(config(root), ('train',), whole) if one.severity == 'error'
    ]
    assert errors and re.search(message, str(errors[0]))
    assert str(root / 'train.json') in str(errors[0])


def test_an_image_id_of_two_images(root):
    """mmdet would show the one with the boxes of the other."""
    edit(root, lambda content: content['images'][1].update(id=0))
    severity, text = found(config(root))[0]
    assert severity == 'error'
    assert 'train.json: image id 0 stands there twice, for 0.png and 1.jpg' in text


def test_an_image_of_another_size_than_its_entry_says(root):
    edit(root, lambda content: content['images'][3].update(width=65))
    ((severity, text),) = found(config(root))
    assert severity == 'error' and text.startswith(
        f'{root}/train/3.png is annotated as 65 x 64 pixels, but is loaded as 48 x 64'
    )


def turned(path, orientation: int) -> None:
    with Image.open(path) as image:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.convert('RGB').save(path, exif=exif)


def test_boxes_on_the_stored_pixels_of_a_turned_image(root):
    turned(root / 'train/1.jpg', 6)  # stored as 48 x 64
    ((severity, text),) = found(config(root))
    assert severity == 'error' and 'train/1.jpg is annotated as 48 x 64' in text
    assert 'loaded as 64 x 48 (turned by its EXIF orientation)' in text
    for name in ('color_ignore_orientation', 'unchanged'):
        as_stored = [dict(type='LoadImageFromFile', color_type=name)]
        assert found(config(root, pipeline=as_stored)) == []

    def annotate_what_is_shown(content):
        content['images'][1].update(width=64, height=48)
        for one in content['annotations']:
            one['bbox'] = [1, 1, 20, 20]

    edit(root, annotate_what_is_shown)
    assert found(config(root)) == []
    turned(root / 'train/2.jpg', 3)  # nobody can tell
    ((severity, text),) = found(config(root))
    assert severity == 'warning' and 'train/2.jpg is turned by its EXIF orient' in text


def test_objects_that_mmdet_leaves_out_are_warned_of(root):
    boxes = [[4, 4, 0, 3], [50, 4, 24, 3], [4, 4, 0.5, 3], [4, 4, 8, 8]]

    def change(content):
        for one, box in zip(content['annotations'], boxes, strict=False):
            one['bbox'] = box
        content['annotations'][3]['area'] = 0
        content['annotations'][4]['image_id'] = 99

    edit(root, change)
    problems = found(config(root))
    assert [severity for severity, _ in problems] == ['warning'] * 5
    for (_, text), part in zip(
        problems,
        (
            'is empty',
            'reaches out of the image of 64 x 64',
            'less than a pixel',
            'has the area 0',
            'is for image 99, which is not listed',
        ),
        strict=True,
    ):
        assert part in text
    assert found(config(root), whole=True) == problems


def test_an_evaluation_needs_iscrowd(root):
    cfg = config(root)
    cfg.val_dataloader = cfg.train_dataloader
    cfg.val_evaluator = dict(type='CocoMetric', ann_file=f'{root}/train.json')
    edit(root, lambda content: [one.pop('iscrowd') for one in content['annotations']])
    assert found(cfg) == []  # a training takes it as 0
    ((severity, text),) = found(cfg, ('train', 'val'))
    assert severity == 'error' and text.startswith(
        f'{root}/train.json: annotation 1 and 11 others have no iscrowd'
    )
    cfg.val_evaluator.format_only = True
    assert found(cfg, ('train', 'val')) == []


@pytest.mark.parametrize(
    'key, fault',
    [(0, True), ('a', True), ('0', True), ('nan', True), ('7', False), (-1, False)],
)
def test_ids_of_objects_that_pycocotools_compares_with(key, fault, root):
    cfg = config(root)
    cfg.val_dataloader = cfg.train_dataloader
    cfg.val_evaluator = dict(type='CocoMetric', ann_file=f'{root}/train.json')
    edit(root, lambda content: content['annotations'][3].update(id=key))
    assert found(cfg) == []  # a training does not read them
    problems = found(cfg, ('train', 'val'))
    if fault:
        ((severity, text),) = problems
        assert severity == 'error' and 'prepare_coco.py --skip-broken' in text
        assert text.startswith(f'{root}/train.json: annotation {key} has an id that ')
    else:
        assert problems == []


def test_why_an_object_with_the_id_0_is_refused(root):
    """pycocotools takes it for none, so that perfect boxes have no perfect AP."""
    found = {}
    for first in (1, 0):
        content = json.loads((root / 'train.json').read_text())
        for i, one in enumerate(content['annotations'], first):
            one['id'] = i
        (root / f'{first}.json').write_text(json.dumps(content))
        truth = COCO(str(root / f'{first}.json'))
        keys = ('image_id', 'category_id', 'bbox')
        perfect = [
            {key: one[key] for key in keys} | dict(score=0.9)
            for one in content['annotations']
        ]
        evaluation = COCOeval(truth, truth.loadRes(perfect), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        found[first] = evaluation.stats[0]
    assert found[1] == pytest.approx(1) and found[0] < 0.95


RUNS = dict(counts='PP4', size=[64, 64])  # one run of 64 x 64


@pytest.mark.parametrize(
    'shape, fault',
    [
        (None, 'no mask'),
        ([], 'no mask'),
        ([[1, 1, 9, 9]], 'not three or more points'),
        ([[]], 'not three or more'),
        ([[1, 1, 9, 9, 3]], 'not three or more'),
        ([[1, 1, 9, 9, 3, 'a']], 'not three or more'),
        (7, 'not three or more'),
        (dict(RUNS, size=[64, 65]), 'another size'),
        (dict(size=[64, 64]), 'without count'),
        (dict(RUNS, counts=''), 'do not sum to the height x width of'),
        (dict(RUNS, counts='abc'), 'do not sum'),
        (dict(RUNS, counts='PPT'), 'do not sum'),
        (dict(RUNS, counts='\u0401'), 'do not sum'),
        (dict(RUNS, counts=[]), 'do not sum'),
        (dict(RUNS, counts=[5, 7]), 'do not sum'),
        (dict(RUNS, counts=[-1, 4097]), 'do not sum'),
        (dict(RUNS, counts=['a', 4096]), 'do not sum'),
        (dict(RUNS, counts=[96, 4000]), None),
        (dict(RUNS, counts=[96.0, 4000.0]), None),
        (RUNS, None),
        ([[1, 1, 9, 1, 9, 9], [1, 1, 9, 1, 9, float('nan')]], 'are not all numbers'),
        ([[1, 1, 9, 1, 9, 9], [1, 1, 9, 1, 9, 1e9]], 'beyond 10 times the size'),
        ([[1, 1, 9, 1, 9, -641]], 'beyond 10 times the size'),
        ([[1, 1, 9, 1, 9, 9], 7], 'are not all numbers'),
        ([[1, 1, 9, 1, 9, 9]], None),
        ([[1, 1, 9, 1, 9, 9], [1, 1]], None),
    ],
)
def test_masks_of_instances(shape, fault, root):
    cfg = config(root)
    edit(root, lambda content: content['annotations'][0].update(segmentation=shape))
    assert found(cfg) == []  # nobody asks for them
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_mask=True),
    ]
    problems = found(cfg)
    if fault:
        ((severity, text),) = problems
        assert severity == 'error' and fault in text
        assert text.startswith(f'{root}/train.json: annotation 1 has ')
    else:
        assert problems == []


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=12), st.binary(max_size=9))
def test_run_lengths_are_read_as_pycocotools_reads_them(runs, noise):
    height, width = sum(runs) + 1, 2
    runs = [*runs, height * width - sum(runs)]
    coded = mask.frPyObjects(dict(counts=runs, size=[height, width]), height, width)
    one = dict(segmentation=dict(counts=coded['counts'].decode(), size=[height, width]))
    assert mask_problem(one, dict(height=height, width=width)) is None
    assert mask_problem(one, dict(height=height + 1, width=width))
    one['segmentation']['size'] = [height, width + 1]
    assert 'do not sum' in mask_problem(one, dict(height=height, width=width + 1))
    one['segmentation']['counts'] = noise.decode('latin1')
    mask_problem(one, dict(height=height, width=width + 1))


def test_a_text_is_no_list_of_classes(root, tmp_path):
    with pytest.raises(DataError, match=r"classes='ship', a text.*\('ship', \)\)"):
        check_data(config(root, classes='ship'))
    names = tmp_path / 'classes.txt'
    names.write_text('green\nblue\n')
    check_data(config(root, classes=str(names)))


def test_a_test_without_labels(root):
    cfg = config(root)
    cfg.test_dataloader = cfg.train_dataloader
    cfg.test_evaluator = [
        dict(type='CocoMetric', ann_file=f'{root}/train.json'),
        dict(type='mmsr4ir.SRQuality'),
    ]
    edit(root, lambda content: content.pop('annotations'))
    with pytest.raises(DataError, match="has no list .'annotations'"):
        check_data(cfg, ('test',))
    cfg.test_evaluator[0].update(format_only=True, outfile_prefix='x')
    check_data(cfg, ('test',))
    (root / 'train/0.png').unlink()
    with pytest.raises(DataError, match='train/0.png is missing'):
        check_data(cfg, ('test',))
    with pytest.raises(DataError, match='has no list'):
        check_data(cfg, ('train',))


def test_panoptic_annotations(root):
    def change(content):
        for one in content['categories']:
            one['isthing'] = int(one['name'] == 'green')
        content['annotations'] = [
            dict(
                image_id=image['id'],
                file_name='x.png',
                segments_info=[
                    {
                        key: one[key]
                        for key in ('category_id', 'bbox', 'area', 'iscrowd')
                    }
                    | dict(id=one['category_id'])
                    for one in content['annotations']
                    if one['image_id'] == image['id']
                ],
            )
            for image in content['images']
        ]

    content = edit(root, change)
    cfg = config(root, num_classes=1)  # heads of things know those alone
    cfg.train_dataloader.dataset.type = 'CocoPanopticDataset'
    cfg.train_dataloader.dataset.metainfo = dict(
        classes=('green', 'blue'), thing_classes=('green',), stuff_classes=('blue',)
    )
    # Their masks are in images of their own, which LoadPanopticAnnotations reads.
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadAnnotations', with_mask=True)
    ]
    assert found(cfg) == []
    content['annotations'][0]['segments_info'][0]['bbox'] = [1, 2, None, 4]
    (root / 'train.json').write_text(json.dumps(content))
    ((severity, text),) = found(cfg)
    assert severity == 'error' and 'annotation 1 has the bbox [1, 2, None' in text


def test_lvis_annotations(root):
    def change(content):
        for image in content['images']:
            image['coco_url'] = 'http://images.cocodataset.org/train/' + image.pop(
                'file_name'
            )

    edit(root, change)
    cfg = config(root)
    cfg.train_dataloader.dataset.update(type='LVISV1Dataset', data_prefix=dict(img=''))
    assert found(cfg) == []
    (root / 'train/2.jpg').unlink()
    ((_, text),) = found(cfg)
    assert text.startswith(f'{root}/train/2.jpg is missing')


@pytest.mark.parametrize(
    'name, depth, message',
    [
        (
            'unchanged',
            16,
            r'0.png is loaded with values from 0 to 65535 \(uint16\), and '
            r"not 0 to 255.*set color_type='color'",
        ),
        ('unchanged', 4, r'0.png is loaded with 4 channels, and the networks take 3'),
        (
            'grayscale',
            8,
            r'train_dataloader loads images with 1 channel, and the networks take 3',
        ),
        ('unchanged', 8, None),
        ('color', 16, None),
        ('color', 4, None),
    ],
)
def test_images_that_are_loaded_beyond_255_or_not_in_three_channels(
    name, depth, message, root
):
    picture = np.zeros(
        (64, 64, 4 if depth == 4 else 3), np.uint16 if depth == 16 else np.uint8
    )
    picture[:9] = 65535 if depth == 16 else 255
    for i in range(6):
        (root / f'train/{i}.png').unlink(missing_ok=True)
        cv2.imwrite(str(root / f'train/{i}.png'), picture)

    def change(content):
        for i, image in enumerate(content['images']):
            image.update(file_name=f'{i}.png', width=64, height=64)

    edit(root, change)
    cfg = config(root, pipeline=[dict(type='LoadImageFromFile', color_type=name)])
    cfg.model.type = 'mmsr4ir.SR4IR'
    problems = found(cfg)
    if message:
        ((severity, text),) = problems
        assert severity == 'error' and re.search(message, text)
    else:
        assert problems == []


def test_gray_images_for_networks_of_one_channel(root):
    load = dict(type='LoadImageFromFile')
    cfg = config(root, pipeline=[load, dict(type='PhotoMetricDistortion')])
    cfg.model.update(type='mmsr4ir.SR4IR', sr=dict(in_channels=1))
    cfg.model.task.data_preprocessor = dict(mean=[99.0], std=[50.0])
    assert [text.partition(':')[0] for _, text in found(cfg)] == [
        'train_dataloader has PhotoMetricDistortion in its pipeline, which is for 3 '
        'channels; the networks take 1',
        'train_dataloader loads images with 3 channels, and the networks take 1',
    ]
    cfg.train_dataloader.dataset.pipeline = [dict(load, color_type='grayscale')]
    assert found(cfg) == []
    cfg.model.sr = {}  # one mean alone may be for any number of channels
    assert found(cfg) == []


def test_albu_that_cannot_be_built(root):
    albu = dict(type='mmdet.Albu', transforms=[dict(type='NoSuchTransform')])
    cfg = config(root, pipeline=[dict(type='LoadImageFromFile'), albu])
    ((severity, text),) = found(cfg)
    assert severity == 'error'
    assert 'Albu in the pipeline of train_dataloader cannot be built (' in text
    assert text.endswith('pip install --no-deps albumentations==1.3.1 qudida')


def test_a_data_set_without_a_length_or_a_class(root):
    class Endless(IterableDataset):
        pass

    for kind, message in (
        (Endless, 'has Endless, an IterableDataset, but the samplers need a length'),
        ('NoSuchDataset', "type 'NoSuchDataset', which is not reg"),
    ):
        cfg = config(root)
        cfg.train_dataloader.dataset = dict(type=kind)
        ((severity, text),) = found(cfg)
        assert severity == 'error' and message in text
