"""The verifier, on configs of this package with data made here."""

import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmsr4ir.cli import verify_dataset as tool
from mmsr4ir.datasets.checks import check
from mmsr4ir.datasets.textured_shapes import write_dataset
from mmsr4ir.engine import zoo_checks

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools/misc/verify_dataset.py'


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('shapes') / 'set'
    write_dataset(root, 8, 4, 64, 0, lambda: None)
    return root


@pytest.fixture
def root(shapes, tmp_path) -> Path:
    return shutil.copytree(shapes, tmp_path / 'set')


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the tool; return its exit code, what it showed and its report."""

    def call(*arguments) -> tuple:
        out = tmp_path / 'report.json'
        monkeypatch.setattr(
            sys, 'argv', ['tool', *map(str, arguments), '--out', str(out)]
        )
        with pytest.raises(SystemExit) as end:
            tool.main()
        report = json.loads(out.read_text()) if out.exists() else {}
        return end.value.code, capsys.readouterr().out, report

    return call


def options(root: Path, **more) -> list[str]:
    settings = {
        f'{split}_dataloader.dataset.data_root': root
        for split in ('train', 'val', 'test')
    } | more
    if (root / 'annotations').exists():
        settings |= {
            f'{split}_evaluator.0.ann_file': root / 'annotations/val.json'
            for split in ('val', 'test')
        }
    return ['--cfg-options', *(f'{key}={value}' for key, value in settings.items())]


def problems(report: dict, split: str = 'train') -> list[tuple[str, str]]:
    return [(Path(one['file']).name, one['cause']) for one in report[split]['problems']]


def det(root, *more) -> list[str]:
    return ['configs/sr4ir/faster-rcnn_edsr_tiny.py', *options(root), *more]


def test_good_detection_data_as_a_user(root, run_tool, tmp_path):
    out = tmp_path / 'report.json'
    shown = run_tool(sys.executable, TOOL, *det(root, '--out', out)).stdout
    assert '0 problems' in shown and 'test: the same data as val' in shown
    report = json.loads(out.read_text())
    assert list(report) == ['train', 'val']
    assert not report['val']['notes']
    content = json.loads((root / 'annotations/train.json').read_text())
    for category in content['categories']:
        mine = [
            one
            for one in content['annotations']
            if one['category_id'] == category['id']
        ]
        assert report['train']['classes'][category['name']] == dict(
            objects=len(mine), images=len({one['image_id'] for one in mine})
        )
    assert report['train']['images'] == 8 and report['train']['kinds'] == dict(RGB=8)


def test_bad_detection_data(root, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    path = root / 'annotations/train.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['bbox'] = [1, 1, 0, 5]
    content['annotations'][1]['bbox'] = [60, 60, 10, 10]
    content['annotations'][2]['area'] = 0
    content['images'][3]['width'] += 1
    content['categories'].append(dict(id=99, name='fifth'))
    path.write_text(json.dumps(content))
    whole = (root / 'train/00001.png').read_bytes()
    (root / 'train/00001.png').write_bytes(whole[:-100])
    (root / 'train/00002.png').unlink()
    code, shown, report = run(*det(root))
    assert code == 1 and '7 problems' in shown
    cfg = Config.fromfile(det(root)[0])
    cfg.merge_from_dict(dict(one.split('=') for one in options(root)[1:]))
    text = cfg.pretty_text
    listed = [one for one in check(cfg) if one.severity != 'note']
    assert cfg.pretty_text == text
    assert shown.endswith(
        '\n'.join(
            ['7 problems', *(f'  train: {one.severity}: {one}' for one in listed), '']
        )
    )
    assert check(cfg, ('val',)) == []
    found = problems(report)
    for text in (
        'is empty',
        'reaches out of the image of 64 x 64',
        'has the area 0',
        'annotated as 65 x 64 pixels, but is loaded as 64 x 64',
        "1 categories that are none of the classes of the config (['fifth'])",
    ):
        assert [reason for _, reason in found if text in reason], text
    assert ('00002.png', 'is missing') in found
    assert [name for name, reason in found if 'truncated' in reason] == ['00001.png']
    assert not report['val']['problems']
    code, shown, report = run(*det(root, '--split', 'val'))
    assert code == 0 and list(report) == ['val']


def test_files_and_classes_of_a_config(root, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    code, _, report = run(*det(root), 'model.num_classes=7')
    assert code == 1
    assert 'bbox_head.num_classes=7, but ' in problems(report)[0][1]
    (root / 'annotations/train.json').write_text('no JSON')
    code, _, report = run(*det(root))
    assert code == 1 and 'is not JSON' in problems(report)[0][1]


def seg(root) -> list[str]:
    return ['configs/sr4ir/deeplabv3_edsr_tiny.py', *options(root)]


def test_segmentation_data(root, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    code, _, report = run(*seg(root))
    maps = [
        np.asarray(Image.open(path))
        for path in sorted((root / 'semantic/train').iterdir())
    ]
    counted = report['train']['classes']
    assert code == 0 and len(maps) == 8
    assert [one['pixels'] for one in counted.values()] == np.bincount(
        np.concatenate([one.ravel() for one in maps]), minlength=5
    ).tolist()
    assert list(counted)[:2] == ['background', 'horizontal']

    folder = root / 'semantic/train'
    for name, values in (
        ('00000', np.full((64, 64), 5)),
        ('00001', np.zeros((64, 63))),
        ('00002', np.zeros((64, 64, 3))),
    ):
        Image.fromarray(values.astype(np.uint8)).save(folder / f'{name}.png')
    (folder / '00003.png').unlink()
    (folder / '00004.png').write_bytes(b'')
    (root / 'train/00005.png').write_bytes(b'GIF89a')
    code, shown, report = run(*seg(root))
    assert code == 1
    found = dict(problems(report))
    assert found['00000.png'] == (
        'has the labels 5 (4096 pixels), but the classes are 0 to 4 and 255 is ignored'
    )
    assert found['00001.png'] == 'has 63 x 64 pixels, its image 64 x 64'
    assert 'has 3 channels (RGB)' in found['00002.png']
    assert found['00003.png'] == 'is missing'
    assert found['00004.png'] == 'is empty (0 bytes)'
    assert 'truncated or no image' in found['00005.png'] and '6 problems' in shown


def test_options_of_the_segmentation_dataset_are_used(root, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    train = 'train_dataloader.dataset.'
    for name in ('00000', '00001'):
        Image.new('L', (64, 64), 7).save(root / f'semantic/train/{name}.png')
    _, _, report = run(*seg(root), '--split', 'train')
    assert len(report['train']['problems']) == 2
    head = 'model.task.decode_head.ignore_index'
    no_weights = [
        f'model.task.{one}.loss_decode.class_weight=None'
        for one in ('decode_head', 'auxiliary_head')
    ]
    code, _, report = run(*seg(root), f'{head}=7', *no_weights, '--split', 'train')
    assert code == 0
    _, _, report = run(*seg(root), f'{train}reduce_zero_label=True', '--split', 'train')
    assert 'the labels 7' in problems(report)[0][1]
    # 4, checker, becomes 3, and nothing becomes 4
    assert problems(report)[-1][1] == "has no pixels of class 'checker'"


@pytest.fixture
def cls(root):
    """A classification config whose classes are in the folders' order."""

    def arguments(*more) -> list[str]:
        names = '"[checker,diagonal,horizontal,vertical]"'
        return [
            'configs/sr4ir/resnet18_edsr_tiny.py',
            *options(
                root / 'classification',
                **{
                    f'{split}_dataloader.dataset.metainfo.classes': names
                    for split in ('train', 'val', 'test')
                },
            ),
            *more,
        ]

    return arguments


