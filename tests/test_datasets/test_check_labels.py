"""Label maps and class folders are looked at before a training starts."""
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from mmsr4ir.datasets.checks.before_run import DataError, check_data


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
    return cfg


def write(path, image) -> None:
    cv2.imwrite(str(path), np.asarray(image, np.uint8))


def test_good_data_passes(seg, cls):
    check_data(seg, ('train', ))
    check_data(cls, ('train', ))


def test_a_map_of_another_size(seg, tmp_path):
    write(tmp_path / 'semantic/train/1.png', np.zeros((24, 30)))
    with pytest.raises(DataError, match=r'1\.png has 30 x 24 pixels, its image 32 x'):
        check_data(seg, ('train', ))


def test_a_map_has_the_size_of_its_image_when_loaded(seg, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (32, 24)).save(tmp_path / 'train/1.png', 'JPEG', exif=exif)
    with pytest.raises(DataError, match=r'1\.png has 32 x 24 pixels, its image 24 x'):
        check_data(seg, ('train', ))
    write(tmp_path / 'semantic/train/1.png', np.zeros((32, 24)))
    check_data(seg, ('train', ))


def test_labels_beyond_the_classes(seg, tmp_path):
    write(tmp_path / 'semantic/train/0.png', np.full((24, 32), 7))
    with pytest.raises(DataError, match=r'0\.png has the labels \[7\].*0 to 4 and 255'):
        check_data(seg, ('train', ))


def test_weights_of_classes_and_pixels_to_be_ignored(seg):
    """mmseg looks up the weight of class 255."""
    seg.model.task.auxiliary_head.loss_decode.class_weight = [1.0] * 5
    with pytest.raises(DataError, match='2 problems.*0.png has pixels to be ignored '
                       r'\(255\).*set class_weight=None'):
        check_data(seg, ('train', ))
    seg.val_dataloader = seg.train_dataloader
    check_data(seg, ('val', ))  # no loss is computed there
    other = dict(type='OhemCrossEntropy')  # it leaves such pixels out
    loss = seg.model.task.auxiliary_head.loss_decode
    seg.model.task.auxiliary_head.loss_decode = dict(loss, **other)
    check_data(seg, ('train', ))
    seg.model.task.auxiliary_head.loss_decode = loss
    loss.class_weight = [1.0] * 4
    with pytest.raises(DataError, match='auxiliary_head.loss_decode.class_weight has 4 '
                       'weights for 5 classes'):
        check_data(seg, ('train', ))


def test_heads_for_other_classes_than_the_data_set_has(seg, cls):
    seg.model.task.decode_head.num_classes = 6
    with pytest.raises(DataError, match='decode_head.num_classes is 6, but metainfo '
                       'has 5 classes'):
        check_data(seg, ('train', ))
    cls.model.task.head.num_classes = 7
    with pytest.raises(DataError, match='task.head.num_classes is 7, but metainfo has '
                       '4 classes'):
        check_data(cls, ('train', ))


def test_an_auxiliary_head_may_have_classes_of_its_own(seg):
    seg.model.task.auxiliary_head.num_classes = 2  # boundaries, in mmseg's STDC
    check_data(seg, ('train', ))


def test_images_elsewhere_than_in_files_are_not_looked_at(cls, monkeypatch):
    samples = [dict(img_path=f'store://{i}.png', gt_label=i) for i in range(4)]
    from mmpretrain.datasets import CustomDataset
    monkeypatch.setattr(CustomDataset, 'load_data_list', lambda self: samples)
    check_data(cls, ('train', ))


