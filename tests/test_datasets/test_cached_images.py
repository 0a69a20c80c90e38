"""Images that are decoded once."""
import errno
import json
import os
import sys
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.fileio import LocalBackend, register_backend

from mmsr4ir.datasets import cached_images
from mmsr4ir.registry import TRANSFORMS

CONFIG = 'configs/sr4ir/faster-rcnn_edsr_tiny.py'


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'image.jpg'
    cv2.imwrite(str(path), np.random.default_rng(0).integers(
        0, 256, (20, 30, 3), dtype=np.uint8))
    return path


def cached(folder, **settings):
    return TRANSFORMS.build(
        dict(type='mmsr4ir.LoadCachedImage', cache_dir=folder, **settings))


def kept(folder):
    return sorted(path for path in folder.rglob('*') if path.is_file())


@pytest.mark.parametrize('settings', [
    {}, dict(color_type='grayscale'), dict(to_float32=True),
    dict(imdecode_backend='pillow')])
def test_the_pixels_are_the_same_and_decoded_once(
        image, tmp_path, monkeypatch, settings):
    want = LoadImageFromFile(**settings)(dict(img_path=str(image)))
    load = cached(tmp_path / 'cache', **settings)
    first = load(dict(img_path=str(image)))
    monkeypatch.setattr(mmcv, 'imfrombytes', None)  # nothing is decoded from here on
    again = load(dict(img_path=str(image)))
    again['img'][:] = 0  # as a transform that works in place
    third = load(dict(img_path=str(image)))
    for found in (first, third):
        assert found.keys() == want.keys()
        assert found['img'].dtype == want['img'].dtype
        np.testing.assert_array_equal(found['img'], want['img'])
        assert found['img_shape'] == found['ori_shape'] == want['img_shape']


def test_settings_and_changed_files_have_pixels_of_their_own(
        image, tmp_path, monkeypatch):
    folder = tmp_path / 'cache'
    load = cached(folder)
    load(dict(img_path=str(image)))
    monkeypatch.chdir(tmp_path)
    load(dict(img_path='image.jpg'))  # the same file
    assert len(kept(folder)) == 1
    assert cached(folder, color_type='grayscale')(
        dict(img_path=str(image)))['img'].ndim == 2
    assert len(kept(folder)) == 2
    mmcv.use_backend('pillow')
    try:  # what a setting of None stands for
        cached(folder, imdecode_backend=None)(dict(img_path=str(image)))
    finally:
        mmcv.use_backend('cv2')
    assert len(kept(folder)) == 3
    before = image.stat()
    image.write_bytes(cv2.imencode('.jpg', np.zeros((20, 30, 3), np.uint8))[
        1].tobytes().ljust(before.st_size, b'\0'))
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load(dict(img_path=str(image)))['img'].max() == 0


@register_backend('stores_of_a_test')
class Store(LocalBackend):
    """Files of one folder, under names without it, as a data base has them."""

    def __init__(self, folder) -> None:
        self.folder = folder

    def get(self, filepath):
        return super().get(f'{self.folder}/{filepath}')


def test_stores_with_the_same_names_have_pixels_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a file of that name lies here too
    for name, value in (('.', 1), ('a', 50), ('b', 200)):
        (tmp_path / name).mkdir(exist_ok=True)
        cv2.imwrite(f'{name}/0.png', np.full((4, 4, 3), value, np.uint8))
    loads = [cached(tmp_path / 'cache', backend_args=folder and dict(
        backend='stores_of_a_test', folder=folder)) for folder in (None, 'a', 'b')]
    for _ in range(2):
        found = [load(dict(img_path='0.png'))['img'].max() for load in loads]
        assert found == [1, 50, 200]


def test_an_unreadable_image_is_still_one(image, tmp_path):
    folder = tmp_path / 'cache'
    image.write_bytes(b'no image')
    for load in (LoadImageFromFile(), cached(folder)):
        with pytest.raises(AssertionError, match='failed to load image: .*image.jpg'):
            load(dict(img_path=str(image)))
    with pytest.raises(FileNotFoundError, match='none.jpg'):
        cached(folder)(dict(img_path=str(tmp_path / 'none.jpg')))
    assert cached(folder, ignore_empty=True)(
        dict(img_path=str(tmp_path / 'none.jpg'))) is None
    assert not kept(folder)


@pytest.fixture
def warnings(monkeypatch):
    lines = []
    monkeypatch.setattr(cached_images, 'print_log', lambda text, *_: lines.append(text))
    return lines


def test_damaged_pixels_are_decoded_anew(image, tmp_path, warnings):
    load = cached(tmp_path / 'cache')
    want = load(dict(img_path=str(image)))['img']
    file, = kept(tmp_path / 'cache')
    content = file.read_bytes()
    for damaged in (b'', content[:-1], content[:20], b'PK\3\4' + content,
                    content + b'x', content.replace(b'}', b' '),
                    content.replace(b'(20, 30', b'(10, 30')):
        file.write_bytes(damaged)
        np.testing.assert_array_equal(load(dict(img_path=str(image)))['img'], want)
        assert f'{file} cannot be used' in warnings.pop() and not warnings
        assert file.read_bytes() == content


def test_pixels_of_somebody_else_that_cannot_be_read(
        image, tmp_path, monkeypatch, warnings):
    load = cached(tmp_path / 'cache')
    want = load(dict(img_path=str(image)))['img']

    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(Path, 'open', refuse)
    np.testing.assert_array_equal(load(dict(img_path=str(image)))['img'], want)
    assert 'Permission denied' in warnings[0]


def test_a_full_disk_does_not_end_the_training(image, tmp_path, monkeypatch, warnings):
    load = cached(tmp_path / 'cache')

    def full(file, array):
        file.write(b'half')
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(np, 'save', full)
    for _ in range(2):
        assert load(dict(img_path=str(image)))['img'].shape == (20, 30, 3)
    line, = warnings
    assert f'no more images are kept in {tmp_path}/cache' in line
    assert 'No space left on device' in line and not kept(tmp_path / 'cache')


def test_a_folder_that_cannot_be_made_is_said_at_once(image):
    with pytest.raises(OSError, match='image.jpg/cache.* cannot be written to'):
        cached(image / 'cache')


def test_a_training_is_the_same(tmp_path, coco_root, tiny_options, run_tool):
    at = 'train_dataloader.dataset.pipeline.0'
    cache = {f'{at}.type': 'mmsr4ir.LoadCachedImage',
             f'{at}.cache_dir': tmp_path / 'cache'}
    logs = []
    for name, more in (('plain', {}), ('cached', cache)):
        run_tool(
            sys.executable, 'tools/train.py', CONFIG, '--work-dir', tmp_path / name,
            *tiny_options(coco_root, **{
                'train_dataloader.num_workers': 2,
                'train_dataloader.persistent_workers': True,
                'train_cfg.val_interval': 9} | more))
        lines = next((tmp_path / name).glob('*/vis_data/scalars.json')).read_text()
        logs.append([{key: value for key, value in json.loads(line).items()
                      if 'time' not in key} for line in lines.splitlines()])
    # Six iterations and a validation.
    assert len(logs[0]) == 7 and logs[1] == logs[0]
    assert [file.suffix for file in kept(tmp_path / 'cache')] == ['.npy'] * 6
