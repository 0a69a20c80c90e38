"""Degradations put together: presets, sizes, seeds, and in the model."""

import io

import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from PIL import Image

from mmsr4ir.engine import PerNetworkOptimWrapperConstructor
from mmsr4ir.models import (
    Degradation,
    GaussianNoise,
    JPEGCompression,
    RandomBlur,
    RandomResize,
)
from mmsr4ir.models.image_space import extend_edges
from mmsr4ir.registry import MODELS
from toys import picture, toy_config, toy_data

PRESETS = ROOT / 'configs' / '_base_' / 'degradations'


def preset(name: str, **changes) -> dict:
    return dict(Config.fromfile(PRESETS / f'{name}.py').degradation, **changes)


def test_mix_a_step_by_step():
    hr = picture(64, 48)
    small = cv2.resize(
        hr.permute(1, 2, 0).numpy(), (6, 8), interpolation=cv2.INTER_CUBIC
    ).clip(0, 1)
    file = io.BytesIO()
    Image.fromarray((small * 255).round().astype(np.uint8)).save(
        file, 'JPEG', quality=75
    )
    lr = MODELS.build(preset('mix_a'))(hr[None])[0]
    np.testing.assert_allclose(
        lr.permute(1, 2, 0) * 255, np.asarray(Image.open(file)), atol=2.01
    )


def test_mix_b_has_the_ranges_of_the_literature():
    cfg = preset('mix_b')
    degradation = MODELS.build(cfg)
    shown = [step.__dict__ for step in degradation.steps]
    assert [type(step) for step in degradation.steps] == [
        RandomBlur,
        RandomResize,
        GaussianNoise,
        JPEGCompression,
    ]
    assert (shown[0]['kernels'], shown[0]['sigma']) == ([41], (0.1, 8.0))
    assert shown[0]['kinds'] == dict(iso=0.5, aniso=0.5)
    assert shown[1]['divisor'] == (1.0, 16.0)
    assert shown[2]['level'] == (0.0, 10.0)
    assert shown[3]['quality'] == (50, 100)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(['mix_a', 'mix_b', 'real_esrgan']),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 9),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 99),
)
def test_shape_and_values(name, scale, rows, columns, training, seed):
    torch.manual_seed(seed)
    degradation = MODELS.build(preset(name, scale=scale)).train(training)
    hr = torch.rand(2, 3, rows * scale, columns * scale)
    lr = degradation(hr)
    assert lr.shape == (2, 3, rows, columns) and lr.dtype == hr.dtype
    assert 0 <= lr.min() and lr.max() <= 1
    torch.testing.assert_close(lr * 255, (lr * 255).round(), atol=1e-3, rtol=0)