def test_images_in_class_folders_are_looked_at(cls, monkeypatch):
    folder = Path(cls.train_dataloader.dataset.data_root) / 'train/diagonal'
    whole = (folder / '0.png').read_bytes()
    (folder / '1.png').write_bytes(whole[:len(whole) // 2])
    with pytest.raises(DataError, match=r'1 problems.*1\.png is truncated'):
        check_data(cls, ('train', ))
    (folder / '1.png').unlink()
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(DataError, match=r'diagonal/0\.png is refused.*bomb'):
        check_data(cls, ('train', ))


def test_an_image_bomb_in_segmentation_is_named(seg, monkeypatch):
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    with pytest.raises(DataError, match=r'train/0\.png is refused.*bomb'):
        check_data(seg, ('train', ))


def test_images_of_maps_are_looked_at(seg, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / 'train/0.png', 'JPEG')
    whole = (tmp_path / 'train/0.png').read_bytes()
    (tmp_path / 'train/0.png').write_bytes(whole[:len(whole) * 7 // 10])
    Image.fromarray(noise[..., 0].astype(np.float32)).save(
        tmp_path / 'train/1.png', 'TIFF')
    with pytest.raises(DataError, match=r'2 problems.*train/0\.png is truncated.*'
                       r'train/1\.png cannot be read by OpenCV, the loader'):
        check_data(seg, ('train', ))


@pytest.mark.parametrize('mode, channels', [('RGB', 3), ('RGBA', 4), ('LA', 2)])
def test_a_map_of_several_channels(seg, tmp_path, mode, channels):
    Image.new(mode, (32, 24)).save(tmp_path / 'semantic/train/1.png')
    with pytest.raises(DataError, match=rf'1\.png has {channels} channels \({mode}\), '
                       'not one of class numbers: convert'):
        check_data(seg, ('train', ))


def test_more_best_classes_counted_than_there_are(cls):
    cls.val_dataloader = cls.train_dataloader
    cls.val_evaluator = dict(type='Accuracy')
    check_data(cls, ('val', ))
    cls.val_evaluator = [dict(type='mmpretrain.Accuracy', topk=(1, 5))]
    with pytest.raises(DataError, match=r'val_evaluator .* best 5 cl.*topk=\(1, \)'):
        check_data(cls, ('val', ))


def test_a_missing_and_a_truncated_map(seg, tmp_path):
    path = tmp_path / 'semantic/train/0.png'
    noise = np.random.default_rng(0).integers(0, 5, (24, 32))
    write(path, noise)
    path.write_bytes(path.read_bytes()[:60])
    (tmp_path / 'semantic/train/1.png').unlink()
    with pytest.raises(DataError, match=r'2 problems.*truncated.*1\.png is missing'):
        check_data(seg, ('train', ))


def test_an_empty_class_folder(cls):
    folder = Path(cls.train_dataloader.dataset.data_root) / 'train/diagonal'
    (folder / '0.png').unlink()
    with pytest.raises(DataError, match="class 'diagonal' has no image"):
        check_data(cls, ('train', ))


def test_classes_in_another_order_than_the_sorted_folders(cls):
    cls.train_dataloader.dataset.metainfo.classes = (
        'vertical', 'checker', 'diagonal', 'horizontal')
    with pytest.raises(DataError, match=r"classes .*'vertical', 'checker'.*but the"):
        check_data(cls, ('train', ))


def test_more_classes_than_the_head_has(cls):
    cls.model.task.head.num_classes = 3
    with pytest.raises(DataError, match=r'label 3, but .*num_classes is 3'):
        check_data(cls, ('train', ))


def test_a_folder_that_is_not_there(cls, tmp_path):
    cls.train_dataloader.dataset.data_root = str(tmp_path / 'none')
    with pytest.raises(DataError, match='train_dataloader cannot be read'):
        check_data(cls, ('train', ))


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'CMYK', 'I;16', 'LA', '1', 'P'])
def test_images_of_any_mode_come_as_three_channels_of_8_bits(mode, tmp_path):
    """The loader that all configs use makes BGR of them; 16 bits keep their upper 8."""
    from mmcv.transforms import LoadImageFromFile
    init_default_scope('mmengine')
    ramp = np.linspace(0, 255, 32 * 24).reshape(24, 32).astype(np.uint8)
    path = tmp_path / ('image.jpg' if mode == 'CMYK' else 'image.png')
    if mode == 'I;16':
        Image.fromarray((ramp.astype(np.uint16) << 8) | 77).save(path)
    else:
        Image.fromarray(np.stack([ramp] * 3, 2)).convert(mode).save(path)
    image = LoadImageFromFile()(dict(img_path=str(path)))['img']
    assert image.shape == (24, 32, 3) and image.dtype == np.uint8
    if mode == 'I;16':
        want = np.stack([ramp] * 3, 2)
    else:
        with Image.open(path) as opened:
            want = np.asarray(opened.convert('RGB'))[..., ::-1]
    # JPEG decoders differ a little; an inverted CMYK would differ by far more.
    assert np.abs(image.astype(int) - want).max() <= (8 if mode == 'CMYK' else 0)
