"""The check and split of a COCO-style set."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import Config
from pycocotools.coco import COCO

from mmsr4ir.cli import prepare_coco as tool
from mmsr4ir.utils.errors import DataError

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/dataset_converters/prepare_coco.py'


@pytest.fixture
def root(coco_root, tmp_path) -> Path:
    return shutil.copytree(coco_root, tmp_path / 'data')


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments, ok: bool = True) -> str:
        monkeypatch.setattr(sys, 'argv', ['tool', *map(str, arguments)])
        if ok:
            tool.main()
            return capsys.readouterr().out
        with pytest.raises(SystemExit) as end:
            tool.main()
        assert isinstance(end.value.code, str) and 'error: ' in end.value.code
        return end.value.code

    return call


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_split(root, run_tool, tmp_path):
    source, out = root / 'train.json', tmp_path / 'new'
    edit(source, lambda c: c.update(info=dict(year=2024), licenses=[1]))
    edit(source, lambda c: c['categories'].append(dict(id=9, name='never')))
    shown = run_tool(
        sys.executable,
        TOOL,
        source,
        '--images',
        root / 'train',
        '--val-share',
        '0.34',
        '--out',
        out,
    ).stdout
    assert sorted(path.name for path in out.iterdir()) == ['train.json', 'val.json']
    whole = json.loads(source.read_text())
    parts = [
        json.loads((out / f'{side}.json').read_text()) for side in ('train', 'val')
    ]
    assert [len(part['images']) for part in parts] == [4, 2]
    for part in parts:
        for key in ('info', 'licenses', 'categories'):
            assert part[key] == whole[key]
        ids = [one['id'] for one in part['annotations']]
        assert ids == list(range(1, len(ids) + 1))
        assert {one['image_id'] for one in part['annotations']} == {
            one['id'] for one in part['images']
        }
    key = 'file_name'
    assert sorted(one[key] for part in parts for one in part['images']) == sorted(
        one[key] for one in whole['images']
    )

    def boxes(content):
        return sorted((one['image_id'], one['bbox']) for one in content['annotations'])

    assert sorted(boxes(parts[0]) + boxes(parts[1])) == boxes(whole)
    assert len(COCO(str(out / 'val.json')).getAnnIds()) == 4
    assert "note: train has no objects of class 'never'" in shown
    assert ['green', '6', '6'] in [line.split() for line in shown.splitlines()]


def test_the_shown_settings_are_those_of_the_custom_config(root, run, tmp_path):
    shown = run(
        root / 'train.json',
        '--images',
        root / 'train',
        '--val-share',
        '0.5',
        '--out',
        tmp_path,
    )
    found = {}
    exec(shown.split('custom.py):\n')[1], found)
    cfg = Config.fromfile(ROOT / 'configs/sr4ir/faster-rcnn_edsr_custom.py')
    assert {name for name in found if name[0] != '_'} <= set(cfg)
    assert found['classes'] == ('green', 'blue') and found['data_root'] == ''
    assert Path(found['train_ann']).is_file() and Path(found['val_images']).is_dir()


def test_only_a_check(root, run):
    before = sorted(path.name for path in root.iterdir())
    shown = run(root / 'val.json', '--images', root / 'val')
    assert "classes = ('green', 'blue')" in shown and 'left out' not in shown
    assert sorted(path.name for path in root.iterdir()) == before


def break_it(root: Path) -> None:
    (root / 'train/1.jpg').unlink()
    whole = (root / 'train/2.jpg').read_bytes()
    (root / 'train/2.jpg').write_bytes(whole[: len(whole) // 2])

    def change(content):
        content['annotations'][0]['bbox'] = [4, 4, 0, 3]
        content['annotations'][1]['bbox'] = [50, 4, 24, 3]
        content['annotations'][6]['category_id'] = 77

    edit(root / 'train.json', change)


def test_what_is_wrong_is_listed(root, run):
    break_it(root)
    shown = run(
        root / 'train.json', '--images', root / 'train', '--val-share', '0.5', ok=False
    )
    assert '5 problems' in shown
    for text in (
        '1.jpg is missing',
        '2.jpg is truncated',
        'is empty',
        'reaches out of the image of 64 x 64',
        'has the category_id 77',
    ):
        assert text in shown
    assert json.loads((root / 'val.json').read_text())['images'][0]['id'] == 0
    assert not (root / 'clean.json').exists()


def test_skip_broken(root, run):
    break_it(root)
    shown = run(root / 'train.json', '--images', root / 'train', '--skip-broken')
    assert '2 images and 7 objects left out' in shown
    clean = json.loads((root / 'clean.json').read_text())
    assert [one['id'] for one in clean['images']] == [0, 3, 4, 5]
    assert len(clean['annotations']) == 12 - 7
    run(root / 'clean.json', '--images', root / 'train')


def test_of_contradicting_entries_none_is_kept(root, run):
    def repeat(content):
        for i, source in enumerate(content['images'][:2]):
            content['images'].append(dict(source, id=100 + i))
        content['annotations'] += [
            dict(one, id=100 + i, image_id=101)
            for i, one in enumerate(content['annotations'])
            if one['image_id'] == content['images'][1]['id']
        ]

    edit(root / 'train.json', repeat)
    shown = run(root / 'train.json', '--images', root / 'train', ok=False)
    assert '0.png is listed twice, with different annotations' in shown
    shown = run(root / 'train.json', '--images', root / 'train', '--skip-broken')
    assert '2 images and 2 objects left out' in shown
    clean = json.loads((root / 'clean.json').read_text())
    assert [one['id'] for one in clean['images']] == [1, 2, 3, 4, 5, 101]
    assert {one['image_id'] for one in clean['annotations']} <= {1, 2, 3, 4, 5, 101}
    run(root / 'clean.json', '--images', root / 'train')


def test_of_two_images_with_one_id_none_is_kept(root, run):
    edit(root / 'train.json', lambda c: c['images'][1].update(id=0))
    run(root / 'train.json', '--images', root / 'train', '--skip-broken')
    clean = json.loads((root / 'clean.json').read_text())
    assert [one['id'] for one in clean['images']] == [2, 3, 4, 5]
    assert {one['image_id'] for one in clean['annotations']} == {2, 3, 4, 5}


def test_refusals(root, run):
    source = root / 'train.json'
    shown = run(source, '--images', root / 'train', '--val-share', '0.5', ok=False)
    assert 'train.json is the file to read: give another --out' in shown
    assert len(json.loads(source.read_text())['annotations']) == 12
    other = source.rename(root / 'all.json')
    split = (other, '--images', root / 'train', '--val-share', '0.5', '--out', root)
    edit(root / 'val.json', lambda c: c.update(info='of somebody'))
    before = (root / 'val.json').read_text()
    assert 'val.json is there already, with other' in run(*split, ok=False)
    assert (root / 'val.json').read_text() == before and not source.exists()
    run(*split, '--overwrite')
    run(*split)  # the same content
    assert (root / 'val.json').read_text() != before
    assert 'does not exist' in run(root / 'no.json', '--images', root, ok=False)
    source.write_text('{}')
    assert 'has no list' in run(source, '--images', root, ok=False)
    edit(root / 'val.json', lambda c: c.update(categories=[dict(id=1)]))
    assert 'category 1 has no name' in run(
        root / 'val.json', '--images', root / 'val', '--skip-broken', ok=False
    )


def test_one_image_cannot_be_split():
    content = dict(images=[dict(id=1, file_name='a.png')], annotations=[])
    with pytest.raises(DataError, match='1 images cannot be split'):
        tool.split_coco(content, 0.5, 0)


@given(count=st.integers(2, 80), share=st.floats(0.01, 0.99), seed=st.integers())
def test_a_split_is_disjoint_and_complete(count, share, seed):
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png') for i in range(count)],
        categories=[],
        annotations=[dict(id=i, image_id=i // 2) for i in range(2 * count)],
    )
    sides = tool.split_coco(content, share, seed)
    ids = {side: {one['id'] for one in part['images']} for side, part in sides.items()}
    assert ids['train'] | ids['val'] == set(range(count))
    assert not ids['train'] & ids['val'] and ids['train'] and ids['val']
    assert abs(len(ids['val']) - share * count) <= 1
    for side, part in sides.items():
        assert [one['image_id'] for one in part['annotations']] == [
            i for i in sorted(ids[side]) for _ in range(2)
        ]
