"""Lists for CUB-200-2011, Stanford Cars and image folders, in their real formats."""
import shutil
import sys
from collections import Counter, defaultdict
from pathlib import Path

import mmpretrain.datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from mmsr4ir.cli import prepare_cars as cars
from mmsr4ir.cli import prepare_cub as cub
from mmsr4ir.cli import prepare_image_folder as folders
from mmsr4ir.datasets.checks.before_run import DataError
from mmsr4ir.datasets.class_lists import (
    check_splits,
    describe,
    prepare_lists,
    split_names,
    split_samples,
)

FOLDER = Path(__file__).parents[2] / 'tools/dataset_converters'



def picture(path: Path, mode: str = 'RGB') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (8, 6)).save(path)
    return path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a tool as from a command line; return what it showed."""
    def call(module, *arguments, ok: bool = True) -> str:
        monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments)])
        if ok:
            module.main()
            return capsys.readouterr().out
        with pytest.raises(SystemExit) as end:
            module.main()
        assert isinstance(end.value.code, str) and 'error: ' in end.value.code
        return end.value.code
    return call


def read(root: Path, split: str, **options) -> list[tuple[str, int]]:
    """The samples as mmpretrain reads the lists."""
    dataset = mmpretrain.datasets.CustomDataset(
        data_root=str(root), data_prefix='', ann_file=f'meta/{split}.txt',
        classes=str(root / 'meta/classes.txt'), **options)
    return [(dataset[i]['img_path'], dataset[i]['gt_label'])
            for i in range(len(dataset))]


CUB_IMAGES = (  # path, class, train
    ('001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg', 1, 1),
    ('001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg', 1, 0),
    ('002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg', 2, 1),
    ('002.Laysan_Albatross/Laysan_Albatross_0003_1033.jpg', 2, 0),
    ('002.Laysan_Albatross/Laysan_Albatross_0082_524.jpg', 2, 0))


@pytest.fixture
def birds(tmp_path) -> Path:
    root = tmp_path / 'CUB_200_2011'
    tables = defaultdict(list)
    for i, (path, label, train) in enumerate(CUB_IMAGES, 1):
        picture(root / 'images' / path)
        tables['images'].append(f'{i} {path}')
        tables['image_class_labels'].append(f'{i} {label}')
        tables['train_test_split'].append(f'{i} {train}')
    tables['classes'] = ['1 001.Black_footed_Albatross', '2 002.Laysan_Albatross']
    for name, lines in tables.items():
        (root / f'{name}.txt').write_text('\n'.join(lines) + '\n')
    return root


def test_cub_as_mmpretrain_reads_it(birds, run_tool):
    shown = run_tool(sys.executable, FOLDER / 'prepare_cub.py', birds).stdout
    assert (birds / 'meta/classes.txt').read_text().split() == [
        'Black_footed_Albatross', 'Laysan_Albatross']
    known = mmpretrain.datasets.CUB(data_root=str(birds)).CLASSES
    assert known[:2] == ('Black_footed_Albatross', 'Laysan_Albatross')
    for split, count in (('train', 2), ('test', 3)):
        theirs = mmpretrain.datasets.CUB(data_root=str(birds), split=split)
        assert read(birds, split) == [
            (one['img_path'], one['gt_label']) for one in map(
                theirs.__getitem__, range(count))]
        assert f'{split}.txt: {count} images\n' in shown
    assert 'model = dict(num_classes=2)' in shown
    assert "ann_file='meta/test.txt'" in shown
    assert not list(birds.rglob('.*'))


@pytest.mark.parametrize('inside', [True, False])
def test_the_shown_settings_work(birds, run, inside, tmp_path):
    shown = run(cub, birds, '--out', birds / 'meta' if inside else tmp_path / 'lists')
    text = shown.split('For the config:\n')[1]
    found = dict(train_pipeline=[], test_pipeline=[])
    exec(text, found)  # the lines are Python, to be pasted into a config
    for loader, count in (('train', 2), ('val', 3), ('test', 3)):
        options = dict(found[f'{loader}_dataloader']['dataset'])
        assert options.pop('_delete_') and options.pop('type') == 'CustomDataset'
        dataset = mmpretrain.datasets.CustomDataset(**options)
        assert len(dataset) == count and len(dataset.CLASSES) == 2
        assert Path(dataset[0]['img_path']).is_file()


@pytest.mark.parametrize('name, text, message', [
    ('classes', None, 'classes.txt does not exist: give the folder CUB_200_2011'),
    ('images', '', 'images.txt is empty'),
    ('images', 'first a.jpg\n', "line 1: 'first a.jpg' is not a new number and a"),
    ('images', '1 a.jpg\n1 b.jpg\n', 'line 2'),
    ('image_class_labels', '1 1\n2 1\n', r'differ in 3 image numbers, as in \[3, 4, 5'),
    ('train_test_split', '1 1\n2 1\n3 1\n4 0\n5 2\n', "train_test_split.txt has '2'"),
    ('image_class_labels', '1 1\n2 1\n3 2\n4 2\n5 x\n', "labels.txt 'x'"),
    ('classes', '1 001.a\n3 003.c\n', 'not numbered from 1 without a gap'),
])
def test_bad_cub(birds, name, text, message):
    if text is None:
        (birds / f'{name}.txt').unlink()
    else:
        (birds / f'{name}.txt').write_text(text)
    with pytest.raises(DataError, match=message):
        cub.read_cub(birds)


def test_labels_beyond_the_classes_and_bad_images(birds, run):
    (birds / 'classes.txt').write_text('1 001.Black_footed_Albatross\n')
    bad = birds / 'images' / CUB_IMAGES[0][0]
    bad.write_bytes(bad.read_bytes()[:-40])
    (birds / 'images' / CUB_IMAGES[1][0]).unlink()
    shown = run(cub, birds, ok=False)
    assert '5 problems, 3 different' in shown
    assert f'{bad}: is truncated or no image' in shown
    assert f'{birds / "images" / CUB_IMAGES[1][0]}: is missing' in shown
    assert 'label 1 is out of range: 0 to 0' in shown
    assert not (birds / 'meta').exists()


def test_skip_broken(birds, run, tmp_path):
    bad = birds / 'images' / CUB_IMAGES[3][0]
    bad.write_bytes(b'')
    out = tmp_path / 'lists'
    shown = run(cub, birds, '--skip-broken', '--out', out)
    assert 'test.txt: 2 images, 1 left out' in shown
    assert (out / 'test.txt').read_text().splitlines() == [
        f'images/{CUB_IMAGES[1][0]} 0', f'images/{CUB_IMAGES[4][0]} 1']
    assert (out / 'train.txt').read_text().count('\n') == 2
    for path, _, train in CUB_IMAGES:
        if train:
            (birds / 'images' / path).unlink()
    assert 'train: no image is left' in run(cub, birds, '--skip-broken', ok=False)


CAR_NAMES = ['AM General Hummer SUV 2000', 'Ram C/V Cargo Van Minivan 2012', 'Smart']
CARS = ((1, 0), (2, 0), (3, 0), (2, 1), (3, 1))  # class, test


def car_struct(cars_of, *fields) -> np.ndarray:
    """A MATLAB struct array as in the archives: 1 x N, each value a matrix."""
    made = np.zeros((1, len(cars_of)), [(field, object) for field in fields])
    for i, (number, (label, test)) in enumerate(cars_of):
        values = dict(fname=f'{number:05d}.jpg', test=np.uint8(test),
                      relative_im_path=f'car_ims/{number:06d}.jpg',
                      bbox_x1=np.uint16(1), bbox_y1=np.uint16(1), bbox_x2=np.uint16(7),
                      bbox_y2=np.uint16(5))
        values['class'] = np.uint8(label)
        for field in fields:
            made[field][0, i] = values[field]
    return made


def names_cell() -> np.ndarray:
    cell = np.zeros((1, len(CAR_NAMES)), object)
    cell[0] = CAR_NAMES
    return cell


BOX = ('bbox_x1', 'bbox_y1', 'bbox_x2', 'bbox_y2')


@pytest.fixture
def one_file(tmp_path) -> Path:
    """The older layout."""
    root = tmp_path / 'cars'
    numbered = list(enumerate(CARS, 1))
    for number, _ in numbered:
        picture(root / f'car_ims/{number:06d}.jpg')
    savemat(root / 'cars_annos.mat', dict(
        annotations=car_struct(numbered, 'relative_im_path', *BOX, 'class', 'test'),
        class_names=names_cell()))
    return root


@pytest.fixture
def devkit(tmp_path) -> Path:
    """The layout with a devkit."""
    root = tmp_path / 'cars'
    (root / 'devkit').mkdir(parents=True)
    for split, suffix, flag in (('train', '', 0), ('test', '_withlabels', 1)):
        numbered = list(enumerate([one for one in CARS if one[1] == flag], 1))
        for number, _ in numbered:
            picture(root / f'cars_{split}/{number:05d}.jpg')
        savemat(root / f'devkit/cars_{split}_annos{suffix}.mat', dict(
            annotations=car_struct(numbered, *BOX, 'class', 'fname')))
    savemat(root / 'devkit/cars_test_annos.mat', dict(
        annotations=car_struct(numbered, *BOX, 'fname')))
    savemat(root / 'devkit/cars_meta.mat', dict(class_names=names_cell()))
    return root


@pytest.mark.parametrize('layout', ['one_file', 'devkit'])
def test_cars_as_mmpretrain_reads_them(layout, request, run):
    root = request.getfixturevalue(layout)
    shown = run(cars, root)
    assert (root / 'meta/classes.txt').read_text().splitlines() == CAR_NAMES
    assert 'num_classes=3' in shown
    for split, flag in (('train', 0), ('test', 1)):
        assert [label for _, label in read(root, split)] == [
            label - 1 for label, test in CARS if test == flag]
        theirs = mmpretrain.datasets.StanfordCars(data_root=str(root), split=split)
        assert read(root, split) == [
            (one['img_path'], one['gt_label']) for one in map(
                theirs.__getitem__, range(len(theirs)))]


def test_cars_with_the_test_labels_beside_the_devkit(devkit, run):
    shutil.move(devkit / 'devkit/cars_test_annos_withlabels.mat', devkit)
    run(cars, devkit)
    assert len(read(devkit, 'test')) == 2


def test_bad_cars(devkit, one_file, run, tmp_path):
    assert 'neither cars_annos.mat nor cars_train' in run(cars, tmp_path, ok=False)
    whole = (one_file / 'cars_annos.mat').read_bytes()
    for content in (b'', b'no MATLAB file' * 20, whole[:200], whole[:-60],
                    whole[:300] + bytes(40) + whole[340:]):
        (one_file / 'cars_annos.mat').write_bytes(content)
        shown = run(cars, one_file, ok=False)
        assert 'cars_annos.mat' in shown and 'fetch it again' in shown
    savemat(one_file / 'cars_annos.mat', dict(annotations=car_struct(
        [(1, (1, 0))], 'relative_im_path', 'class', 'test')))
    assert 'has no class_names' in run(cars, one_file, ok=False)
    savemat(one_file / 'cars_annos.mat', dict(annotations=np.ones(3)))
    assert 'no relative_im_path, class, test' in run(cars, one_file, ok=False)
    (one_file / 'cars_annos.mat').unlink()  # both layouts are in the same folder here
    shutil.copy(devkit / 'devkit/cars_test_annos.mat',
                devkit / 'devkit/cars_test_annos_withlabels.mat')
    assert 'the file without classes' in run(cars, devkit, ok=False)
    (devkit / 'devkit/cars_test_annos_withlabels.mat').unlink()
    assert 'withlabels.mat does not exist' in run(cars, devkit, ok=False)


@pytest.fixture
def images(tmp_path) -> Path:
    root = tmp_path / 'images'
    for name, count in (('cat', 10), ('wild dog', 5), ('eel', 1)):
        for i in range(count):
            picture(root / f'train/{name}/{i:02d} a.png')
    return root


def test_an_image_folder_is_split(images, run):
    shown = run(folders, images, '--val-share', '0.4', '--seed', '3')
    train, val = read(images, 'train'), read(images, 'val')
    assert Counter(label for _, label in val) == {0: 4, 2: 2}
    assert Counter(label for _, label in train) == {0: 6, 1: 1, 2: 3}
    assert len({path for path, _ in train + val}) == 16
    assert "note: 1 class 'eel' never occurs; first in val" in shown
    for path, label in train + val:
        assert Path(path).parent.name == ['cat', 'eel', 'wild dog'][label]
        assert Path(path).is_file()
    run(folders, images, '--val-share', '0.4', '--seed', '3')
    assert read(images, 'val') == val
    run(folders, images, '--val-share', '0.4', '--seed', '4')
    assert read(images, 'val') != val


def test_folders_that_are_there_are_kept(images, run):
    picture(images / 'val/cat/1.JPG')
    picture(images / 'test/eel/deeper/1.jpg')
    shown = run(folders, images)
    assert [label for _, label in read(images, 'val')] == [0]
    assert [label for _, label in read(images, 'test')] == [1]
    assert len(read(images, 'train')) == 16
    assert "test_dataloader = dict(dataset=dict(ann_file='meta/test.txt'" in shown


def test_class_folders_alone(images, run):
    shown = [run(folders, images / 'train') for _ in range(2)]  # finds its own lists
    assert shown[0] == shown[1]
    assert len(read(images / 'train', 'train') + read(images / 'train', 'val')) == 16


def test_bad_image_folders(images, run, tmp_path):
    assert 'is no folder' in run(folders, tmp_path / 'none', ok=False)
    (tmp_path / 'empty').mkdir()
    assert 'has no class folder' in run(folders, tmp_path / 'empty', ok=False)
    (images / 'train/ant').mkdir()
    (images / 'train/ant/classes.txt').touch()
    assert f'class folder {images}/train/ant has no image' in run(
        folders, images, ok=False)
    shutil.rmtree(images / 'train/ant')
    picture(images / 'val/fox/1.png')
    assert "val has the class folders ['fox'], which" in run(folders, images, ok=False)
    shutil.rmtree(images / 'val/fox')
    assert "split 'val' has no image" in run(folders, images, ok=False)


@pytest.mark.parametrize('option', [
    ['--val-share', '0'], ['--val-share', '1'], ['--workers', '0'], ['--seed', 'x'],
    ['--unknown']])
def test_bad_options(images, monkeypatch, option):
    monkeypatch.setattr(sys, 'argv', ['tool', str(images), *option])
    with pytest.raises(SystemExit) as end:
        folders.main()
    assert end.value.code == 2


def test_odd_kinds_are_noted(images, run):
    picture(images / 'train/cat/cmyk.jpg', 'CMYK')
    picture(images / 'train/cat/alpha.png', 'RGBA')
    picture(images / 'train/cat/deep.png', 'I;16')
    picture(images / 'train/cat/grey.png', 'L')
    picture(images / 'val/cat/1.png')
    shown = run(folders, images)
    for text in ('1 CMYK is converted', '1 transparency is dropped', '1 16 bits'):
        assert f'note: {text}' in shown
    assert shown.count('note:') == 3 + 2  # and two classes that val lacks


@pytest.mark.parametrize('name', [' space.png', 'line\nbreak.png', 'line\rbreak.png',
                                  'no\udcffutf8.png'])
def test_names_that_a_list_cannot_hold(tmp_path, name):
    picture(tmp_path / name)
    with pytest.raises(DataError, match='cannot stand in a list'):
        prepare_lists(tmp_path, tmp_path / 'meta', ['a'], dict(train=[(name, 0)]), 1,
                      False, lambda: None)
    assert not (tmp_path / 'meta').exists()


def test_an_image_in_two_splits():
    with pytest.raises(DataError, match="a.png is in both 'train' and 'val'"):
        check_splits(dict(train=[('a.png', 0)], val=[('a.png', 0)]))


def test_long_lists_of_problems_are_shortened():
    lines = describe([(f'{i}.png', 'is missing') for i in range(50)], 'x').splitlines()
    assert lines[0] == '50 problems, 1 different; x:'
    assert len(lines) == 22 and lines[-1] == '  and 30 more'


labels = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@given(labels=labels, share=st.floats(0.01, 0.99), seed=st.integers(),
       order=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_split_is_disjoint_complete_and_fair(labels, share, seed, order):
    samples = [(f'{i}.png', label) for i, label in enumerate(labels)]
    train, val = split_samples(samples, share, seed)
    assert sorted(train + val) == sorted(samples)
    total, chosen = Counter(labels), Counter(label for _, label in val)
    for label, count in total.items():
        if count == 1:
            assert chosen[label] == 0
        else:
            assert 1 <= chosen[label] < count
            assert abs(chosen[label] - share * count) <= 1
    shuffled = samples[:]
    order.shuffle(shuffled)
    assert set(split_samples(shuffled, share, seed)[1]) == set(val)
    other = [(name, label) for name, label in samples if label]  # without a class
    assert set(split_samples(other, share, seed)[1]) == {
        one for one in val if one[1]}


def test_the_split_is_random_and_fixed():
    names = [f'{i}' for i in range(1000)]
    chosen = split_names(names, 0.3, 0)
    other = split_names(names, 0.3, 1)
    assert len(chosen) == len(other) == 300
    assert 60 < len(chosen & other) < 120  # 90 expected of two independent choices
    assert 400 < np.mean([int(name) for name in chosen]) < 600
    # by sha256sum of 0/a, 0/b, 0/c, 0/d: the lowest are c, b, d, a
    assert split_names(['a', 'b', 'c', 'd'], 0.5, 0) == {'b', 'c'}
