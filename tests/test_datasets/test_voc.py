"""The VOC converter, on small folders made here, by its functions and as a user."""

import json
import sys
from pathlib import Path

import mmcv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from mmsr4ir.datasets import voc
from mmsr4ir.utils.errors import DataError

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/voc2coco.py'


def make_xml(
    path: Path, *objects: tuple, size: tuple | None = (40, 30), filename: str = ''
) -> Path:
    """Write an annotation; an object is (name, corners) or (name, corners, 1)."""
    text = f'<annotation><filename>{filename or path.stem + ".jpg"}</filename>'
    if size:
        text += '<size><width>{}</width><height>{}</height></size>'.format(*size)
    for name, corners, *difficult in objects:
        box = ''.join(
            f'<{key}>{value}</{key}>'
            for key, value in zip(
                ('xmin', 'ymin', 'xmax', 'ymax'), corners, strict=True
            )
        )
        text += (
            f'<object><name>{name}</name><difficult>{sum(difficult)}</difficult>'
            f'<bndbox>{box}</bndbox></object>'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + '</annotation>')
    return path


def make_image(path: Path, size: tuple = (40, 30), **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size).save(path, **options)
    return path


def make_pair(root: Path, name: str, *objects: tuple) -> None:
    make_image(root / 'JPEGImages' / f'{name}.jpg')
    make_xml(root / 'Annotations' / f'{name}.xml', *objects)


@pytest.fixture
def devkit(tmp_path) -> Path:
    """Like VOCdevkit/VOC2012, with three images."""
    root = tmp_path / 'VOC2012'
    make_pair(root, '2008_000001', ('dog', (1, 1, 40, 30)), ('cat', (5, 6, 5, 6), 1))
    make_pair(root, '2008_000002', ('cat', (11, 6, 20, 25)))
    make_pair(root, 'two words 1', ('dog', (2, 2, 3, 3)))
    lists = root / 'ImageSets/Main'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('2008_000001\n\n2008_000002\n2008_000001\n')
    (lists / 'val.txt').write_text('two words 1\n'.replace(' 1', ' 1  1'))
    (lists / 'cat_train.txt').write_text('2008_000001  0\n2008_000002  1\n')
    return root


@pytest.fixture
def convert(run_tool):
    def run(*arguments, ok: bool = True) -> str:
        process = run_tool(sys.executable, TOOL, *arguments, ok=ok)
        if not ok:
            assert process.returncode == 1, process.stdout
            assert 'error:' in process.stdout and 'Traceback' not in process.stdout
        return process.stdout

    return run


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def convert_all(root: Path, *names: str, **options) -> tuple[dict, 'voc.Converter']:
    files = voc.find_splits(root)['all']
    converter = voc.Converter(root, voc.read_classes(names or None, files), **options)
    return converter.convert(files), converter


def test_help(convert):
    shown = convert('--help')
    assert 'iscrowd=1' in shown and 'xmax - xmin + 1' in shown


def test_a_devkit(devkit, convert):
    shown = convert(devkit)
    out = devkit / 'annotations'
    assert sorted(path.name for path in out.iterdir()) == ['train.json', 'val.json']
    assert "classes = ('cat', 'dog')" in shown
    # The names of images have their folder.
    assert f"train_ann, train_images = '{out}/train.json', '{devkit}/'" in shown
    assert f"val_ann, val_images = '{out}/val.json', '{devkit}/'" in shown
    assert f'{out / "train.json"}: 2 images, 3 objects' in shown
    train = read(out / 'train.json')
    assert train['categories'] == [
        dict(id=1, name='cat', supercategory='none'),
        dict(id=2, name='dog', supercategory='none'),
    ]
    assert train['images'][0] == dict(
        id=1, file_name='JPEGImages/2008_000001.jpg', width=40, height=30
    )
    assert train['annotations'] == [
        dict(
            id=1, image_id=1, category_id=2, bbox=[0, 0, 40, 30], area=1200, iscrowd=0
        ),
        dict(id=2, image_id=1, category_id=1, bbox=[4, 5, 1, 1], area=1, iscrowd=1),
        dict(
            id=3, image_id=2, category_id=1, bbox=[10, 5, 10, 20], area=200, iscrowd=0
        ),
    ]
    coco = COCO(str(out / 'val.json'))
    assert [image['file_name'] for image in coco.dataset['images']] == [
        'JPEGImages/two words 1.jpg'
    ]
    assert (devkit / coco.imgs[1]['file_name']).is_file()