def test_classification_data(cls, root, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    code, _, report = run(*cls())
    assert code == 0 and report['train']['classes'] == {
        name: dict(images=2)
        for name in ('checker', 'diagonal', 'horizontal', 'vertical')
    }
    folder = root / 'classification/train'
    Image.new('CMYK', (4, 4)).save(folder / 'checker/cmyk.jpg')
    Image.new('I;16', (4, 4)).save(folder / 'checker/deep.png')
    Image.new('RGBA', (4, 4)).save(folder / 'checker/alpha.png')
    Image.new('L', (4, 4)).save(folder / 'checker/grey.png')
    code, shown, report = run(*cls())
    assert code == 0 and '0 problems' in shown  # these are notes
    texts = {one['cause'] for one in report['train']['notes']}
    assert len(texts) == 3 and 'cmyk.jpg is CMYK, which the loader makes RGB' in shown
    for path in (folder / 'vertical').iterdir():
        path.unlink()
    code, _, report = run(*cls())
    assert code == 1
    assert problems(report) == [('vertical', 'is a class folder without an image')]
    (folder / 'vertical').rmdir()
    code, _, report = run(*cls())
    assert code == 1 and 'has 3 class folders, but the con' in problems(report)[0][1]


def test_names_in_another_order_than_the_folders(cls, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    names = '"[vertical,diagonal,horizontal,checker]"'
    code, _, report = run(*cls(f'train_dataloader.dataset.metainfo.classes={names}'))
    assert code == 1
    assert 'which the labels go by' in problems(report)[0][1]
    assert 'has other classes than train' in problems(report, 'all splits')[0][1]


def test_labels_beyond_the_classes(cls, root, run, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    listed = tmp_path / 'list.txt'
    listed.write_text('train/checker/00003.png 0\ntrain/checker/00003.png 4\n')
    train = 'train_dataloader.dataset.'
    code, _, report = run(
        *cls(f'{train}ann_file={listed}', f'{train}data_prefix='), '--split', 'train'
    )
    reasons = [reason for _, reason in problems(report)]
    assert code == 1 and 'has the label 4, but the classes are 0 to 3' in reasons
    assert 'is listed twice, with different annotations' in reasons
    listed.write_text('')
    _, _, report = run(*cls(f'{train}ann_file={listed}'), '--split', 'train')
    assert problems(report) == [
        ('', 'train_dataloader lists no image: set data_root, data_prefix and ann_file')
    ]


def test_training_images_in_validation_are_noted(cls, root, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    listed = root / 'classification/list.txt'
    listed.write_text(
        'train/horizontal/00000.png 2\ntrain/vertical/00001.png 3\n'
        'train/diagonal/00002.png 1\ntrain/checker/00003.png 0\n'
    )
    val = 'val_dataloader.dataset.'
    code, shown, report = run(*cls(f'{val}ann_file=list.txt', f'{val}data_prefix='))
    assert code == 0
    first = root / 'classification/train/checker/00003.png'
    assert f'note: {first} is in val and in train (and 3 more)' in shown


def write_config(path: Path, dataset: dict) -> Path:
    Config(dict(train_dataloader=dict(dataset=dataset))).dump(path)
    return path


def test_wrapped_and_joined_sets(root, run, tmp_path):
    part = dict(type='mmpretrain.CustomDataset', data_root=str(root / 'classification'))
    config = write_config(
        tmp_path / 'joined.py',
        dict(
            type='RepeatDataset',
            times=2,
            dataset=dict(
                type='ConcatDataset',
                datasets=[
                    dict(part, data_prefix='train'),
                    dict(part, data_prefix='val'),
                ],
            ),
        ),
    )
    code, _, report = run(config)
    assert code == 0
    assert {name: one['images'] for name, one in report.items()} == {
        'train[0]': 8,
        'train[1]': 16,  # class crops
    }


def test_a_set_in_memory_is_never_downloaded(run, tmp_path, monkeypatch):
    from mmpretrain.datasets import CIFAR10

    data = tmp_path / 'cifar'
    config = write_config(
        tmp_path / 'cifar.py', dict(type='mmpretrain.CIFAR10', data_root=str(data))
    )
    code, _, report = run(config)
    assert code == 1
    assert 'cannot be read (RuntimeError: Cannot find CIFAR10' in problems(report)[0][1]
    folder = data / CIFAR10.base_folder
    folder.mkdir(parents=True)
    for i, (name, _) in enumerate(CIFAR10.train_list):
        (folder / name).write_bytes(
            pickle.dumps(
                dict(data=np.zeros((2, 3072), np.uint8), labels=[2 * i, 2 * i + 1])
            )
        )
    (folder / 'batches.meta').write_bytes(
        pickle.dumps(dict(label_names=list(CIFAR10.METAINFO['classes'])))
    )
    monkeypatch.setattr(CIFAR10, '_check_integrity', lambda self: True)
    code, _, report = run(config)
    assert code == 0 and report['train']['kinds'] == {'in memory': 10}
    assert report['train']['classes']['frog'] == dict(images=1)


def test_boxes_of_another_format(run, tmp_path):
    root = tmp_path / 'voc'
    for folder in ('Annotations', 'JPEGImages'):
        (root / folder).mkdir(parents=True)
    Image.new('RGB', (40, 30)).save(root / 'JPEGImages/1.jpg')
    boxes = ((1, 1, 9, 9), (30, 1, 60, 9))
    text = ''.join(
        '<object><name>cat</name><difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>'
        '{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>'.format(*box)
        for box in boxes
    )
    (root / 'Annotations/1.xml').write_text(
        f'<annotation><size><width>40</width><height>30</height></size>{text}'
        '</annotation>'
    )
    (root / 'train.txt').write_text('1\n')
    config = write_config(
        tmp_path / 'voc.py',
        dict(
            type='mmdet.XMLDataset',
            data_root=str(root),
            ann_file='train.txt',
            data_prefix=dict(sub_data_root=str(root)),
            metainfo=dict(classes=['cat']),
        ),
    )
    code, _, report = run(config)
    assert code == 1 and report['train']['classes'] == dict(
        cat=dict(images=1, objects=1)
    )
    assert 'reaches out of the image of 40 x 30' in problems(report)[0][1]


def test_plain_files(root, run):
    code, shown, report = run(root / 'annotations/val.json', '--images', root / 'val')
    assert code == 0 and report['val']['images'] == 4
    code, shown, report = run(root / 'classification/val')
    assert code == 0 and 'checker' in shown
    (root / 'classification/val/checker/empty.png').touch()
    code, shown, report = run(root / 'classification/val')
    assert code == 1 and 'empty.png is empty (0 bytes): fetch' in shown


def test_lists_beside_the_class_folders_are_no_class(root, run):
    folder = root / 'classification/val'
    (folder / 'meta').mkdir()
    for name in ('classes', 'train', 'val'):  # as prepare_image_folder.py writes them
        (folder / f'meta/{name}.txt').touch()
    code, shown, report = run(folder)
    assert code == 0 and 'meta' not in shown
    assert report['val']['classes'] == {
        name: dict(images=4)
        for name in ('checker', 'diagonal', 'horizontal', 'vertical')
    }
    (folder / 'meta/train.txt').unlink()  # a class without images after all
    code, shown, report = run(folder)
    assert code == 1 and 'meta is a class folder without an image' in shown


def test_many_problems_are_all_in_the_file(root, run):
    for i in range(30):
        (root / f'classification/val/checker/empty{i}.png').touch()
    code, shown, report = run(root / 'classification/val')
    assert code == 1 and shown.count('is empty') == 20 and 'and 10 more, in' in shown
    assert len(report['val']['problems']) == 30


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['no.py'], 'no.py does not exist'),
        (
            [
                'configs/sr4ir/faster-rcnn_edsr_tiny.py',
                '--split',
                'test',
                '--cfg-options',
                'test_dataloader=None',
            ],
            'the config has no test_dataloader',
        ),
        (['configs/_base_/sr4ir.py'], 'the config has no dataloader'),
    ],
)
def test_refusals(arguments, message, run, monkeypatch):
    monkeypatch.chdir(ROOT)
    code, _, report = run(*arguments)
    assert code.startswith('error: ') and message in code and not report


def test_a_missing_package_of_the_data_is_named_and_of_the_networks_not(
    run, tmp_path, monkeypatch
):
    config = tmp_path / 'config.py'
    config.write_text(
        "model = dict(task=dict(head=dict(type='mmdet.PAAHead')))\n"
        "val_dataloader = dict(dataset=dict(type='mmdet.LVISV1Dataset'))\n"
    )
    monkeypatch.setattr(
        zoo_checks, 'find_spec', lambda name: name not in ('lvis', 'sklearn')
    )
    code, _, report = run(config)
    assert code == (
        'error: LVISV1Dataset needs the package lvis, which is not installed; run: pip '
        'install lvis'
    )
    assert not report


@pytest.mark.parametrize(
    'arguments',
    [
        ['a.json'],
        ['folder', '--images', 'x'],
        ['folder', '--split', 'val'],
        ['a.py', '--split', 'other'],
        ['a.py', '--workers', '0'],
    ],
)
def test_wrong_options(arguments, run):
    code, _, _ = run(*arguments)
    assert code == 2


def test_unknown_types_and_kinds(run, tmp_path):
    config = write_config(tmp_path / 'a.py', dict(type='mmdet.NoSuchDataset'))
    code, _, report = run(config)
    assert (
        code == 1
        and "'mmdet.NoSuchDataset', which is not registered" in (problems(report)[0][1])
    )
    (tmp_path / 'images').mkdir()
    Image.new('RGB', (4, 4)).save(tmp_path / 'images/1.png')
    config = write_config(
        tmp_path / 'b.py',
        dict(
            type='mmpretrain.CustomDataset',
            data_prefix=str(tmp_path / 'images'),
            with_label=False,
        ),
    )
    code, _, report = run(config)
    assert (
        code == 1
        and 'of train_dataloader has no labels, maps or boxes'
        in (problems(report)[0][1])
    )


def test_voc_2012_with_the_published_config(run, tmp_path):
    root = tmp_path / 'VOC2012'
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True)
    config = 'configs/sr4ir/seg_voc/seg_voc_sr4ir_edsr_x4.py'
    code, _, report = run(config, *options(root))
    lists = root / 'ImageSets/Segmentation'
    assert code == 1
    assert f'({lists}/train.txt does not exist)' in problems(report)[0][1]

    masks, images = root / 'SegmentationClass', root / 'JPEGImages'
    for i in range(5):
        Image.new('RGB', (6, 4)).save(images / f'{i}.jpg')
        labels = np.array([[255] * 6, [i] * 6, [0] * 6, [20] * 6], np.uint8)
        Image.fromarray(labels).convert('P').save(masks / f'{i}.png')
    (lists / 'train.txt').write_text('0\n1\n2\n')
    (lists / 'val.txt').write_text('3\n4\n')
    code, shown, report = run(config, *options(root))
    rows = [line.split() for line in shown.splitlines()]
    # 3 rows of 0 and one of image 0 itself; the row of 20 in each
    assert ['background', '3', '24'] in rows and ['tvmonitor', '3', '18'] in rows

    Image.fromarray(np.full((4, 6), 21, np.uint8)).save(masks / '0.png')
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(masks / '1.png')
    Image.new('RGB', (6, 4)).save(masks / '2.png')
    (images / '3.jpg').unlink()
    whole = (masks / '4.png').read_bytes()
    (masks / '4.png').write_bytes(whole[: len(whole) // 2])
    code, _, report = run(config, *options(root))
    assert code == 1
    found = dict(problems(report) + problems(report, 'val'))
    for name, cause in {
        '0.png': 'has the labels 21 (24 pixels), but the classes are 0',
        '1.png': 'has 5 x 4 pixels, its image 6 x 4',
        '2.png': 'has 3 channels (RGB), not one',
        '3.jpg': 'is missing',
        '4.png': 'is truncated or no image',
    }.items():
        assert cause in found[name]
