"""Degradation, upsampler, patch mix and the way between input and image."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import BaseDataElement

from mmsr4ir.compat.mmengine_parts import set_statistics
from mmsr4ir.models import (
    BicubicDownsample,
    CrossQualityPatchMix,
    InterpolateUpsampler,
    patch_mix,
)
from mmsr4ir.models.image_space import ImageSpace, extend_edges, picture
from mmsr4ir.models.networks import build_network
from mmsr4ir.models.sr_checks import check_scale
from mmsr4ir.models.task_resize import SizeRule, TaskResize
from mmsr4ir.utils.errors import ConfigError


def cubic(x: np.ndarray, a: float = -0.75) -> np.ndarray:
    """Keys' kernel with the parameter that PyTorch uses."""
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def bicubic_matrix(length: int, scale: int) -> np.ndarray:
    """Rows of weights that down-sample a line of pixels, edges repeated."""
    matrix = np.zeros((length // scale, length))
    for i in range(length // scale):
        centre = (i + 0.5) * scale - 0.5
        for j in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
            matrix[i, min(max(j, 0), length - 1)] += cubic(np.array(centre - j))
    return matrix


@pytest.mark.parametrize('scale', [2, 3, 4, 8, 49])
def test_bicubic_against_its_formula(scale):
    hr = torch.rand(2, 3, 6 * scale, 4 * scale, dtype=torch.float64)
    rows, columns = (bicubic_matrix(n * scale, scale) for n in (6, 4))
    want = np.einsum('ih,nchw,jw->ncij', rows, hr.numpy(), columns)
    lr = BicubicDownsample(scale, quantize=False)(hr)
    np.testing.assert_allclose(lr.numpy(), want.clip(0, 1), atol=1e-12)
    lr = BicubicDownsample(scale)(hr)
    np.testing.assert_allclose(
        lr.numpy(), (np.round(want * 255) / 255).clip(0, 1), atol=1e-12
    )


def test_antialias_differs():
    hr = torch.rand(1, 3, 16, 16)
    assert not torch.allclose(
        BicubicDownsample(4)(hr), BicubicDownsample(4, antialias=True)(hr)
    )


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_antialias_is_the_widened_kernel_and_sees_the_edge_repeated(scale):
    hr = torch.rand(2, 3, 6 * scale, 5 * scale, dtype=torch.float64)
    edge = 3 * scale
    padded = np.pad(hr.numpy(), ((0, 0), (0, 0), (edge, edge), (edge, edge)), 'edge')

    def weights(length):  # (length, what is left of it and the padding)
        centres = (np.arange(length) + 0.5) * scale - 0.5 + edge
        kernel = cubic(
            (np.arange(length * scale + 2 * edge) - centres[:, None]) / scale, a=-0.5
        )  # as MATLAB's
        return kernel / kernel.sum(1, keepdims=True)

    want = np.einsum('ih,nchw,jw->ncij', weights(6), padded, weights(5))
    degradation = BicubicDownsample(scale, antialias=True, quantize=False)
    np.testing.assert_allclose(degradation(hr).numpy(), want.clip(0, 1), atol=1e-12)
    # So it does not depend on the batch that an image is in.
    batch = torch.nn.functional.pad(hr, (0, 4 * scale, 0, 3 * scale), mode='replicate')
    torch.testing.assert_close(
        degradation(batch)[..., :6, :5], degradation(hr), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize('scale', [0, -2, 1.5])
def test_bad_scale(scale):
    with pytest.raises(ValueError, match='positive integer'):
        BicubicDownsample(scale)


def test_upsampler_nearest_and_bilinear():
    lr = torch.tensor([[[[0.0, 1.0]]]]).expand(1, 3, 1, 2)
    nearest = InterpolateUpsampler(2, 'nearest')(lr)
    assert nearest[0, 0].tolist() == [[0, 0, 1, 1]] * 2
    bilinear = InterpolateUpsampler(2)(lr)
    assert bilinear[0, 0].tolist() == [[0, 0.25, 0.75, 1]] * 2
    assert not list(InterpolateUpsampler().parameters())
    with pytest.raises(ValueError, match='lanczos'):
        InterpolateUpsampler(2, 'lanczos')


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(6, 40), st.integers(6, 40), st.integers(0, 99))
def test_each_cell_of_the_mix_is_of_one_image(grid, height, width, seed):
    sr = torch.ones(2, 3, height, width)
    hr = torch.zeros(2, 3, height, width)
    generator = torch.Generator().manual_seed(seed)
    mix = CrossQualityPatchMix(grid).mix(sr, hr, generator)
    mask = (
        torch.rand(2, 1, grid, grid, generator=torch.Generator().manual_seed(seed))
        < 0.5
    )
    for y in range(height):
        for x in range(width):
            cell = mask[:, 0, y * grid // height, x * grid // width].float()
            assert (mix[:, :, y, x] == cell[:, None]).all()


def test_patch_mix_takes_sr_where_the_mask_is_one():
    sr, hr = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4)
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    mix = patch_mix(sr, hr, mask)
    assert torch.equal(mix[..., :2, :2], sr[..., :2, :2])
    assert torch.equal(mix[..., :2, 2:], hr[..., :2, 2:])
    assert torch.equal(CrossQualityPatchMix(2, p=1.0).mix(sr, hr), sr)
    assert torch.equal(CrossQualityPatchMix(2, p=0.0).mix(sr, hr), hr)


def test_share_of_sr_cells_is_p():
    mask = CrossQualityPatchMix(50, p=0.3).draw_mask(torch.zeros(4, 3, 64, 64))
    assert mask.mean().item() == pytest.approx(0.3, abs=0.02)


def test_patch_mix_in_a_pipeline():
    rng = np.random.default_rng(0)
    results = dict(
        sr=rng.integers(0, 256, (8, 12, 3), dtype=np.uint8),
        hr=rng.integers(0, 256, (8, 12, 3), dtype=np.uint8),
    )
    mix = CrossQualityPatchMix(2)(results)['mix']
    assert mix.dtype == np.uint8 and mix.shape == (8, 12, 3)
    from_sr = (mix == results['sr']).all(-1)
    assert (from_sr | (mix == results['hr']).all(-1)).all()


@pytest.mark.parametrize(
    'make, message',
    [
        (lambda: CrossQualityPatchMix(0), 'positive integer'),
        (lambda: CrossQualityPatchMix(4, p=1.5), 'probability'),
        (lambda: CrossQualityPatchMix(9).mix(*torch.rand(2, 1, 3, 8, 16)), 'grid=9'),
    ],
)
def test_bad_patch_mix(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    'cfg',
    [
        dict(mean=[1.0, 2, 3], std=[4.0, 5, 6], bgr_to_rgb=True),
        dict(mean=[1.0, 2, 3], std=[4.0, 5, 6]),
        dict(mean=[1.0, 2, 3], std=[4.0, 5, 6], rgb_to_bgr=True),
        dict(bgr_to_rgb=True),
        dict(),
        dict(mean=[7.0], std=[9.0]),
        dict(mean=[1.0, 2, 3, 4], std=[5.0, 6, 7, 8]),
    ],
)
def test_image_space(cfg):
    channels = len(cfg.get('mean', 'BGR'))
    if channels == 4:  # which MMEngine refuses
        preprocessor = ImgDataPreprocessor()
        set_statistics(preprocessor, **cfg)
    else:
        preprocessor = ImgDataPreprocessor(**cfg)
    loaded = torch.randint(0, 256, (2, channels, 8, 8), dtype=torch.uint8)
    inputs = preprocessor(dict(inputs=loaded))['inputs']
    space = ImageSpace(preprocessor, cfg)
    image = space.to_image(inputs)
    # Images are loaded as BGR, but for a preprocessor that turns RGB into BGR.
    turned = not cfg.get('rgb_to_bgr') and channels == 3
    rgb = loaded.flip(1) if turned else loaded
    torch.testing.assert_close(image, rgb / 255)
    torch.testing.assert_close(space.normalise(image), inputs)
    assert torch.equal(space.to_loaded(image[0]).round().byte(), loaded[0])


def test_how_images_of_other_channels_are_drawn():
    image = torch.arange(5)[:, None, None] * torch.ones(1, 2, 2)
    for channels, want in ((1, [0] * 3), (2, [0] * 3), (3, [0, 1, 2]), (5, [2, 1, 0])):
        assert picture(image[:channels])[:, 0, 1].tolist() == want


@pytest.mark.parametrize('fill, channels', [(114, 1), (114, 4), ((1.0, 2, 3, 4), 4)])
def test_beside_images_of_other_channels_stands_what_the_pad_says(fill, channels):
    rule = SizeRule(
        [
            dict(type='Resize', scale=(32, 16), keep_ratio=True),
            dict(type='Pad', size=(40, 24), pad_val=dict(img=fill)),
        ]
    )
    preprocessor = ImgDataPreprocessor()
    resize = TaskResize(
        {True: rule, False: rule}, preprocessor, ImageSpace(preprocessor, {})
    )
    image, _ = resize.loaded(torch.zeros(channels, 8, 16), BaseDataElement())
    want = torch.zeros(channels, 24, 40)
    beside = torch.tensor(fill if isinstance(fill, tuple) else [fill] * channels)
    want[:, 16:] = want[:, :, 32:] = beside[:, None, None]
    assert torch.equal(image, want)


@pytest.mark.parametrize(
    'network, message',
    [
        (
            dict(
                type='mmagic.LIIFEDSRNet',
                encoder=dict(
                    type='EDSRNet',
                    in_channels=3,
                    out_channels=3,
                    mid_channels=8,
                    num_blocks=1,
                ),
                imnet=dict(type='MLPRefiner', in_dim=8, out_dim=3, hidden_list=[8]),
            ),
            "missing 2 required positional arguments: 'coord' and 'cell'",
        ),
        (
            dict(type='mmagic.GLEANStyleGANv2', in_size=16, out_size=64),
            'takes LR images of 16 x 16 pixels only',
        ),
        (
            dict(
                type='mmagic.DICNet',
                in_channels=3,
                out_channels=3,
                mid_channels=8,
                hg_mid_channels=16,
                hg_num_keypoints=68,
                num_steps=2,
                upscale_factor=8,
            ),
            'returns a tuple and not one image',
        ),
    ],
)
def test_sr_networks_that_cannot_serve_are_named(network, message, monkeypatch):
    with torch.device('meta') if 'GLEAN' in network['type'] else nullcontext():
        sr = build_network('sr', network)
    with pytest.raises(ConfigError, match=message) as error:
        check_scale(sr, 4, 1.0)
    assert 'use a network that turns one image' in str(error.value)


def test_edges_are_repeated_into_the_padding():
    images = torch.arange(32.0).view(2, 1, 4, 4)
    out = extend_edges(images, [(4, 4), (2, 3)], 3)
    assert out.shape == (2, 1, 6, 6)
    want = np.pad(images[1, 0, :2, :3].numpy(), ((0, 4), (0, 3)), mode='edge')
    np.testing.assert_array_equal(out[1, 0].numpy(), want)
    assert torch.equal(images, torch.arange(32.0).view(2, 1, 4, 4))
    assert extend_edges(images, [(4, 4)] * 2, 2) is images
