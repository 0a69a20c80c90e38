"""Reports of one split, against data made here."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures.bbox import HorizontalBoxes
from mmseg.datasets.transforms import LoadAnnotations
from PIL import Image

from mmsr4ir.datasets.checks.before_run import DataError
from mmsr4ir.datasets.checks.coco import check_coco
from mmsr4ir.datasets.checks.verify import (
    Report,
    box_problem,
    check_boxes,
    check_labels,
    check_maps,
    check_occurrence,
)


def picture(path, size=(8, 6)) -> str:
    Image.new('RGB', size).save(path)
    return str(path)


def test_labels_are_counted_and_bad_ones_found(tmp_path):
    paths = [picture(tmp_path / f'{i}.png') for i in range(4)]
    report = Report('train', 'images', ['cat', 'dog', 'eel'])
    ticks = []
    check_labels(report, [(paths[0], 0), (paths[1], np.int64(1)), (paths[2], 3),
                          (paths[3], -1), (paths[0], 0), (paths[1], 0),
                          (str(tmp_path / 'no.png'), 1)], 2, lambda: ticks.append(1))
    assert len(ticks) == report.images == 7
    assert report.problems == [
        (paths[2], 'label 3 is out of range: 0 to 2'),
        (paths[3], 'label -1 is out of range: 0 to 2'),
        (paths[1], 'is listed twice, with different annotations'),
        (str(tmp_path / 'no.png'), 'is missing')]
    assert report.notes == {'images are listed more than once': (1, paths[0])}
    assert report.amounts == dict(cat=3, dog=2) and report.kinds == dict(RGB=6)
    check_occurrence(report, needed=True)
    assert report.problems[-1] == ('train', "class 'eel' never occurs")
    lines = report.table().splitlines()
    assert [line.split() for line in lines] == [
        ['class', 'images'], ['cat', '3'], ['dog', '2'], ['eel', '0']]


def test_several_labels_and_images_in_memory():
    report = Report('train', 'images')
    check_labels(report, [(None, [0, 10]), (None, 10), (None, [])], 1)
    assert report.amounts == {'0': 1, '10': 2} and not report.problems
    assert list(report.as_dict()['classes']) == ['0', '10']


def test_an_empty_class_folder_is_named(tmp_path):
    (tmp_path / 'eel').mkdir()
    report = Report('val', 'images', ['cat', 'eel'])
    check_occurrence(report, needed=False, folder=str(tmp_path))
    assert report.problems == [
        (str(tmp_path / 'eel'), 'is a class folder without an image')]
    assert report.notes == {"class 'cat' never occurs": (1, 'val')}


def maps(tmp_path, values, classes=('a', 'b', 'c'), size=None, **options) -> Report:
    values = np.array(values, np.uint8)
    image = picture(tmp_path / 'i.png', size or values.shape[::-1])
    Image.fromarray(values).save(tmp_path / 'm.png')
    report = Report('train', 'pixels', classes)
    check_maps(report, [(image, str(tmp_path / 'm.png'))], 1, **options)
    return report


def test_maps_are_counted(tmp_path):
    report = maps(tmp_path, [[0, 0, 2], [255, 0, 2]])
    assert report.amounts == dict(a=3, c=2) and report.images_of == dict(a=1, c=1)
    assert not report.problems and not report.notes
    assert report.as_dict()['classes']['c'] == dict(images=1, pixels=2)
    assert report.table().splitlines()[1].split() == ['a', '1', '3']


def test_map_values_out_of_range(tmp_path):
    report = maps(tmp_path, [[0, 3, 3], [255, 0, 2]])
    (path, reason), = report.problems
    assert path == str(tmp_path / 'm.png')
    assert reason == 'value 3 (2 pixels) is out of range: 0 to 2, or 255 for none'
    assert not maps(tmp_path, [[3, 0]], ignore_index=3).problems
    assert 'value 255' in maps(tmp_path, [[255, 0]], ignore_index=3).problems[0][1]


def test_a_map_of_another_size(tmp_path):
    report = maps(tmp_path, [[0, 1, 2]], size=(3, 2))
    assert report.problems == [
        (str(tmp_path / 'm.png'), 'is 3 x 1 pixels, but its image has 3 x 2')]


def test_a_map_without_a_class_is_noted(tmp_path):
    report = maps(tmp_path, [[255, 255]])
    assert list(report.notes) == ['maps have no class at all']


@settings(deadline=None)
@given(values=st.lists(st.integers(0, 255), min_size=2, max_size=6),
       reduce=st.booleans(), classes=st.integers(1, 6), own=st.booleans())
def test_labels_of_maps_are_those_of_mmseg(tmp_path_factory, values, reduce, classes,
                                           own):
    folder = tmp_path_factory.getbasetemp()
    label_map = {0: 255, 1: 0} if own else None
    report = maps(folder, [values, values], [f'c{i}' for i in range(classes)],
                  reduce_zero_label=reduce, label_map=label_map)
    loaded = LoadAnnotations()(dict(
        seg_map_path=str(folder / 'm.png'), reduce_zero_label=reduce,
        label_map=label_map, seg_fields=[]))['gt_seg_map'].ravel()
    expected = {f'c{i}': int((loaded == i).sum()) for i in range(classes)
                if (loaded == i).any()}
    assert report.amounts == expected
    bad = ((loaded >= classes) & (loaded != 255)).any()
    assert bool(report.problems) == bad


@pytest.mark.parametrize('box, reason', [
    ([0, 0, 8, 6], None),
    ([-0.4, 0, 8.8, 6], None),
    ([1, 1, 8, 5], 'reaches out'),
    ([-1, 0, 4, 4], 'reaches out'),
    ([0, 4, 4, 3], 'reaches out'),
    ([0, 0, 0, 4], 'is empty'),
    ([4, 4, -2, 2], 'is empty'),
    ([4, 4, 0.5, 2], 'less than a pixel'),
    ([4, 4, 2], 'four finite numbers'),
    ([4, 4, 2, float('nan')], 'four finite numbers'),
    ([4, 4, 2, '2'], 'four finite numbers'),
    (None, 'four finite numbers'),
])
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


def test_annotated_size_and_usability(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = str(tmp_path / 'turned.jpg')
    Image.new('RGB', (8, 6)).save(turned, exif=exif)
    good = picture(tmp_path / 'good.png')
    report = Report('train', 'objects', ['a', 'b'])
    usable = check_boxes(report, [
        (good, (8, 6), [('a', [0, 0, 4, 4]), ('b', [0, 0, 0, 0]),
                        (None, [0, 0, 4, 4])]),
        (turned, (8, 6), [('a', [0, 0, 2, 2])]),
        (str(tmp_path / 'no.png'), (8, 6), [])], 2)
    assert usable == [(True, [True, False, True]), (False, [True]), (False, [])]
    assert report.problems == [
        (good, "box [0, 0, 0, 0] of 'b' is empty"),
        (turned, 'is annotated as 8 x 6 pixels, but is loaded as 6 x 8 (turned by its '
         'EXIF orientation)'),
        (str(tmp_path / 'no.png'), 'is missing')]
    assert report.amounts == dict(a=2)
    assert report.notes['images have no object'][0] == 1


def coco(**changes) -> dict:
    return dict(dict(
        images=[dict(id=1, file_name='1.png', width=8, height=6)],
        annotations=[dict(id=1, image_id=1, category_id=7, bbox=[0, 0, 2, 2], area=4)],
        categories=[dict(id=7, name='cat')]), **changes)


def annotation(**changes) -> list[dict]:
    return [dict(coco()['annotations'][0], **changes)]


@pytest.mark.parametrize('content, reason', [
    (coco(annotations=annotation(image_id=2)), 'image 2, which is not listed'),
    (coco(annotations=annotation(image_id=[2])), 'which is not listed'),
    (coco(annotations=annotation(category_id=1)), 'category 1, which is not listed'),
    (coco(annotations=annotation(area=0)), 'has the area 0'),
    (coco(annotations=[dict(id=1, image_id=1, category_id=7, area=1)]), 'has no bbox'),
    (coco(annotations=annotation(bbox=[9, 9, 2, 2])), 'reaches out'),
    (coco(annotations=annotation() * 2), 'annotation ids'),
    (coco(annotations=annotation(id=None)), 'annotation ids'),
    (coco(annotations=[1]), 'is no JSON object'),
    (coco(images=coco()['images'] * 2), 'image id 1 stands there twice'),
    (coco(images=coco()['images'] + [dict(id=2)]), 'has no id, file_name, width'),
    (coco(images=coco()['images'] + [3]), 'has no id, file_name, width'),
])
def test_bad_coco(tmp_path, content, reason):
    picture(tmp_path / '1.png')
    report = Report('train', 'objects')
    if content['images'] == coco()['images'] * 2:
        content['images'] = [dict(one) for one in content['images']]
    clean = check_coco(report, content, str(tmp_path), 1)
    assert [text for _, text in report.problems if reason in text]
    assert len(clean['images']) == 1
    if 'ids' not in reason and 'image' not in content['annotations']:
        again = Report('train', 'objects')
        check_coco(again, clean, str(tmp_path), 1)
        assert not again.problems


def test_good_coco_and_other_classes(tmp_path):
    picture(tmp_path / '1.png')
    report = Report('train', 'objects')
    assert check_coco(report, coco(), str(tmp_path), 1) == coco()
    assert not report.problems and report.classes == ['cat']
    assert report.amounts == dict(cat=1)
    report = Report('train', 'objects', ['dog'])
    check_coco(report, coco(), str(tmp_path), 1)
    assert [text for _, text in report.problems] == [
        "class 'dog' of the config is no category",
        "category 'cat' is no class of the config: mmdet leaves its objects out"]


def test_crowds_are_not_counted(tmp_path):
    picture(tmp_path / '1.png')
    report = Report('train', 'objects')
    check_coco(report, coco(annotations=annotation(iscrowd=1)), str(tmp_path), 1)
    assert not report.amounts and not report.problems
    assert '1 objects are crowds, which no training counts' in report.notes


@pytest.mark.parametrize('categories', [
    [dict(id=1)], [dict(id=1, name='a'), dict(id=1, name='b')], ['a'],
    [dict(id=1, name='a'), dict(id=2, name='a')]])
def test_bad_categories(categories):
    with pytest.raises(DataError, match='need an id and a name each, and none twice'):
        check_coco(Report('train', 'objects'), coco(categories=categories), '', 1)