@pytest.mark.parametrize('name', ['mix_b', 'real_esrgan'])
def test_an_image_is_always_degraded_in_the_same_way_in_eval_mode(name):
    images = [
        picture(*size, seed) for seed, size in enumerate([(32, 48), (30, 41), (48, 20)])
    ]

    def degrade(order, height, width):
        """Degrade images in a batch, each padded to the size by its edge pixels."""
        batch = torch.full((len(order), 3, height, width), 0.5)
        for row, index in zip(batch, order, strict=True):
            image = images[index]
            row[:, : image.shape[1], : image.shape[2]] = image
        sizes = [images[index].shape[1:] for index in order]
        batch = extend_edges(batch, sizes, 4)
        torch.manual_seed(height)  # what the training has drawn
        lr = MODELS.build(preset(name)).eval()(batch, sizes)
        assert torch.equal(
            torch.get_rng_state(), torch.manual_seed(height).get_state()
        ), 'the global state stays as it was'
        return {
            index: one[:, : -(-size[0] // 4), : -(-size[1] // 4)]
            for index, one, size in zip(order, lr, sizes, strict=True)
        }

    want = degrade([0, 1, 2], 48, 48)
    for other in (degrade([2, 0], 64, 80), degrade([1], 32, 44)):
        for index, lr in other.items():
            assert torch.equal(lr, want[index])
    seeded = MODELS.build(preset(name, seed=1)).eval()(images[0][None])[0]
    assert not torch.equal(seeded, want[0])


def test_rounding_on_the_way_to_the_image_does_not_change_the_draw():
    image = (picture() * 255).round() / 255
    almost = ((image * 255 - 123.7) / 58.4 * 58.4 + 123.7) / 255
    assert not torch.equal(image, almost)
    degradation = Degradation(
        1, [dict(type='mmsr4ir.GaussianNoise', level=20.0)]
    ).eval()
    assert torch.equal(degradation(image[None]), degradation(almost[None]))


def test_the_padding_of_an_lr_image_repeats_its_edges():
    hr = torch.rand(1, 3, 32, 32)
    lr = MODELS.build(preset('mix_b')).eval()(hr, [(14, 20)])[0]
    assert torch.equal(lr[:, 4:], lr[:, 3:4].expand(3, 4, 8))
    assert torch.equal(lr[:, :, 5:], lr[:, :, 4:5].expand(3, 8, 3))


def test_each_image_and_each_iteration_of_a_training_draws_anew():
    hr = picture(32, 32).expand(3, 3, 32, 32)
    degradation = MODELS.build(preset('mix_b')).train()

    def run():
        torch.manual_seed(5)
        return torch.cat([degradation(hr), degradation(hr)])

    lr = run()
    assert len({one.numpy().tobytes() for one in lr}) == 6
    assert torch.equal(lr, run()), 'the seed of the run decides'


@MODELS.register_module()
class Probe:
    """A step that sees how it is called."""

    def __call__(self, image, lr_size, draw):
        assert not torch.is_grad_enabled()
        assert 0 <= image.min() and image.max() <= 1
        assert (image @ image.transpose(1, 2)).dtype == image.dtype, 'autocast is off'
        return image


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_gradients_autocast_and_overshoots_stay_outside(dtype):
    hr = picture(32, 32)[None].to(dtype).requires_grad_()
    degradation = Degradation(
        4, [dict(type='mmsr4ir.GaussianNoise', level=200), dict(type='mmsr4ir.Probe')]
    )
    with torch.autocast('cpu', torch.bfloat16):
        lr = degradation.eval()(hr)
    assert not lr.requires_grad and lr.dtype == dtype
    assert torch.equal(degradation(hr), lr)


# In the model


@pytest.mark.parametrize('name', ['mix_a', 'mix_b', 'real_esrgan'])
def test_train_and_val_steps(name):
    scale = preset(name)['scale']
    model = MODELS.build(
        toy_config(degradation=preset(name), sr=dict(type='mmsr4ir.ToySR', scale=scale))
    )
    wrappers = PerNetworkOptimWrapperConstructor(
        dict(
            sr=dict(optimizer=dict(type='SGD', lr=0.1)),
            task=dict(optimizer=dict(type='SGD', lr=0.1)),
        )
    )(model)
    data = toy_data(sizes=((30, 40), (32, 36)))
    logs = model.train().train_step(data, wrappers)
    assert logs['sr/loss_tdp'] > 0 and all(map(torch.isfinite, logs.values()))
    model.eval()
    both = model.val_step(toy_data(sizes=((30, 40), (32, 36))))
    alone = [model.val_step({k: [v[i]] for k, v in data.items()})[0] for i in (1, 0)]
    for one, other in zip(both, reversed(alone), strict=True):
        height, width = one.img_shape
        assert one.images['lr'].shape == (3, -(-height // scale), -(-width // scale))
        assert torch.equal(one.images['lr'], other.images['lr'])


# What cannot work


@pytest.mark.parametrize(
    'settings, error, message',
    [
        (dict(scale=0), ValueError, 'degradation.scale must be a positive'),
        (dict(scale=1.5), ValueError, 'degradation.scale must be a positive'),
        (
            dict(steps=dict(type='mmsr4ir.GaussianNoise')),
            ValueError,
            'degradation.steps',
        ),
        (dict(kernel='lanczos'), ValueError, "degradation.kernel: 'lanczos'"),
        (dict(seed=None), ValueError, 'degradation.seed'),
        (dict(step=[]), TypeError, "'step'"),
    ],
)
def test_a_composition_that_cannot_work_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        MODELS.build(dict(type='mmsr4ir.Degradation', **settings))


def test_sizes_that_the_scale_does_not_divide_are_refused():
    with pytest.raises(ValueError, match=r'\(30, 32\).*by 4: the scale must divide'):
        Degradation(4)(torch.rand(1, 3, 30, 32))


def test_another_scale_than_that_of_the_sr_network_is_refused():
    with pytest.raises(ValueError, match='a scale of 2, but .* has scale 4'):
        MODELS.build(toy_config(degradation=preset('mix_b')))
