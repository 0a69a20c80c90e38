"""Lists of image folders; CUB and Stanford Cars, which need none."""

import shutil
import sys
from collections import Counter
from pathlib import Path

import cv2
import mmpretrain.datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from PIL import Image
from scipy.io import savemat

from mmsr4ir.cli import prepare_cars
from mmsr4ir.cli import prepare_image_folder as folders
from mmsr4ir.datasets.checks.images import Scanner
from mmsr4ir.datasets.checks.problem import Problem
from mmsr4ir.datasets.class_lists import (
    check_splits,
    describe,
    prepare_lists,
    split_names,
    split_samples,
)
from mmsr4ir.utils.errors import DataError


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
        data_root=str(root),
        data_prefix='',
        ann_file=f'meta/{split}.txt',
        classes=str(root / 'meta/classes.txt'),
        **options,
    )
    return [
        (dataset[i]['img_path'], dataset[i]['gt_label']) for i in range(len(dataset))
    ]


def test_the_paper_reads_its_sets_as_they_are_unpacked(tmp_path):
    """No lists are needed: mmpretrain reads CUB and both layouts of Stanford Cars."""

    def original(number: int, train: bool) -> tuple[str, int]:
        return f'{"train" if train else "test"}/{number}.jpg', number % 2 + 1

    numbers = range(1, 7)
    made = {number: original(number, train=number < 5) for number in numbers}
    birds = tmp_path / 'birds'
    tables = dict(
        images=[path for path, _ in made.values()],
        image_class_labels=[label for _, label in made.values()],
        train_test_split=[int(number < 5) for number in numbers],
    )
    for name, column in tables.items():
        birds.mkdir(exist_ok=True)
        (birds / f'{name}.txt').write_text(
            ''.join(f'{number} {value}\n' for number, value in enumerate(column, 1))
        )
    one_file, devkit = tmp_path / 'one_file', tmp_path / 'devkit'
    (devkit / 'devkit').mkdir(parents=True)
    one_file.mkdir()
    rows = [
        dict(relative_im_path=path, label=label, test=int(number >= 5))
        for number, (path, label) in made.items()
    ]
    savemat(
        one_file / 'cars_annos.mat',
        dict(annotations=struct(rows, 'relative_im_path', 'label', 'test')),
    )
    for split, suffix, flag in (('train', '', 0), ('test', '_withlabels', 1)):
        savemat(
            devkit / f'devkit/cars_{split}_annos{suffix}.mat',
            dict(
                annotations=struct(
                    [
                        dict(row, fname=row['relative_im_path'])
                        for row in rows
                        if row['test'] == flag
                    ],
                    'fname',
                    'label',
                )
            ),
        )
    for config, root, prefix in (
        ('cub', birds, 'images/'),
        ('cars', one_file, ''),
        ('cars', devkit, 'cars_{}/'),
    ):
        cfg = Config.fromfile(f'configs/_base_/paper/cls_{config}.py')
        for split in ('train', 'test'):
            dataset = cfg[f'{split}_dataloader'].dataset
            dataset.update(data_root=str(root), pipeline=[])
            with DefaultScope.overwrite_default_scope('mmpretrain'):
                found = DATASETS.build(dataset)
            assert [(Path(one['img_path']), one['gt_label']) for one in found] == [
                (root / prefix.format(split) / path, label - 1)
                for path, label in made.values()
                if path.startswith(split)
            ]


def struct(rows: list[dict], *fields: str) -> np.ndarray:
    """A MATLAB struct array as in the archives: 1 x N, each value a matrix."""
    made = np.zeros(
        (1, len(rows)), [(field.replace('label', 'class'), object) for field in fields]
    )
    made[0] = [tuple(row[field] for field in fields) for row in rows]
    return made


def test_the_shown_settings_work(images, run):
    shown = run(folders, images, '--out', images.parent / 'lists', '--seed', '1')
    text = shown.split('For the config:\n')[1]
    found = dict(train_pipeline=[], test_pipeline=[])
    exec(text, found)  # the lines are Python, to be pasted into a config
    assert found['model'] == dict(num_classes=3)
    for loader, count in (('train', 13), ('val', 3), ('test', 3)):
        options = dict(found[f'{loader}_dataloader']['dataset'])
        assert options.pop('_delete_') and options.pop('type') == 'CustomDataset'
        dataset = mmpretrain.datasets.CustomDataset(**options)
        assert len(dataset) == count and dataset.CLASSES == ('cat', 'eel', 'wild dog')
        assert Path(dataset[0]['img_path']).is_file()


def test_broken_images_are_listed_or_left_out(images, run):
    bad = images / 'train/cat/00 a.png'
    bad.write_bytes(bad.read_bytes()[:-40])
    (images / 'train/cat/01 a.png').write_bytes(b'')
    (images / 'val').mkdir()
    good = picture(images / 'val/cat/1.png')
    shown = run(folders, images, ok=False)
    assert '2 problems, 2 different' in shown
    assert f'{bad} is truncated or no image' in shown
    assert not (images / 'meta').exists()
    shown = run(folders, images, '--skip-broken')
    assert 'train.txt: 14 images, 2 left out' in shown
    assert str(bad) not in {path for path, _ in read(images, 'train')}
    good.write_bytes(b'')
    assert 'val has no image left' in run(folders, images, '--skip-broken', ok=False)


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
    assert "note: val has no images of class 'eel'" in shown
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
        folders, images, ok=False
    )
    shutil.rmtree(images / 'train/ant')
    picture(images / 'val/fox/1.png')
    assert "val has the class folders ['fox'], which" in run(folders, images, ok=False)
    shutil.rmtree(images / 'val/fox')
    assert "split 'val' has no image" in run(folders, images, ok=False)


