"""What the pictures show, against what the networks are given."""

from collections import OrderedDict

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import set_random_seed

import toys
from mmsr4ir.analysis.browse import batch_images, browse
from mmsr4ir.engine.build import build_loader, build_model
from mmsr4ir.visualization.drawing import enlarge, zoom_to

CONFIG = 'configs/sr4ir/faster-rcnn_edsr_tiny.py'


@pytest.fixture
def cfg(coco_root):
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(
        {
            f'{loader}_dataloader.{key}': value
            for loader, split in (('train', 'train'), ('val', 'val'))
            for key, value in {
                'batch_size': 2,
                'dataset.data_root': f'{coco_root}/',
                'dataset.ann_file': f'{split}.json',
                'dataset.data_prefix': dict(img=f'{split}/'),
                'dataset.metainfo': dict(classes=('green', 'blue')),
            }.items()
        }
    )
    cfg.model.num_classes = 2
    return cfg


def test_images_are_those_that_the_networks_get():
    cfg = toys.toy_config(
        task=dict(
            type='mmsr4ir.ToyTask',
            data_preprocessor=dict(
                mean=toys.MEAN, std=toys.STD, bgr_to_rgb=True, pad_size_divisor=8
            ),
        )
    )
    model = build_model(Config(dict(model=cfg)))
    seen = []
    model.sr.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    data = toys.toy_data(((12, 16), (16, 10)))
    original = [image.flip(0).permute(1, 2, 0).numpy() for image in data['inputs']]
    data = model.data_preprocessor(data, True)
    images = batch_images(model, data['inputs'], data['data_samples'])
    assert list(images) == ['lr', 'hr', 'sr', 'mix']
    # HR is the picture itself; around it is the task network's padding, in all three.
    for i, (height, width) in enumerate(((12, 16), (16, 10))):
        assert np.array_equal(images['hr'][i, :height, :width], original[i])
        for name in ('sr', 'mix'):
            outside = np.ones((16, 16), bool)
            outside[:height, :width] = False
            assert np.array_equal(images[name][i][outside], images['hr'][i][outside])
    assert np.array_equal(
        images['lr'], (seen[0] * 255).round().byte().permute(0, 2, 3, 1).numpy()
    )
    # Each cell of the mix is one of the two.
    for i in range(2):
        same = [(images['mix'][i] == images[name][i]).all(-1) for name in ('hr', 'sr')]
        assert (same[0] | same[1]).all() and not same[0].all() and not same[1].all()


def test_rows_of_training_images(cfg):
    # What comes out of the pipeline: the flipped image, and its boxes with it.
    cfg.train_dataloader.dataset.pipeline.insert(3, dict(type='RandomFlip', prob=1.0))
    set_random_seed(0)
    rows = list(browse(cfg, number=3, min_size=128))
    names = [name for name, _ in rows]
    assert len(set(names)) == 3
    set_random_seed(0)
    batch = next(iter(build_loader(cfg, 'train')))
    assert [s.img_path for s in batch['data_samples']] == names[:2]
    image = batch['inputs'][0].flip(0).permute(1, 2, 0).numpy()
    # In its own size, which the detector enlarges after S.
    assert np.array_equal(image, cv2.imread(names[0])[:, ::-1, ::-1])
    picture, zoom = rows[0][1], zoom_to(image.shape[:2], 128)
    image = enlarge(image, zoom)
    height, width = image.shape[:2]
    # The first panel, below its title and within its frame.
    assert zoom > 1 and np.array_equal(picture[23 : 23 + height, 1 : 1 + width], image)
    panels = picture.shape[1] // (width + 2)
    assert panels == 5
    truth = picture[23 : 23 + height, 4 * (width + 2) + 1 :][:, :width]
    changed = (truth != image).any(-1)
    x1, y1, x2, y2 = (
        zoom * batch['data_samples'][0].gt_instances.bboxes.tensor[0]
    ).int()
    assert changed[y1:y2, x1 - 1 : x1 + 2].mean() > 0.9
    assert changed[y1:y2, x2 - 1 : x2 + 2].mean() > 0.9
    assert 0 < changed.mean() < 0.7


def test_a_preprocessor_that_asks_for_the_iteration(cfg, monkeypatch):
    monkeypatch.setattr(MessageHub, '_instance_dict', OrderedDict())  # as at the start
    cfg.model.task.data_preprocessor.batch_augments = [
        dict(type='BatchSyncRandomResize', random_size_range=(160, 160), interval=1)
    ]
    heights = [picture.shape[0] for _, picture in browse(cfg, number=3, min_size=1)]
    assert heights[0] == heights[1] != 160 + 24 == heights[2]


def test_the_weights_of_s(cfg, tmp_path):
    model = build_model(cfg)
    with torch.no_grad():
        for value in model.sr.parameters():
            value.zero_()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'all.pth')
    (_, with_zeros), (_, random) = (
        next(iter(browse(cfg, 'val', 1, checkpoint, 64)))
        for checkpoint in (str(tmp_path / 'all.pth'), None)
    )
    width = with_zeros.shape[1] // 5
    sr, hr = (slice(i * width, (i + 1) * width) for i in (2, 0))
    assert np.array_equal(with_zeros[:, hr], random[:, hr])
    # EDSR adds its mean colour to what is nothing here.
    assert with_zeros[30:60, sr][:, 9:40].std((0, 1)).max() == 0
    assert random[30:60, sr][:, 9:40].std((0, 1)).max() > 0
    del model.sr.conv_first
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'part.pth')
    with pytest.raises(ValueError, match='part.pth does not fit the config'):
        build_model(cfg, str(tmp_path / 'part.pth'))


def test_what_is_missing_is_named(cfg):
    cfg.val_dataloader = None
    with pytest.raises(ValueError, match='no val_dataloader'):
        next(browse(cfg, 'val'))
    cfg.train_dataloader.dataset.ann_file = 'none.json'
    with pytest.raises(ValueError, match='train_dataloader: .*none.json'):
        next(browse(cfg))
    cfg.visualizer = None
    cfg.train_dataloader.dataset.ann_file = 'train.json'
    with pytest.raises(ValueError, match='no visualizer'):
        next(browse(cfg))
