"""The check of VOC 2012 for segmentation, on a small folder in its format."""

import sys
from pathlib import Path

import numpy as np
import pytest
from mmseg.datasets import PascalVOCDataset
from PIL import Image

from mmsr4ir.cli import prepare_voc_seg as voc

TOOL = Path(__file__).parents[2] / 'tools/dataset_converters/prepare_voc_seg.py'


def write_mask(path: Path, values) -> None:
    image = Image.fromarray(np.array(values, np.uint8))
    image.putpalette(np.arange(768, dtype=np.uint16).astype(np.uint8).tobytes())
    assert image.mode == 'P'
    image.save(path)


@pytest.fixture
def root(tmp_path) -> Path:
    root = tmp_path / 'VOC2012'
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    for i in range(5):
        name = f'2007_{i:06d}'
        Image.new('RGB', (6, 4)).save(root / f'JPEGImages/{name}.jpg')
        write_mask(
            root / f'SegmentationClass/{name}.png',
            [[255] * 6, [i] * 6, [0] * 6, [20] * 6],
        )
    lists = root / 'ImageSets/Segmentation'
    (lists / 'train.txt').write_text('2007_000000\n2007_000001\n2007_000002\n')
    (lists / 'val.txt').write_text('2007_000003\n2007_000004\n')
    (lists / 'trainval.txt').write_text(''.join(f'2007_{i:06d}\n' for i in range(5)))
    return root


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments, ok: bool = True) -> str:
        monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments)])
        if ok:
            voc.main()
            return capsys.readouterr().out
        with pytest.raises(SystemExit) as end:
            voc.main()
        assert isinstance(end.value.code, str) and 'error: ' in end.value.code
        return end.value.code

    return call


def test_a_good_folder(root, run_tool):
    shown = run_tool(sys.executable, TOOL, root).stdout
    assert 'train: 3 images' in shown and 'val: 2 images' in shown
    rows = [line.split() for line in shown.splitlines()]
    # 3 rows of 0 and one of image 0 itself; the row of 20 in each
    assert ['background', '3', '24'] in rows and ['tvmonitor', '3', '18'] in rows
    assert ['aeroplane', '1', '6'] in rows and ['person', '0', '0'] in rows
    found = dict(train_pipeline=[], test_pipeline=[])
    exec(shown.split('For the config:\n')[1], found)
    assert found['model'] == dict(num_classes=21)
    for loader, count in (('train', 3), ('val', 2)):
        options = dict(found[f'{loader}_dataloader']['dataset'])
        assert options.pop('_delete_') and options.pop('type') == 'PascalVOCDataset'
        dataset = PascalVOCDataset(**options)
        assert len(dataset) == count
        assert Path(dataset[0]['seg_map_path']).is_file()


def test_the_classes_are_those_of_mmseg():
    assert voc.CLASSES == PascalVOCDataset.METAINFO['classes']


def test_another_split(root, run):
    shown = run(root, '--split', 'trainval')
    assert 'trainval: 5 images' in shown
    assert "ann_file='ImageSets/Segmentation/trainval.txt'" in shown
    shown = run(root, '--split', 'none', ok=False)
    assert "none.txt does not exist; lists there: ['train', 'trainval', 'val']" in shown
    assert 'does not exist' in run(root.parent, ok=False)


def test_everything_wrong_is_listed(root, run):
    masks, images = root / 'SegmentationClass', root / 'JPEGImages'
    write_mask(masks / '2007_000000.png', [[21] * 6] * 4)
    write_mask(masks / '2007_000001.png', [[0] * 5] * 4)
    Image.new('RGB', (6, 4)).save(masks / '2007_000002.png')
    (images / '2007_000003.jpg').unlink()
    whole = (masks / '2007_000004.png').read_bytes()
    (masks / '2007_000004.png').write_bytes(whole[: len(whole) // 2])
    shown = run(root, ok=False)
    assert '5 problems' in shown
    for text in (
        '000000.png has the labels 21 (24 pixels), but the classes are 0',
        '000001.png has 5 x 4 pixels, its image 6 x 4',
        '000002.png has 3 channels (RGB), not one',
        '000003.jpg is missing',
        '000004.png is truncated or no image',
    ):
        assert text in shown


def test_empty_and_overlapping_lists(root, run):
    lists = root / 'ImageSets/Segmentation'
    (lists / 'val.txt').write_text('\n')
    assert "split 'val' has no image" in run(root, ok=False)
    (lists / 'val.txt').write_text('2007_000001\n')
    shown = run(root, ok=False)
    assert "2007_000001.jpg is in both 'train' and 'val'" in shown