@pytest.mark.parametrize(
    'option',
    [
        ['--val-share', '0'],
        ['--val-share', '1'],
        ['--workers', '0'],
        ['--seed', 'x'],
        ['--unknown'],
    ],
)
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
    for text in ('cmyk.jpg is CMYK', 'alpha.png has transp', 'deep.png has 16 bits'):
        assert text in shown
    assert shown.count('note:') == 3 + 2  # and two classes that val lacks


@pytest.mark.parametrize(
    'name', [' space.png', 'line\nbreak.png', 'line\rbreak.png', 'no\udcffutf8.png']
)
def test_names_that_a_list_cannot_hold(tmp_path, name):
    picture(tmp_path / name)
    with pytest.raises(DataError, match='cannot stand in a list'):
        prepare_lists(
            tmp_path,
            tmp_path / 'meta',
            ['a'],
            dict(train=[(name, 0)]),
            Scanner(),
            False,
        )
    assert not (tmp_path / 'meta').exists()


def test_an_image_in_two_splits():
    with pytest.raises(DataError, match="a.png is in both 'train' and 'val'"):
        check_splits(dict(train=[('a.png', 0)], val=[('a.png', 0)]))


def test_long_lists_of_problems_are_shortened():
    lines = describe(
        [Problem(f'{i}.png', 'is missing') for i in range(50)], 'x'
    ).splitlines()
    assert lines[0] == '50 problems, 1 different; x:'
    assert len(lines) == 22 and lines[-1] == '  and 30 more'


labels = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@given(
    labels=labels,
    share=st.floats(0.01, 0.99),
    seed=st.integers(),
    order=st.randoms(use_true_random=False),
)
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
    assert set(split_samples(other, share, seed)[1]) == {one for one in val if one[1]}


def test_the_split_is_random_and_fixed():
    names = [f'{i}' for i in range(1000)]
    chosen = split_names(names, 0.3, 0)
    other = split_names(names, 0.3, 1)
    assert len(chosen) == len(other) == 300
    assert 60 < len(chosen & other) < 120  # 90 expected of two independent choices
    assert 400 < np.mean([int(name) for name in chosen]) < 600
    # by sha256sum of 0/a, 0/b, 0/c, 0/d: the lowest are c, b, d, a
    assert split_names(['a', 'b', 'c', 'd'], 0.5, 0) == {'b', 'c'}


def test_cars(tmp_path, capsys):
    """A folder as Stanford Cars unpacks: two cars of each of two classes."""
    names = [f'{i:05}.jpg' for i in range(1, 5)]
    (tmp_path / 'devkit').mkdir()
    (tmp_path / 'cars_train').mkdir()
    boxes = [(11, 21, 170, 132)] * 4  # 160 x 112 pixels, counted from 1
    for i, name in enumerate(names):  # a blue car on yellow
        image = np.full((150, 200, 3), (0, 255, 255), np.uint8)
        image[20:132, 10:170] = (255 - 40 * i, 0, 0)
        Image.fromarray(image[..., ::-1]).save(
            tmp_path / 'cars_train' / name, quality=100, subsampling=0
        )
    kinds = [(f'bbox_{key}', 'O') for key in ('x1', 'y1', 'x2', 'y2')]
    rows = np.array(
        [(*box, 1 + i // 2, names[i]) for i, box in enumerate(boxes)],
        dtype=[*kinds, ('class', 'O'), ('fname', 'O')],
    )
    labels = tmp_path / 'devkit/cars_train_annos.mat'
    savemat(labels, dict(annotations=rows))
    out = tmp_path / 'out'
    prepare_cars.main([str(tmp_path), str(out), '--val-share', '0.5'])
    assert '2 images to train, 2 to validate' in capsys.readouterr().out
    lines = [
        (out / f'{split}.txt').read_text().split('\n') for split in ('train', 'val')
    ]
    assert sorted(lines[0][:2] + lines[1][:2]) == [
        f'{name} {i // 2}' for i, name in enumerate(names)
    ]
    assert [[line[-1] for line in part[:2]] for part in lines] == [['0', '1']] * 2
    for i, name in enumerate(names):
        small = cv2.imread(str(out / 'images' / name)).astype(int)
        assert small.shape == (112, 160, 3)
        # Nothing of the rim, and what JPEG loses.
        assert np.abs(small - (255 - 40 * i, 0, 0)).max() < 20
    for column, value, said in (
        ('class', 0, 'has the class 0'),
        ('fname', names[0], f'{names[0]} is listed twice'),
    ):
        wrong = rows.copy()
        wrong[column][3] = value
        savemat(labels, dict(annotations=wrong))
        with pytest.raises(SystemExit, match=said):
            prepare_cars.main([str(tmp_path), str(tmp_path / 'wrong')])
        assert not (tmp_path / 'wrong').exists()
    savemat(labels, dict(annotations=rows))
    (tmp_path / 'cars_train' / names[0]).unlink()
    with pytest.raises(SystemExit, match=names[0]):
        prepare_cars.main([str(tmp_path), str(out)])
    savemat(labels, dict(other=1))
    for damaged in (labels.read_bytes(), labels.read_bytes()[:100], b''):
        labels.write_bytes(damaged)
        with pytest.raises(SystemExit, match='is not that of Stanford Cars'):
            prepare_cars.main([str(tmp_path), str(out)])
    labels.unlink()
    with pytest.raises(SystemExit, match='does not exist: unpack'):
        prepare_cars.main([str(tmp_path), str(out)])
