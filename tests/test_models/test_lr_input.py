"""LR images through the model, against the task network alone on the enlarged image."""

import numpy as np
import pytest
import torch
from lr_models import SCALE, compare, tiny_config, tiny_model
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mmsr4ir.models.prediction.lr_input import LRInput, recognise, super_resolve_all
from mmsr4ir.registry import MODELS
from toys import toy_config, toy_data

SAMPLES = dict(det=DetDataSample, seg=SegDataSample, cls=DataSample)


@pytest.fixture(scope='module', params=['det', 'seg', 'cls'])
def task(request):
    return request.param, tiny_model(request.param)


def images(*sizes, seed=0) -> list[torch.Tensor]:
    """uint8 BGR images as a loader gives them."""
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy(rng.integers(0, 256, (3, *size), dtype=np.uint8))
        for size in sizes
    ]


def data(kind: str, pictures, **meta) -> dict:
    """A batch as a dataloader gives it."""
    samples = []
    for picture in pictures:
        size = tuple(picture.shape[-2:])
        samples.append(
            SAMPLES[kind](
                metainfo=dict(
                    dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)),
                    **meta,
                )
            )
        )
    return dict(inputs=list(pictures), data_samples=samples)


def enlarge(picture: torch.Tensor) -> torch.Tensor:
    return picture.repeat_interleave(SCALE, 1).repeat_interleave(SCALE, 2)


def test_the_same_as_the_task_network_alone(task):
    kind, model = task
    pictures = images((32, 40), (32, 40))
    model.lr_input = LRInput(coordinates='sr')
    found = model.test_step(data(kind, pictures))
    alone = model.task.test_step(data(kind, [enlarge(p) for p in pictures]))
    for one, other, picture in zip(found, alone, pictures, strict=True):
        compare(kind, one, other, 1)
        assert one.metainfo['ori_shape'] == (32 * SCALE, 40 * SCALE)
        assert one.metainfo['img_shape'] == (32, 40)
        sr = one.images['sr']
        assert torch.equal(one.images['lr'], picture.flip(0))
        assert torch.equal(sr, enlarge(picture.flip(0)))
        assert 'hr' not in one.images


def test_in_the_coordinates_of_the_given_image(task):
    kind, model = task
    pictures = images((32, 40))
    model.lr_input = LRInput()
    found = model.test_step(data(kind, pictures))[0]
    # The library's own way back from an enlarged image.
    alone = model.task.test_step(
        dict(
            inputs=[enlarge(p) for p in pictures],
            data_samples=data(
                kind, pictures, img_shape=(128, 160), scale_factor=(SCALE, SCALE)
            )['data_samples'],
        )
    )[0]
    compare(kind, found, alone, 1)
    given = model.data_preprocessor(data(kind, pictures))['data_samples'][0].metainfo
    assert found.metainfo == given and given['ori_shape'] == (32, 40)
    if kind == 'det':
        model.lr_input = LRInput(coordinates='sr')
        compare(kind, found, model.test_step(data(kind, pictures))[0], SCALE)
        assert found.pred_instances.bboxes.max() <= 40
    if kind == 'seg':
        assert found.pred_sem_seg.data.shape == (1, 32, 40)


def test_images_of_different_sizes(task):
    kind, model = task
    pictures = images((32, 40), (24, 64), (32, 40))
    model.lr_input = LRInput()
    if kind == 'det':  # the loader's batch is padded
        found = model.test_step(data(kind, pictures))
        sizes = [tuple(one.images['sr'].shape) for one in found]
        assert sizes == [(3, 128, 160), (3, 96, 256), (3, 128, 160)]
        for one, picture in zip(found, pictures, strict=True):
            assert torch.equal(one.images['lr'], picture.flip(0))
            assert (one.pred_instances.bboxes[:, 2] <= picture.shape[-1]).all()
            assert (one.pred_instances.bboxes[:, 3] <= picture.shape[-2]).all()
    else:
        lr = [picture.flip(0) / 255 for picture in pictures]
        found = recognise(
            model,
            lr,
            super_resolve_all(model, lr, model.lr_input),
            data(kind, pictures)['data_samples'],
            'lr',
        )
        for one, picture in zip(found, pictures, strict=True):
            compare(kind, one, model.test_step(data(kind, [picture]))[0], 1)