def test_a_name_that_ends_as_a_flag_does(devkit):
    for name in ('cat', 'cat 0', 'cat 1'):
        make_pair(devkit, name, ('cat', (1, 1, 2, 2)))
    lists = devkit / 'ImageSets/Main'
    (lists / 'train.txt').write_text('cat\ncat 0\n')
    (lists / 'val.txt').write_text('cat 1  -1\ncat -1\n')  # a name with a flag, too
    splits = voc.find_splits(devkit)
    assert {name: [path.stem for path in files] for name, files in splits.items()} == {
        'train': ['cat', 'cat 0'],
        'val': ['cat 1', 'cat'],
    }
    (devkit / 'Annotations/cat 0.xml').unlink()
    with pytest.raises(DataError, match="split 'train' lists .*cat.xml 2 times"):
        voc.find_splits(devkit)


def test_one_split_to_one_file(devkit, convert, tmp_path):
    names = tmp_path / 'names.txt'
    names.write_text('dog\n\ncat\n')
    out = tmp_path / 'new' / 'own.json'
    for option, crowds in ((), [0, 0, 1]), (('--keep-difficult',), [0, 0, 0]):
        convert(
            devkit, '--split', 'cat_train', '--out', out, '--classes', names, *option
        )
        made = read(out)
        assert [c['name'] for c in made['categories']] == ['dog', 'cat']
        assert sorted(a['iscrowd'] for a in made['annotations']) == crowds
        assert [path.name for path in out.parent.iterdir()] == ['own.json']


def test_two_splits_to_one_file_are_refused(devkit, convert, tmp_path):
    assert 'one --split' in convert(devkit, '--out', tmp_path / 'own.json', ok=False)
    assert not (tmp_path / 'own.json').exists()


def test_split_folders(tmp_path):
    for split, xml, images in (('train', '', ''), ('valid', 'Annotations', 'images')):
        for i in range(2):
            make_xml(tmp_path / split / xml / f'{split}{i}.xml', ('a', (1, 1, 2, 2)))
            make_image(tmp_path / split / images / f'{split}{i}.PNG')
    splits = voc.find_splits(tmp_path)
    assert list(splits) == ['train', 'valid']
    converter = voc.Converter(tmp_path, ['a'])
    names = [
        image['file_name']
        for files in splits.values()
        for image in converter.convert(files)['images']
    ]
    assert names == [
        'train/train0.PNG',
        'train/train1.PNG',
        'valid/images/valid0.PNG',
        'valid/images/valid1.PNG',
    ]


def test_other_folders(tmp_path, convert):
    make_xml(tmp_path / 'labels/x.xml', ('a', (1, 1, 2, 2)))
    make_image(tmp_path / 'photos/x.png')
    convert(tmp_path, '--ann-dir', 'labels', '--image-dir', 'photos')
    made = read(tmp_path / 'annotations/all.json')
    assert made['images'][0]['file_name'] == 'photos/x.png'


def test_the_files_own_name_counts_more_than_a_stale_filename(tmp_path):
    for name in ('a', 'b'):
        make_image(tmp_path / f'{name}.jpg')
        make_xml(tmp_path / f'{name}.xml', ('c', (1, 1, 2, 2)), filename='a.jpg')
    made, _ = convert_all(tmp_path)
    assert [i['file_name'] for i in made['images']] == ['a.jpg', 'b.jpg']
    make_xml(tmp_path / 'd.xml', ('c', (1, 1, 2, 2)), filename='a.jpg')
    with pytest.raises(DataError, match='are both for'):
        convert_all(tmp_path)


@pytest.mark.parametrize('size', [None, (400, 300)])
def test_sizes_come_from_the_image(tmp_path, size):
    make_image(tmp_path / 'a.jpg')
    make_xml(tmp_path / 'a.xml', ('c', (31, 21, 60, 60)), size=size)
    made, converter = convert_all(tmp_path)
    assert (made['images'][0]['width'], made['images'][0]['height']) == (40, 30)
    assert made['annotations'][0]['bbox'] == [30, 20, 10, 10]
    assert converter.notes == {
        'sizes taken from the image, not from the XML': 1,
        'boxes clipped to the image': 1,
    }


