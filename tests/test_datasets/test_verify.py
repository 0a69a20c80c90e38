"""Reports of one split, against data made here."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures.bbox import HorizontalBoxes
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmsr4ir.datasets.checks.coco import CocoRule, check_coco
from mmsr4ir.datasets.checks.coco_entries import box_problem
from mmsr4ir.datasets.checks.images import Scanner
from mmsr4ir.datasets.checks.labels import check_labels, check_occurrence
from mmsr4ir.datasets.checks.maps import MapRule, check_maps
from mmsr4ir.datasets.checks.problem import Problem, Report, in_one_line
from mmsr4ir.utils.errors import DataError


def picture(path, size=(8, 6)) -> str:
    Image.new('RGB', size).save(path)
    return str(path)


def texts(report: Report, severity: str) -> list[tuple[str, str]]:
    return [(one.file, one.cause) for one in report.found(severity)]


def test_labels_are_counted_and_bad_ones_found(tmp_path):
    paths = [picture(tmp_path / f'{i}.png') for i in range(4)]
    report = Report('train', ['cat', 'dog', 'eel'])
    ticks = []
    check_labels(
        report,
        [
            (paths[0], 0),
            (paths[1], np.int64(1)),
            (paths[2], 3),
            (paths[3], -1),
            (paths[0], 0),
            (paths[1], 0),
            (str(tmp_path / 'no.png'), 1),
        ],
        Scanner(workers=2, start=lambda *_: lambda: ticks.append(1)),
    )
    assert len(ticks) == report.as_dict()['images'] == 7
    assert texts(report, 'error') == [
        (paths[2], 'has the label 3, but the classes are 0 to 2'),
        (paths[3], 'has the label -1, but the classes are 0 to 2'),
        (str(tmp_path / 'no.png'), 'is missing'),
    ]
    assert texts(report, 'warning') == [
        (paths[1], 'is listed twice, with different annotations')
    ]
    assert texts(report, 'note') == [(paths[0], 'is listed more than once')]
    assert report.amounts == dict(cat=3, dog=1)  # not the unreadable one
    assert {kind: len(some) for kind, some in report.kinds.items()} == dict(
        RGB=6, unreadable=1
    )
    check_occurrence(report, 'error')
    assert texts(report, 'error')[-1] == ('train', "has no images of class 'eel'")
    assert [line.split() for line in report.lines()] == [
        ['class', 'images'],
        ['cat', '3'],
        ['dog', '1'],
        ['eel', '0'],
        f'note: {paths[0]} is listed more than once'.split(),
    ]


def test_several_labels_and_images_in_memory():
    report = Report('train')
    check_labels(
        report, [(None, [0, 10]), (None, 10), (None, [])], Scanner(whole=False)
    )
    assert report.amounts == {'0': 1, '10': 2} and not report.problems
    assert list(report.as_dict()['classes']) == ['0', '10']


def test_an_empty_class_folder_is_named(tmp_path):
    (tmp_path / 'eel').mkdir()
    for severity, of_folder in (('note', 'warning'), ('error', 'error')):
        report = Report('val', ['cat', 'eel'])
        check_occurrence(report, severity, folder=str(tmp_path))
        of_class = ('val', "has no images of class 'cat'")
        assert of_class in texts(report, severity)
        said = (str(tmp_path / 'eel'), 'is a class folder without an image')
        assert said in texts(report, of_folder) and len(report.problems) == 2


def maps(tmp_path, values, classes=('a', 'b', 'c'), size=None, **rule) -> Report:
    values = np.array(values, np.uint8)
    image = picture(tmp_path / 'i.png', size or values.shape[::-1])
    Image.fromarray(values).save(tmp_path / 'm.png')
    report = Report('train', classes)
    check_maps(report, [(image, str(tmp_path / 'm.png'))], MapRule(**rule), Scanner())
    return report


def test_maps_are_counted(tmp_path):
    report = maps(tmp_path, [[0, 0, 2], [255, 0, 2]])
    assert report.amounts == dict(a=3, c=2) and report.images_of == dict(a=1, c=1)
    assert not report.problems
    assert report.as_dict()['classes']['c'] == dict(images=1, pixels=2)
    assert report.lines()[1].split() == ['a', '1', '3']


def test_map_values_out_of_range(tmp_path):
    report = maps(tmp_path, [[0, 3, 3], [255, 0, 2]])
    assert texts(report, 'error') == [
        (
            str(tmp_path / 'm.png'),
            'has the labels 3 (2 pixels), but the classes are 0 to 2 and 255 is '
            'ignored',
        )
    ]
    assert not maps(tmp_path, [[3, 0]], ignored=3).problems
    assert '255 (1' in texts(maps(tmp_path, [[255, 0]], ignored=3), 'error')[0][1]


def test_a_map_without_a_class_is_noted(tmp_path):
    report = maps(tmp_path, [[255, 255]])
    assert texts(report, 'note') == [(str(tmp_path / 'm.png'), 'has no class at all')]


@settings(deadline=None)
@given(
    values=st.lists(st.integers(0, 255), min_size=2, max_size=6),
    reduce=st.booleans(),
    classes=st.integers(1, 6),
    own=st.booleans(),
)
def test_labels_of_maps_are_those_of_mmseg(
    tmp_path_factory, values, reduce, classes, own
):
    folder = tmp_path_factory.getbasetemp()
    label_map = {0: 255, 1: 0} if own else None
    report = maps(
        folder,
        [values, values],
        [f'c{i}' for i in range(classes)],
        reduce_zero_label=reduce,
        label_map=label_map,
    )
    loaded = LoadAnnotations()(
        dict(
            seg_map_path=str(folder / 'm.png'),
            reduce_zero_label=reduce,
            label_map=label_map,
            seg_fields=[],
        )
    )['gt_seg_map'].ravel()
    expected = {
        f'c{i}': int((loaded == i).sum()) for i in range(classes) if (loaded == i).any()
    }
    assert report.amounts == expected
    bad = ((loaded >= classes) & (loaded != 255)).any()
    unlearnable = set(values) == {0, 255} and set(loaded) == {0, 255}
    assert bool(report.found('error')) == (bad or unlearnable)


@pytest.mark.parametrize(
    'box, reason',
    [
        ([0, 0, 8, 6], None),
        ([-0.4, 0, 8.8, 6], None),
        ([1, 1, 8, 5], 'reaches out'),
        ([-1, 0, 4, 4], 'reaches out'),
        ([0, 4, 4, 3], 'reaches out'),
        ([0, 0, 0, 4], 'is empty'),
        ([4, 4, -2, 2], 'is empty'),
        ([4, 4, 0.5, 2], 'less than a pixel'),
    ],
)
def test_boxes(box, reason):
    found = box_problem(box, (8, 6))
    assert reason in found if reason else found is None


finite = st.floats(-30, 30, width=32)


@settings(deadline=None)
@given(box=st.tuples(finite, finite, st.floats(1, 30), st.floats(1, 30)))
def test_reaching_out_is_what_mmdet_would_clip(box):
    x, y, width, height = box
    boxes = HorizontalBoxes([[x, y, x + width, y + height]])
    before = boxes.tensor.clone()
    boxes.clip_((20, 25))  # height, width
    change = float((boxes.tensor - before).abs().max())
    if abs(change - 0.5) > 1e-4:
        assert (box_problem(box, (25, 20)) is not None) == (change > 0.5)


def coco(**changes) -> dict:
    return dict(
        dict(
            images=[dict(id=1, file_name='1.png', width=8, height=6)],
            annotations=[
                dict(
                    id=1,
                    image_id=1,
                    category_id=7,
                    bbox=[0, 0, 2, 2],
                    area=4,
                    iscrowd=0,
                )
            ],
            categories=[dict(id=7, name='cat')],
        ),
        **changes,
    )


def annotation(**changes) -> list[dict]:
    return [dict(coco()['annotations'][0], **changes)]


def look(tmp_path, content: dict, classes=None) -> tuple[Report, dict]:
    report = Report('train', classes)
    clean = check_coco(report, 'a.json', content, str(tmp_path), CocoRule(), Scanner())
    return report, clean


@pytest.mark.parametrize(
    'content, reason',
    [
        (
            coco(annotations=annotation() + annotation(id=2, image_id=2)),
            'for image 2, whi',
        ),
        (
            coco(annotations=annotation(image_id=[2])),
            'has the image_id [2], which must be',
        ),
        (
            coco(annotations=annotation(category_id=1)),
            'has the category_id 1, which is ',
        ),
        (coco(annotations=annotation(area=0)), 'has the area 0'),
        (
            coco(annotations=[dict(id=1, image_id=1, category_id=7, area=1)]),
            'has no bbox',
        ),
        (coco(annotations=annotation(bbox=[9, 9, 2, 2])), 'reaches out'),
        (coco(annotations=[1]), 'is no JSON object'),
        (coco(images=coco()['images'] + [dict(id=2)]), 'has no file_name'),
        (coco(images=coco()['images'] + [3]), 'is no JSON object'),
        (coco(images=coco()['images'] + coco()['images']), 'stands there twice'),
    ],
)
def test_bad_coco_and_the_set_without_it(tmp_path, content, reason):
    picture(tmp_path / '1.png')
    report, clean = look(tmp_path, content)
    assert reason in ' '.join(map(str, report.found('error', 'warning')))
    assert len(clean['images']) == 1
    again, _ = look(tmp_path, clean)
    assert {one.cause for one in again.found('error', 'warning')} <= {
        'has no annotation, so there is nothing to learn from or to compare with in '
    }


def test_good_coco_and_other_classes(tmp_path):
    picture(tmp_path / '1.png')
    report, clean = look(tmp_path, coco())
    assert clean == coco() and not report.problems and report.classes == ['cat']
    assert report.amounts == dict(cat=1)
    without = coco(annotations=annotation())
    del without['annotations'][0]['iscrowd']
    assert look(tmp_path, without)[1] == coco()
    report, _ = look(tmp_path, coco(), ['dog'])
    assert "['dog'] only in the config, ['cat'] only in" in str(report.problems[0])


def test_crowds_are_not_counted(tmp_path):
    picture(tmp_path / '1.png')
    report, _ = look(
        tmp_path, coco(annotations=annotation() + annotation(id=2, iscrowd=1))
    )
    assert report.amounts == dict(cat=1)
    assert texts(report, 'note') == [
        (str(tmp_path / '1.png'), 'has crowds, which no training counts')
    ]


@pytest.mark.parametrize(
    'categories',
    [
        [dict(id=1)],
        [dict(id=1, name='a'), dict(id=1, name='b')],
        ['a'],
        [dict(id=1, name='a'), dict(id=2, name='a')],
    ],
)
def test_bad_categories(categories, tmp_path):
    with pytest.raises(DataError, match=r'a.json.*(no (name|JSON)|twice)'):
        look(tmp_path, coco(categories=categories))


def test_problems_in_one_line():
    first = Problem('a.png', 'is missing', 'fetch it')
    assert str(first) == in_one_line([first]) == 'a.png is missing: fetch it'
    other = Problem('x.json', 'has no bbox', 'add one', 'annotation 7')
    assert other.what == 'x.json: annotation 7 has no bbox'
    assert in_one_line([first, other, first]) == (
        '3 problems in the data: a.png is missing; a.png is missing ... '
        '(tools/misc/verify_dataset.py lists 1 more). Fetch it'
    )
