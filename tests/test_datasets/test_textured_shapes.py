"""The embedded data set: same bytes every time, true masks, no class in coarse form."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmsr4ir.datasets.textured_shapes import CLASSES, render, write_dataset
from mmsr4ir.utils.errors import DataError

TOOL = 'tools/dataset_converters/make_textured_shapes.py'
NUM_TRAIN, NUM_VAL = 20, 8
SMALL = ('--num-train', NUM_TRAIN, '--num-val', NUM_VAL)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


@pytest.fixture(scope='module')
def dataset(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('shapes') / 'set'
    steps = []
    assert write_dataset(root, NUM_TRAIN, NUM_VAL, progress=lambda: steps.append(1))
    assert len(steps) == NUM_TRAIN + NUM_VAL
    return root


@pytest.fixture(scope='module')
def crops() -> tuple[np.ndarray, list]:
    """Labels of 240 class crops, and the pixels of each crop's object."""
    labels = np.arange(240) % len(CLASSES)
    samples = [
        render(np.random.default_rng([5, i]), 64, [int(label)], centred=True)
        for i, label in enumerate(labels)
    ]
    return labels, [sample.image[sample.masks[0]] / 255 for sample in samples]


def test_another_process_writes_the_same_bytes(dataset, tmp_path, run_tool):
    out = tmp_path / 'other'
    run_tool(sys.executable, TOOL, '--out', out, *SMALL)
    assert contents(out) == contents(dataset)


def test_an_image_does_not_depend_on_how_many_others_there_are(dataset, tmp_path):
    write_dataset(tmp_path, 4, 4)
    for name, content in contents(tmp_path).items():
        if name.endswith('.png'):
            assert content == (dataset / name).read_bytes(), name


def test_render_does_not_depend_on_the_order():
    def draw(order):
        return {i: render(np.random.default_rng(i), 64).image.tobytes() for i in order}

    assert draw([0, 1, 2]) == draw([2, 0, 1])


def test_seeds_and_splits_differ(dataset, tmp_path):
    write_dataset(tmp_path, 4, 4, seed=1)
    assert (tmp_path / 'train/00000.png').read_bytes() != (
        dataset / 'train/00000.png'
    ).read_bytes()
    assert (dataset / 'val/00000.png').read_bytes() != (
        dataset / 'train/00000.png'
    ).read_bytes()


@pytest.mark.parametrize('split, count', [('train', NUM_TRAIN), ('val', NUM_VAL)])
def test_masks_boxes_and_maps_agree(dataset, split, count):
    coco = COCO(str(dataset / 'annotations' / f'{split}.json'))
    # mmdet's coco_error_analysis.py asks for each group of classes.
    assert coco.getCatIds(supNms=['texture']) == coco.getCatIds()
    assert len(coco.imgs) == count == len(list((dataset / split).glob('*.png')))
    assert [coco.cats[i]['name'] for i in range(1, 5)] == list(CLASSES)
    for image_id, image in coco.imgs.items():
        assert cv2.imread(str(dataset / split / image['file_name'])).shape == (
            image['height'],
            image['width'],
            3,
        )
        semantic = cv2.imread(
            str(dataset / 'semantic' / split / image['file_name']), cv2.IMREAD_UNCHANGED
        )
        assert semantic.dtype == np.uint8
        expected, times = np.zeros_like(semantic), np.zeros(semantic.shape, int)
        annotations = coco.imgToAnns[image_id]
        assert 1 <= len(annotations) <= 5
        for annotation in annotations:
            assert isinstance(annotation['segmentation']['counts'], str)
            mask = coco.annToMask(annotation).astype(bool)
            times += mask
            expected[mask] = annotation['category_id']
            rows, columns = np.nonzero(mask)
            assert annotation['bbox'] == [
                columns.min(),
                rows.min(),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            ]
            assert annotation['area'] == mask.sum()
            assert annotation['iscrowd'] == 0
        assert times.max() == 1  # masks are the visible parts
        np.testing.assert_array_equal(semantic, expected)
    assert {a['category_id'] for a in coco.anns.values()} == {1, 2, 3, 4}


def test_some_objects_touch_and_sizes_vary(dataset):
    coco = COCO(str(dataset / 'annotations/train.json'))
    touching, sides = 0, []
    for image_id in coco.imgs:
        masks = [coco.annToMask(a) for a in coco.imgToAnns[image_id]]
        grown = sum(cv2.dilate(mask, np.ones((3, 3), np.uint8)) for mask in masks)
        touching += grown.max() > 1
        sides += [max(a['bbox'][2:]) for a in coco.imgToAnns[image_id]]
    assert touching >= 3
    assert min(sides) < 30 < 45 < max(sides) <= 60


def test_crops_are_balanced_and_of_one_size(dataset):
    for split, count in (('train', NUM_TRAIN), ('val', 4 * NUM_VAL)):
        for name in CLASSES:
            paths = list((dataset / 'classification' / split / name).glob('*.png'))
            assert len(paths) == count // len(CLASSES)
            assert {cv2.imread(str(path)).shape for path in paths} == {(64, 64, 3)}


def test_neither_colour_nor_contrast_nor_area_tells_the_class(crops):
    labels, pixels = crops
    features = np.array([[*p.mean(0), p.mean(1).std(), len(p) / 4096] for p in pixels])
    groups = [features[labels == k] for k in range(len(CLASSES))]
    within = np.mean([group.var(0, ddof=1) for group in groups], 0)
    between = len(groups[0]) * np.var([g.mean(0) for g in groups], 0, ddof=1)
    # One-way F statistics, (3, 236) degrees of freedom: 5.6 is the 0.1 % limit.
    assert (between / within < 5.6).all(), between / within
    stripes, checker = np.concatenate(groups[:3])[:, 3], groups[3][:, 3]
    assert abs(stripes.mean() / checker.mean() - 1) < 0.1