@pytest.mark.parametrize('suffix', ['jpg', 'tif', 'webp'])
def test_turned_images_have_the_size_with_which_they_are_loaded(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = make_image(tmp_path / f'a.{suffix}', exif=exif)
    make_xml(tmp_path / 'a.xml', ('c', (1, 1, 2, 2)))
    made, _ = convert_all(tmp_path)
    size = made['images'][0]['width'], made['images'][0]['height']
    assert size == (30, 40) == mmcv.imread(path).shape[1::-1]


def test_boxes_without_area_are_counted_and_left_out(tmp_path, convert):
    make_image(tmp_path / 'a.jpg')
    make_xml(
        tmp_path / 'a.xml',
        ('c', (10, 10, 9, 20)),
        ('c', (20, 5, 2, 9)),
        ('c', (41, 1, 50, 9)),
        ('c', (-9, -9, 0, 5)),
        ('c', ('nan', 1, 2, 3)),
        ('c', (0, 1, 4, 4)),
        ('c', (2, 2, 4, 4)),
    )
    shown = convert(tmp_path)
    assert '5 boxes without area in the image left out' in shown
    assert '1 boxes clipped to the image' in shown and 'a.xml' in shown
    made = read(tmp_path / 'annotations/all.json')
    assert [a['bbox'] for a in made['annotations']] == [[0, 0, 4, 4], [1, 1, 3, 3]]


_side = st.integers(1, 500)


@given(st.tuples(_side, _side), st.tuples(_side, _side))
def test_boxes_round_trip(xs, ys):
    corners = (min(xs), min(ys), max(xs), max(ys))
    x, y, w, h = voc.to_coco_box(corners, 500, 500)
    assert (x + 1, y + 1, x + w, y + h) == corners
    assert w >= 1 and h >= 1


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4), _side, _side)
def test_boxes_lie_in_the_image(corners, width, height):
    box = voc.to_coco_box(corners, width, height)
    if box is not None:
        x, y, w, h = box
        assert x >= 0 and y >= 0 and w > 0 and h > 0
        assert x + w <= width + 1e-6 and y + h <= height + 1e-6


def test_unknown_classes(devkit, convert):
    shown = convert(devkit, '--classes', 'cat', ok=False)
    assert "'dog'" in shown and '2008_000001.xml' in shown
    assert '--ignore-unknown' in shown
    assert not (devkit / 'annotations').exists()  # nothing half done
    converter = voc.Converter(devkit, ['cat'], ignore_unknown=True)
    made = converter.convert(voc.find_splits(devkit)['train'])
    assert [a['category_id'] for a in made['annotations']] == [1, 1]
    assert converter.notes == {"objects of class 'dog' left out": 1}


def test_missing_things_are_named(devkit, convert, tmp_path):
    shown = convert(tmp_path / 'nowhere', ok=False)
    assert 'nowhere is no folder' in shown
    with pytest.raises(DataError, match=r"'tset'; it has \['train', 'val'\]"):
        voc.find_splits(devkit, ['tset'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(DataError, match='empty has no XML annotation'):
        voc.find_splits(tmp_path / 'empty')
    (devkit / 'JPEGImages/2008_000002.jpg').unlink()
    with pytest.raises(DataError, match='image of .*2008_000002.xml is missing'):
        voc.Converter(devkit, ['cat', 'dog']).convert(voc.find_splits(devkit)['train'])


def test_a_listed_annotation_that_is_missing(devkit):
    (devkit / 'Annotations/2008_000002.xml').unlink()
    with pytest.raises(DataError, match='2008_000002.xml is missing'):
        voc.read_classes(None, voc.find_splits(devkit)['train'])


@pytest.mark.parametrize(
    'text',
    [
        b'<annotation>',
        b'',
        b'\xff\xfe\x00',
        b'<?xml version="1.0" encoding="nix"?><a/>',
    ],
)
def test_broken_xml_is_named(tmp_path, text):
    path = tmp_path / 'broken.xml'
    path.write_bytes(text)
    with pytest.raises(DataError, match='broken.xml is no XML'):
        voc.read_xml(path)


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-16'])
def test_entities_are_refused_in_every_encoding(tmp_path, encoding):
    path = tmp_path / 'bomb.xml'
    path.write_bytes(
        (
            f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a '
            '[<!ENTITY b "ha">]><a>&b;</a>'
        ).encode(encoding)
    )
    with pytest.raises(DataError, match='bomb.xml has a DOCTYPE'):
        voc.read_xml(path)


@pytest.mark.parametrize('corners', [('', 1, 2, 3), ('one', 1, 2, 3)])
def test_a_box_without_numbers_is_named(tmp_path, corners):
    make_image(tmp_path / 'a.jpg')
    make_xml(tmp_path / 'a.xml', ('c', corners))
    with pytest.raises(DataError, match='a.xml: an object .* bndbox'):
        convert_all(tmp_path)


def test_files_that_are_none(tmp_path):
    (tmp_path / 'a.jpg').write_text('no image')
    make_xml(tmp_path / 'a.xml', ('c', (1, 1, 2, 2)))
    with pytest.raises(DataError, match='a.jpg cannot be read'):
        convert_all(tmp_path)
    (tmp_path / 'names.txt').write_bytes(b'\xff\xfe\xff')
    with pytest.raises(DataError, match='names.txt is no UTF-8'):
        voc.read_classes([str(tmp_path / 'names.txt')], [])
    with pytest.raises(DataError, match='not unique'):
        voc.read_classes(['a', 'a'], [])


def test_an_image_outside_the_root_is_refused(tmp_path):
    make_image(tmp_path / 'photos/a.jpg')
    make_xml(tmp_path / 'root/a.xml', ('c', (1, 1, 2, 2)))
    with pytest.raises(DataError, match='outside'):
        convert_all(tmp_path / 'root', image_dir='../photos')
