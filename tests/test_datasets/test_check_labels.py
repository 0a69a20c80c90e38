"""Label maps and class folders are looked at before a training starts."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from data_checks import check_data, found
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from PIL import Image

from mmsr4ir.datasets.checks import maps
from mmsr4ir.utils.errors import DataError


@pytest.fixture
def seg(tmp_path) -> Config:
    """Two images with label maps of the classes 0 to 4 and 255."""
    for kind in ('train', 'semantic/train'):
        (tmp_path / kind).mkdir(parents=True)
    for i in range(2):
        write(tmp_path / f'train/{i}.png', np.full((24, 32, 3), 90))
        labels = np.arange(24 * 32).reshape(24, 32) % 5
        labels[0, 0] = 255
        write(tmp_path / f'semantic/train/{i}.png', labels)
    cfg = Config.fromfile(ROOT / 'configs/sr4ir/deeplabv3_edsr_tiny.py')
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    for head in (cfg.model.task.decode_head, cfg.model.task.auxiliary_head):
        head.num_classes = 5
        head.loss_decode.class_weight = None
    cfg.model.pop('num_classes')
    return cfg


@pytest.fixture
def cls(tmp_path_factory) -> Config:
    tmp_path = tmp_path_factory.mktemp('cls')
    for name in ('horizontal', 'vertical', 'diagonal', 'checker'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        write(tmp_path / f'train/{name}/0.png', np.full((16, 16, 3), 50))
    cfg = Config.fromfile(ROOT / 'configs/sr4ir/resnet18_edsr_tiny.py')
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    cfg.model.task.head.num_classes = 4
    cfg.model.pop('num_classes')
    return cfg


def write(path, image) -> None:
    cv2.imwrite(str(path), np.asarray(image, np.uint8))


def test_good_data_passes(seg, cls):
    check_data(seg, ('train',))
    check_data(cls, ('train',))


def test_a_map_of_another_size(seg, tmp_path):
    write(tmp_path / 'semantic/train/1.png', np.zeros((24, 30)))
    with pytest.raises(DataError, match=r'1\.png has 30 x 24 pixels, its image 32 x'):
        check_data(seg, ('train',))


def test_a_map_has_the_size_of_its_image_when_loaded(seg, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (32, 24)).save(tmp_path / 'train/1.png', 'JPEG', exif=exif)
    with pytest.raises(DataError, match=r'1\.png has 32 x 24 pixels, its image 24 x'):
        check_data(seg, ('train',))
    write(tmp_path / 'semantic/train/1.png', np.zeros((32, 24)))
    check_data(seg, ('train',))


def test_labels_beyond_the_classes(seg, tmp_path):
    write(tmp_path / 'semantic/train/0.png', np.full((24, 32), 7))
    with pytest.raises(DataError, match=r'0\.png has the labels 7 \(768 p.* 0 to 4 a'):
        check_data(seg, ('train',))


def test_weights_of_classes_and_pixels_to_be_ignored(seg):
    """mmseg looks up the weight of class 255."""
    seg.model.task.auxiliary_head.loss_decode.class_weight = [1.0] * 5
    with pytest.raises(
        DataError,
        match='2 problems.*0.png has pixels to be ignored '
        r'\(255\).*Set class_weight=None',
    ):
        check_data(seg, ('train',))
    seg.val_dataloader = seg.train_dataloader
    check_data(seg, ('val',))  # no loss is computed there
    other = dict(type='OhemCrossEntropy')  # it leaves such pixels out
    loss = seg.model.task.auxiliary_head.loss_decode
    seg.model.task.auxiliary_head.loss_decode = dict(loss, **other)
    check_data(seg, ('train',))
    seg.model.task.auxiliary_head.loss_decode = loss
    loss.class_weight = [1.0] * 4
    with pytest.raises(DataError, match='3 problems'):
        check_data(seg, ('train',))


def test_heads_for_other_classes_than_the_data_set_has(seg, cls):
    seg.model.task.decode_head.num_classes = 6
    with pytest.raises(
        DataError,
        match='decode_head.num_classes=6, but metainfo of '
        'train_dataloader has 5 classes: set model.num_classes=5',
    ):
        check_data(seg, ('train',))
    cls.model.task.head.num_classes = 7
    with pytest.raises(
        DataError,
        match='task.head.num_classes=7, but metainfo of train_dataloader has 4 classes',
    ):
        check_data(cls, ('train',))


def test_an_auxiliary_head_may_have_classes_of_its_own(seg):
    seg.model.task.auxiliary_head.num_classes = 2  # boundaries, in mmseg's STDC
    check_data(seg, ('train',))


def test_images_elsewhere_than_in_files_are_not_looked_at(cls, monkeypatch):
    samples = [dict(img_path=f'store://{i}.png', gt_label=i) for i in range(4)]
    from mmpretrain.datasets import CustomDataset

    monkeypatch.setattr(CustomDataset, 'load_data_list', lambda self: samples)
    check_data(cls, ('train',))


def test_images_in_class_folders_are_looked_at(cls, monkeypatch):
    folder = Path(cls.train_dataloader.dataset.data_root) / 'train/diagonal'
    whole = (folder / '0.png').read_bytes()
    (folder / '1.png').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r'/1\.png is truncated'):
        check_data(cls, ('train',))
    (folder / '1.png').unlink()
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(DataError, match=r'diagonal/0\.png is refused.*bomb'):
        check_data(cls, ('train',))


def test_an_image_bomb_in_segmentation_is_named(seg, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(DataError, match=r'train/0\.png is refused.*bomb'):
        check_data(seg, ('train',))


def test_images_of_maps_are_looked_at(seg, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / 'train/0.png', 'JPEG')
    whole = (tmp_path / 'train/0.png').read_bytes()
    (tmp_path / 'train/0.png').write_bytes(whole[: len(whole) * 7 // 10])
    Image.fromarray(noise[..., 0].astype(np.float32)).save(
        tmp_path / 'train/1.png', 'TIFF'
    )
    with pytest.raises(
        DataError,
        match=r'2 problems.*train/0\.png is truncated.*'
        r'train/1\.png cannot be read by OpenCV, the loader',
    ):
        check_data(seg, ('train',))


@pytest.mark.parametrize('mode, channels', [('RGB', 3), ('RGBA', 4), ('LA', 2)])
def test_a_map_of_several_channels(seg, tmp_path, mode, channels):
    Image.new(mode, (32, 24)).save(tmp_path / 'semantic/train/1.png')
    with pytest.raises(
        DataError,
        match=rf'1\.png has {channels} channels \({mode}\), '
        'not one of class numbers: convert',
    ):
        check_data(seg, ('train',))


def test_more_best_classes_counted_than_there_are(cls):
    cls.val_dataloader = cls.train_dataloader
    cls.val_evaluator = dict(type='Accuracy')
    check_data(cls, ('val',))
    cls.val_evaluator = [dict(type='mmpretrain.Accuracy', topk=(1, 5))]
    with pytest.raises(DataError, match=r'val_evaluator: .* best 5 cl.*topk=\(1, \)'):
        check_data(cls, ('val',))


def test_a_missing_and_a_truncated_map(seg, tmp_path):
    path = tmp_path / 'semantic/train/0.png'
    noise = np.random.default_rng(0).integers(0, 5, (24, 32))
    write(path, noise)
    path.write_bytes(path.read_bytes()[:60])
    (tmp_path / 'semantic/train/1.png').unlink()
    with pytest.raises(DataError, match=r'2 problems.*truncated.*1\.png is missing'):
        check_data(seg, ('train',))


def test_an_empty_class_folder(cls):
    folder = Path(cls.train_dataloader.dataset.data_root) / 'train/diagonal'
    (folder / '0.png').unlink()
    with pytest.raises(DataError, match='train/diagonal is a class folder without'):
        check_data(cls, ('train',))


def test_one_class_of_images_is_nothing_to_learn(cls):
    folder = Path(cls.train_dataloader.dataset.data_root) / 'train'
    for name in ('vertical', 'diagonal', 'checker'):
        (folder / name / '0.png').unlink()
        (folder / name).rmdir()
    cls.train_dataloader.dataset.metainfo.classes = ('horizontal',)
    cls.model.task.head.num_classes = 1
    ((severity, text),) = found(cls)
    assert severity == 'error' and text.startswith(
        "train_dataloader has the one class 'horizontal', and the loss of model.task."
        'head chooses one of the classes: there is nothing to learn'
    )
    cls.val_dataloader = cls.train_dataloader
    assert found(cls, ('val',)) == []
    cls.model.task.head.loss = dict(type='CrossEntropyLoss', use_sigmoid=True)
    assert found(cls) == []
    cls.model.task = dict(type='mmsr4ir.TorchvisionClassifier', num_classes=1)
    ((_, text),) = found(cls)
    assert 'the loss of model.task.arch chooses one of the classes' in text


@pytest.mark.parametrize('learns', ['', 'out_channels', 'use_sigmoid'])
def test_one_class_of_maps_is_nothing_to_learn_by_a_softmax(seg, tmp_path, learns):
    seg.train_dataloader.dataset.metainfo = dict(classes=('ship',), palette=[[0] * 3])
    for head in (seg.model.task.decode_head, seg.model.task.auxiliary_head):
        head.num_classes = 1
    for i in range(2):
        write(tmp_path / f'semantic/train/{i}.png', np.zeros((24, 32)))
    if learns == 'out_channels':
        seg.model.task.decode_head.out_channels = 1
    elif learns:
        seg.model.task.decode_head.loss_decode.use_sigmoid = True
    problems = found(seg)
    if learns:
        assert problems == []
    else:
        ((severity, text),) = problems
        assert severity == 'error' and "has the one class 'ship'" in text
        assert 'model.task.decode_head chooses one of the classes' in text


def test_classes_in_another_order_than_the_sorted_folders(cls):
    cls.train_dataloader.dataset.metainfo.classes = (
        'vertical',
        'checker',
        'diagonal',
        'horizontal',
    )
    with pytest.raises(DataError, match=r"go by, but .*classes .'vertical', 'check"):
        check_data(cls, ('train',))


def test_more_classes_than_the_head_has(cls):
    cls.model.task.head.num_classes = 3
    with pytest.raises(DataError, match='head.num_classes=3, but .* has 4 classes'):
        check_data(cls, ('train',))


def test_a_folder_that_is_not_there(cls, tmp_path):
    cls.train_dataloader.dataset.data_root = str(tmp_path / 'none')
    with pytest.raises(DataError, match='train_dataloader cannot be read'):
        check_data(cls, ('train',))


def two_classes(seg) -> None:
    seg.train_dataloader.dataset.metainfo = dict(
        classes=('ground', 'ship'), palette=[[0, 0, 0], [255, 0, 0]]
    )
    for head in (seg.model.task.decode_head, seg.model.task.auxiliary_head):
        head.num_classes = 2


def test_weights_for_other_classes_than_a_head_has(seg):
    seg.model.task.auxiliary_head.loss_decode.class_weight = [1.0] * 4
    assert (
        'error',
        'model.task.auxiliary_head.loss_decode.class_weight has 4 weights '
        'for 5 classes: give as many, or None',
    ) in found(seg)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_maps_of_0_and_255(seg, tmp_path, split):
    """All but the background would be ignored, and mIoU be 100."""
    two_classes(seg)
    labels = np.zeros((24, 32))
    labels[5:9] = 255
    for i in range(2):
        write(tmp_path / f'semantic/train/{i}.png', labels)
    seg.val_dataloader = seg.train_dataloader
    severity, text = found(seg, (split,))[0]
    assert severity == 'error' and text.startswith(f'{tmp_path}/semantic/train/0.png')
    assert 'only the values 0 and 255, and 255 is ignored: the one class left' in text
    assert 'write 1 instead of 255' in text
    two_names = seg.train_dataloader.dataset.metainfo
    seg.train_dataloader.dataset.metainfo = dict(classes=('ship',), palette=[[0] * 3])
    assert "set classes=('background', 'ship')" in found(seg, (split,))[0][1]
    seg.train_dataloader.dataset.metainfo = two_names
    write(tmp_path / 'semantic/train/1.png', labels // 255)
    assert found(seg, (split,)) == []


def test_a_class_that_is_in_no_map(seg, tmp_path, monkeypatch):
    for i in range(2):
        write(tmp_path / f'semantic/train/{i}.png', np.arange(768).reshape(24, 32) % 4)
    assert found(seg) == [
        (
            'error',
            "train has no pixels of class 'checker': add some, "
            'or take it out of the classes',
        )
    ]
    monkeypatch.setattr(maps, 'COUNTED_MAPS', 1)
    ((severity, text),) = found(seg)
    assert severity == 'warning' and 'in the 1 maps that were counted' in text
    assert found(seg, whole=True)[0][0] == 'error'
    seg.val_dataloader = seg.train_dataloader
    assert found(seg, ('val',)) == []


def test_an_s_that_learns_from_pixels_alone_needs_no_labels(cls):
    cls.train_dataloader.dataset.with_label = False
    cls.model.recipe = dict(sr=dict(update=['sr'], losses=dict(pixel=1.0)))
    assert found(cls) == []
    cls.model.recipe.sr.losses.task_sr = 1.0
    ((_, text),) = found(cls)
    assert 'CustomDataset of train_dataloader has no labels' in text


def test_tests_without_labels(seg, cls, tmp_path):
    cls.test_dataloader = cls.train_dataloader
    cls.test_dataloader.dataset.with_label = False
    cls.test_evaluator = [dict(type='mmsr4ir.SRQuality')]
    assert found(cls, ('test',)) == []
    cls.test_evaluator = [dict(type='Accuracy')]
    ((_, text),) = found(cls, ('test',))
    assert 'CustomDataset of test_dataloader has no labels' in text
    seg.test_dataloader = seg.train_dataloader
    seg.test_dataloader.dataset.data_prefix = ConfigDict(img_path='train')
    seg.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile')]
    seg.test_evaluator = [dict(type='IoUMetric', format_only=True)]
    assert found(seg, ('test',)) == []
    (tmp_path / 'train/0.png').write_bytes(b'')
    assert found(seg, ('test',))[0][1].startswith(f'{tmp_path}/train/0.png is empty')
    seg.test_evaluator = [dict(type='IoUMetric')]
    assert 'has no maps: set data_prefix' in found(seg, ('test',))[-1][1]


def test_other_class_folders_than_classes(cls):
    cls.train_dataloader.dataset.metainfo.classes = (
        'horizontal',
        'vertical',
        'diagonal',
        'checker',
        'ring',
    )
    severity, text = found(cls)[0]
    assert severity == 'error' and '/train has 4 class folders' in text
    assert "5 classes: ['ring'] only in the config, [] only there: set metainfo" in text


@pytest.mark.parametrize('place', ['batch_augments', 'train_cfg'])
def test_mixed_labels_have_the_classes_of_the_data(cls, place):
    mixing = dict(augments=[dict(type='Mixup', alpha=0.8)])
    cls.train_dataloader.dataset.metainfo.classes = sorted(
        cls.train_dataloader.dataset.metainfo.classes
    )
    cls.data_preprocessor.num_classes = 7
    assert found(cls) == []
    if place == 'train_cfg':
        cls.model.task.train_cfg = mixing
    else:
        cls.data_preprocessor.batch_augments = mixing
    assert found(cls) == [
        (
            'error',
            "data_preprocessor has num_classes=7, but ['Mixup'] mixes labels of 4 "
            'classes: set data_preprocessor=dict(num_classes=4)',
        )
    ]
    cls.data_preprocessor.num_classes = 4
    assert found(cls) == []


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'CMYK', 'I;16', 'LA', '1', 'P'])
def test_images_of_any_mode_come_as_three_channels_of_8_bits(mode, tmp_path):
    """The loader that all configs use makes BGR of them; 16 bits keep their upper 8."""
    from mmcv.transforms import LoadImageFromFile

    ramp = np.linspace(0, 255, 32 * 24).reshape(24, 32).astype(np.uint8)
    path = tmp_path / ('image.jpg' if mode == 'CMYK' else 'image.png')
    if mode == 'I;16':
        Image.fromarray((ramp.astype(np.uint16) << 8) | 77).save(path)
    else:
        Image.fromarray(np.stack([ramp] * 3, 2)).convert(mode).save(path)
    with DefaultScope.overwrite_default_scope('mmengine'):
        image = LoadImageFromFile()(dict(img_path=str(path)))['img']
    assert image.shape == (24, 32, 3) and image.dtype == np.uint8
    if mode == 'I;16':
        want = np.stack([ramp] * 3, 2)
    else:
        with Image.open(path) as opened:
            want = np.asarray(opened.convert('RGB'))[..., ::-1]
    # JPEG decoders differ a little; an inverted CMYK would differ by far more.
    assert np.abs(image.astype(int) - want).max() <= (8 if mode == 'CMYK' else 0)