def test_labels_of_hr_images_whose_size_the_scale_does_not_divide():
    model = tiny_model('seg')
    model.lr_input = LRInput(coordinates='sr')
    batch = data('seg', images((32, 40)))
    batch['data_samples'][0].gt_sem_seg = PixelData(
        data=torch.zeros(1, 126, 160, dtype=torch.long)
    )
    found = model.test_step(batch)[0]
    assert found.pred_sem_seg.data.shape == (1, 126, 160)


def test_toy_networks_with_padding_and_another_channel_order():
    for order in (dict(bgr_to_rgb=True), dict(rgb_to_bgr=True), {}):
        cfg = toy_config(
            task=dict(
                type='mmsr4ir.ToyTask',
                data_preprocessor=dict(
                    mean=[1.0, 2.0, 3.0],
                    std=[4.0, 5.0, 6.0],
                    pad_size_divisor=16,
                    **order,
                ),
            )
        )
        model = MODELS.build(ConfigDict(cfg)).eval()
        model.lr_input = LRInput()
        batch = toy_data(((9, 7), (5, 8)))
        found = model.test_step(batch)
        for one, picture in zip(found, batch['inputs'], strict=True):
            rgb = picture if 'rgb_to_bgr' in order else picture.flip(0)
            assert torch.equal(one.images['lr'], rgb)
            with torch.no_grad():
                sr = model.sr(rgb[None] / 255)[0]
            assert torch.equal(
                one.images['sr'], (sr.clamp(0, 1) * 255).round().to(torch.uint8)
            )
        # The task network saw the restored images as its preprocessor pads them.
        with torch.no_grad():
            restored = [
                model.sr((p if 'rgb_to_bgr' in order else p.flip(0))[None] / 255)[0]
                * 255
                for p in batch['inputs']
            ]
        alone = model.task.test_step(
            dict(
                inputs=[sr if 'rgb_to_bgr' in order else sr.flip(0) for sr in restored],
                data_samples=toy_data(((9, 7), (5, 8)))['data_samples'],
            )
        )
        for one, other in zip(found, alone, strict=True):
            torch.testing.assert_close(one.score, other.score)


def test_without_hr_images_there_is_nothing_else_to_test_on():
    model = MODELS.build(ConfigDict(toy_config(test_on='hr'))).eval()
    model.lr_input = LRInput()
    with pytest.raises(ValueError, match="test_on='hr' needs HR images"):
        model.test_step(toy_data())


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(coordinates='hr'), "coordinates='hr': use one of"),
        (dict(tile=8), 'tile=8 is too small for overlap=32'),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValueError, match=message):
        LRInput(**settings)


def test_masks():
    cfg = tiny_config('det')
    head = cfg.model.task.roi_head
    head.mask_roi_extractor = dict(
        head.bbox_roi_extractor,
        roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=1),
    )
    head.mask_head = dict(
        type='FCNMaskHead',
        num_convs=1,
        in_channels=32,
        conv_out_channels=8,
        num_classes=4,
    )
    cfg.model.task.test_cfg.rcnn.mask_thr_binary = 0.5
    model = tiny_model('det', cfg)
    model.lr_input = LRInput()
    pictures = images((32, 40))
    low = model.test_step(data('det', pictures))[0].pred_instances
    model.lr_input = LRInput(coordinates='sr')
    high = model.test_step(data('det', pictures))[0].pred_instances
    assert low.masks.shape[1:] == (32, 40) and high.masks.shape[1:] == (128, 160)
    assert high.masks.any()
    # Each mask covers the same share of its image, but for the coarser pixels.
    shares = [m.masks.float().mean((1, 2)) for m in (low, high)]
    torch.testing.assert_close(*shares, rtol=0, atol=0.05)