def test_the_pattern_tells_the_class():
    """A fixed look at each spectrum's peak finds the class in HR, seldom at x4."""

    def guess(image: np.ndarray) -> int:
        grey = image.mean(2)
        grey = (grey - grey.mean()) * np.hanning(64)[:, None] * np.hanning(64)
        spectrum = np.abs(np.fft.fft2(grey))
        y, x = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing='ij')
        radius, angle = np.hypot(x, y), np.rad2deg(np.arctan2(y, x)) % 180
        spectrum[radius < 0.1] = 0
        peak = np.unravel_index(spectrum.argmax(), spectrum.shape)
        # The patterns' waves stand at these angles; a checker has a second one.
        label = int(
            np.abs((angle[peak] - np.array([90, 0, 45, 135]) + 90) % 180 - 90).argmin()
        )
        across = np.abs((angle - angle[peak]) % 180 - 90) < 20
        return 3 if spectrum[across].max() > 0.6 * spectrum.max() else label

    def downscaled(image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, (16, 16), interpolation=cv2.INTER_CUBIC)
        return cv2.resize(small, (64, 64), interpolation=cv2.INTER_LINEAR)

    samples = [
        (i % 4, render(np.random.default_rng([9, i]), 64, [i % 4], True).image)
        for i in range(120)
    ]
    hr = np.mean([guess(image) == label for label, image in samples])
    lr = np.mean([guess(downscaled(image)) == label for label, image in samples])
    assert hr > 0.85
    assert lr < hr - 0.3


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match='labels'):
        render(np.random.default_rng(0), 64, [4])
    with pytest.raises(ValueError, match='64'):
        render(np.random.default_rng(0), 32)
    with pytest.raises(ValueError, match='at least 4'):
        write_dataset(tmp_path, 3, 8)
    assert not list(tmp_path.iterdir())


def test_the_full_set_stays_small(dataset):
    size = sum(map(len, contents(dataset).values()))
    assert size * 300 / (NUM_TRAIN + NUM_VAL) < 30e6


def test_help(run_tool):
    shown = run_tool(sys.executable, TOOL, '--help').stdout
    assert '--num-train' in shown and 'default: 240' in shown


def test_a_set_is_reused_and_one_with_other_settings_is_refused(tmp_path, run_tool):
    out = tmp_path / 'set'
    assert write_dataset(out, 5, 4)
    before, time = contents(tmp_path), (out / 'train/00001.png').stat().st_mtime_ns
    assert json.loads(before['set/meta.json'])['num_train'] == 5
    shown = run_tool(
        sys.executable, TOOL, '--num-train', 5, '--num-val', 4, '--out', out
    ).stdout
    assert 'reused' in shown
    assert (out / 'train/00001.png').stat().st_mtime_ns == time
    with pytest.raises(DataError, match=rf'other settings.*\(rm -r {out}\)'):
        write_dataset(out, 4, 4)
    assert contents(tmp_path) == before


def test_a_set_of_an_earlier_version_is_refused_with_the_command_to_remove_it(tmp_path):
    out = tmp_path / 'my set'
    write_dataset(out, 4, 4)
    meta = json.loads((out / 'meta.json').read_text())
    (out / 'meta.json').write_text(json.dumps(dict(meta, version=4)))
    with pytest.raises(DataError, match='another version of mmsr4ir') as refusal:
        write_dataset(out, 4, 4)
    assert str(refusal.value).startswith(f'{out} holds')
    assert f"rm -r '{out}'" in str(refusal.value)


def test_an_interrupted_set_is_written_from_the_start(tmp_path):
    out = tmp_path / 'set'

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(out, 5, 4, progress=interrupt)
    assert not list(tmp_path.iterdir())
    out.mkdir()
    assert write_dataset(out, 4, 4)
    assert [path.name for path in tmp_path.iterdir()] == ['set']
    assert not (out / 'train/00004.png').exists()


def test_two_that_write_the_same_set(tmp_path):
    out, written = tmp_path / 'set', []

    def other():
        if not written:
            written.append(None)
            written[0] = write_dataset(out, 4, 4)

    assert not write_dataset(out, 4, 4, progress=other) and written == [True]
    assert [path.name for path in tmp_path.iterdir()] == ['set']
    assert not write_dataset(out, 4, 4)


@pytest.mark.parametrize('name', ['notes.txt', 'train/00000.png', 'meta.json'])
def test_a_foreign_folder_is_left_alone(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"a": 1}')
    with pytest.raises(ValueError, match='choose another folder'):
        write_dataset(tmp_path, 4, 4)
    assert contents(tmp_path) == {name: b'{"a": 1}'}


def test_the_command_line_names_a_foreign_folder(tmp_path, run_tool):
    (tmp_path / 'notes.txt').touch()
    process = run_tool(sys.executable, TOOL, '--out', tmp_path, ok=False)
    assert process.returncode == 1
    assert 'error:' in process.stdout and 'choose another folder' in process.stdout
    assert 'Traceback' not in process.stdout


def test_a_file_as_folder_and_wrong_counts(tmp_path, run_tool):
    (tmp_path / 'file').touch()
    with pytest.raises(ValueError, match='is a file'):
        write_dataset(tmp_path / 'file', 4, 4)
    process = run_tool(
        sys.executable, TOOL, '--num-val', 1, '--out', tmp_path / 'x', ok=False
    )
    assert process.returncode == 2 and not (tmp_path / 'x').exists()
