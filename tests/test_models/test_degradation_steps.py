"""Each step of a degradation against an independent computation."""

import importlib.util
import io
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from mmsr4ir.models import (
    GaussianNoise,
    JPEGCompression,
    OneOf,
    PoissonNoise,
    RandomBlur,
    RandomResize,
)
from mmsr4ir.models.degradations.blur_kernels import blur, gaussian_kernel, sinc_kernel
from mmsr4ir.models.degradations.draws import Draw
from mmsr4ir.registry import MODELS
from toys import picture

SIZE = (5, 7)  # of an LR image, where a step does not look at it


def draw(seed: int = 0) -> Draw:
    return Draw(torch.Generator().manual_seed(seed))


@pytest.fixture(scope='module')
def mmagic_kernels():
    """mmagic's own file, without the package around it."""
    root = Path(importlib.util.find_spec('mmagic').origin).parent
    spec = importlib.util.spec_from_file_location(
        'blur_kernels', root / 'datasets' / 'transforms' / 'blur_kernels.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Kernels and blur


@pytest.mark.parametrize(
    'size, sigma_x, sigma_y, angle, beta',
    [(21, 3.0, 1.0, 0.7, 0.5), (41, 8.0, 0.4, -2.0, 3.5), (7, 0.2, 0.3, 0.0, 1.5)],
)
def test_kernels_are_those_of_mmagic(
    mmagic_kernels, size, sigma_x, sigma_y, angle, beta
):
    args = (size, sigma_x, sigma_y, angle)
    for shape, want in dict(
        gaussian=mmagic_kernels.bivariate_gaussian(*args, is_isotropic=False),
        generalized=mmagic_kernels.bivariate_generalized_gaussian(
            *args, beta, is_isotropic=False
        ),
        plateau=mmagic_kernels.bivariate_plateau(*args, beta, is_isotropic=False),
    ).items():
        kernel = gaussian_kernel(*args, shape, beta)
        np.testing.assert_allclose(kernel, want, atol=1e-6)
        assert kernel.sum().item() == pytest.approx(1)
    want = mmagic_kernels.random_circular_lowpass_kernel((beta / 2, beta / 2), size)
    np.testing.assert_allclose(sinc_kernel(size, beta / 2), want, atol=1e-7)


@pytest.mark.parametrize('height, width', [(48, 56), (1, 1), (3, 30), (2, 5)])
def test_blur_mirrors_edges_and_takes_images_smaller_than_the_kernel(height, width):
    image = picture(60, 60)[:, :height, :width]
    kernel = torch.rand(41, 41, dtype=torch.float64)  # no symmetry hides its sides
    kernel /= kernel.sum()
    got = blur(image, kernel)
    padded = np.pad(image.numpy(), ((0, 0), (20, 20), (20, 20)), mode='reflect')
    for channel in range(3):
        want = scipy.ndimage.correlate(
            padded[channel].astype(np.float64), kernel.numpy()
        )[20:-20, 20:-20]
        np.testing.assert_allclose(got[channel], want, rtol=0, atol=1e-7)


def test_an_isotropic_blur_is_scipys_gaussian():
    image = picture()
    step = RandomBlur(kernel=41, sigma=2.5)
    want = scipy.ndimage.gaussian_filter(
        image.numpy(), (0, 2.5, 2.5), mode='mirror', truncate=8
    )
    np.testing.assert_allclose(step(image, SIZE, draw()), want, atol=1e-4)


def test_blur_does_not_depend_on_the_number_of_threads():
    image, kernel = picture(512, 512), gaussian_kernel(41, 4.0, 1.5, 0.5)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(blur(image, kernel))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


def test_kinds_come_in_their_shares_and_within_their_ranges():
    chance = draw()
    step = RandomBlur(
        kernel=(7, 9), sigma=(1.0, 2.0), kinds=dict(iso=3, aniso=1, sinc=0)
    )
    kernels = [step.draw_kernel(chance) for _ in range(800)]
    assert {len(kernel) for kernel in kernels} == {7, 9}
    iso = [kernel for kernel in kernels if torch.allclose(kernel, kernel.T)]
    assert len(iso) / 800 == pytest.approx(0.75, abs=0.05)
    # The ratio of two pixels of a Gaussian tells its sigma.
    middle = [(len(k) // 2, k) for k in iso]
    sigmas = [(2 * math.log(k[m, m] / k[m, m + 1])) ** -0.5 for m, k in middle]
    assert 1 <= min(sigmas) < 1.1 and 1.9 < max(sigmas) <= 2
    assert np.mean(sigmas) == pytest.approx(1.5, abs=0.05)


@pytest.mark.parametrize('kind', ['generalized_iso', 'plateau_iso'])
def test_half_of_the_exponents_are_below_one(kind):
    step = RandomBlur(
        kernel=5,
        sigma=1.0,
        kinds={kind: 1},
        beta_generalized=(0.9, 9),
        beta_plateau=(0.9, 9),
    )
    chance = draw()
    middle = gaussian_kernel(5, 1, 1, 0, kind.removesuffix('_iso'), 1.0)[2, 2].item()
    # The middle of a kernel falls as its exponent grows.
    middles = [step.draw_kernel(chance)[2, 2].item() for _ in range(300)]
    assert np.mean(np.array(middles) < middle) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize('size, lowest', [(11, 1 / 3), (13, 1 / 5)])
def test_cutoffs_of_the_sinc(size, lowest):
    chance, step = draw(), RandomBlur(kernel=size, kinds=dict(sinc=1))
    # The more passes, the larger is the middle, but for the sum of 1.
    middles = [step.draw_kernel(chance).max().item() for _ in range(200)]
    ends = [sinc_kernel(size, math.pi * part).max().item() for part in (lowest, 1)]
    assert ends[0] <= min(middles) < 1.1 * ends[0]
    assert max(middles) == pytest.approx(ends[1], rel=0.05)
    half = RandomBlur(kernel=size, kinds=dict(sinc=1), cutoff=0.5)
    assert torch.equal(half.draw_kernel(chance), sinc_kernel(size, math.pi / 2))


# Resizing


@pytest.mark.parametrize(
    'kernel, flag', [('bilinear', cv2.INTER_LINEAR), ('bicubic', cv2.INTER_CUBIC)]
)
@pytest.mark.parametrize('factor', [0.37, 1.4])
def test_resizing_is_opencvs(kernel, flag, factor):
    image = picture()
    got = RandomResize(factor=factor, kernels=[kernel])(image, SIZE, draw())
    size = int(56 * factor), int(48 * factor)
    want = cv2.resize(image.permute(1, 2, 0).numpy(), size, interpolation=flag)
    np.testing.assert_allclose(got.permute(1, 2, 0), want, atol=2e-5)


def test_area_resizing_is_a_mean_over_blocks():
    image = picture()
    got = RandomResize(divisor=4, kernels=['area'])(image, SIZE, draw())
    want = image.unflatten(2, (14, 4)).unflatten(1, (12, 4)).mean((2, 4))
    torch.testing.assert_close(got, want)


def test_sizes_are_drawn_from_the_range():
    image, chance = picture(64, 48), draw()
    step = RandomResize(divisor=(1, 16))
    heights = [step(image, SIZE, chance).shape[1] for _ in range(300)]
    assert min(heights) == 4 and max(heights) > 55
    # An even draw of the divisor: half of the images are below 1 / 8.5.
    assert np.median(heights) == pytest.approx(64 / 8.5, abs=1)
    assert RandomResize(of='lr', factor=2)(image, (3, 9), chance).shape == (3, 6, 18)
    assert RandomResize(divisor=100)(image, SIZE, chance).shape == (3, 1, 1)


@pytest.mark.parametrize('divisor', [1, 3, 16, 49])  # 49 * (1 / 49) is less than 1
def test_a_whole_divisor_gives_the_whole_size(divisor):
    image = torch.zeros(3, 11 * divisor, divisor)
    assert RandomResize(divisor=divisor)(image, SIZE, draw()).shape == (3, 11, 1)


# Noise


def test_gaussian_noise_has_its_level():
    image = torch.full((3, 200, 200), 0.5)
    noise = (GaussianNoise(7.0)(image, SIZE, draw()) - image) * 255
    assert noise.mean().item() == pytest.approx(0, abs=0.1)
    assert noise.std().item() == pytest.approx(7, rel=0.02)
    assert abs(np.corrcoef(noise.flatten(1))[0, 1]) < 0.02, 'channels are independent'
    gray = GaussianNoise(7.0, gray=1.0)(image, SIZE, draw())
    assert torch.equal(gray[0], gray[1]) and torch.equal(gray[0], gray[2])
    assert gray[0].std().item() * 255 == pytest.approx(7, rel=0.02)


def test_the_noise_level_is_drawn_for_each_image():
    image, chance = torch.full((3, 60, 60), 0.5), draw()
    step = GaussianNoise((0, 10))
    levels = [step(image, SIZE, chance).std().item() * 255 for _ in range(100)]
    assert min(levels) < 1 and 9 < max(levels) < 10.5
    assert np.mean(levels) == pytest.approx(5, abs=0.8)


@pytest.mark.parametrize('level', [20, 180])
def test_poisson_noise_grows_with_the_root_of_the_brightness(level):
    image = torch.full((3, 200, 200), level / 255)
    noise = (PoissonNoise(0.5)(image, SIZE, draw()) - image) * 255
    assert noise.mean().item() == pytest.approx(0, abs=0.1)
    assert noise.std().item() == pytest.approx(0.5 * level**0.5, rel=0.02)
    gray = PoissonNoise(0.5, gray=1.0)(image, SIZE, draw())
    assert torch.equal(gray[0], gray[1]) and torch.equal(gray[0], gray[2])
    assert gray[0].std().item() * 255 == pytest.approx(0.5 * level**0.5, rel=0.03)
    four = torch.full((4, 200, 200), level / 255)
    gray = PoissonNoise(0.5, gray=1.0)(four, SIZE, draw())
    assert gray.shape == four.shape and torch.equal(gray[0], gray[3])
    assert gray[0].std().item() * 255 == pytest.approx(0.5 * level**0.5, rel=0.03)


# JPEG


@pytest.mark.parametrize('quality', [1, 30, 75, 100])
@pytest.mark.parametrize('height, width', [(48, 56), (1, 1), (13, 9)])
def test_jpeg_is_that_of_pillow(quality, height, width):
    image = picture(60, 60)[:, :height, :width]
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, 'JPEG', quality=quality)
    want = np.asarray(Image.open(file)).astype(int)
    got = JPEGCompression(quality)(image, SIZE, draw()) * 255
    # Builds of libjpeg may round differently.
    assert np.abs(got.permute(1, 2, 0).numpy() - want).max() <= 2
    # Of other channels, each is a gray image.
    Image.fromarray(pixels[..., 1]).save(file := io.BytesIO(), 'JPEG', quality=quality)
    want = np.asarray(Image.open(file)).astype(int)
    for channels in ([1], [0, 1, 1, 2]):
        got = JPEGCompression(quality)(image[channels], SIZE, draw()) * 255
        gray = got[channels.index(1)].numpy()
        assert len(got) == len(channels) and np.abs(gray - want).max() <= 2


def test_jpeg_quality_is_drawn_with_both_ends():
    image, chance = picture(24, 24), draw()
    step = JPEGCompression((40, 42))
    results = {step(image, SIZE, chance).numpy().tobytes() for _ in range(60)}
    assert results == {
        JPEGCompression(q)(image, SIZE, chance).numpy().tobytes() for q in (40, 41, 42)
    }


# One of several


def test_one_of_runs_one_option_by_its_share():
    step = OneOf([[dict(type='mmsr4ir.RandomResize', factor=2)], []], [1, 3])
    image, chance = picture(8, 8), draw()
    sizes = [step(image, SIZE, chance).shape[1] for _ in range(400)]
    assert set(sizes) == {8, 16}
    assert sizes.count(16) / 400 == pytest.approx(0.25, abs=0.06)


# What cannot work


@pytest.mark.parametrize(
    'settings, error, message',
    [
        (dict(type='RandomBlur', sigma=-1.0), ValueError, r'RandomBlur.sigma.*-1'),
        (dict(type='RandomBlur', sigma=0), ValueError, 'RandomBlur.sigma'),
        (
            dict(type='RandomBlur', sigma=(8, 0.1)),
            ValueError,
            r'lowest, highest.*\(8, 0.1',
        ),
        (dict(type='RandomBlur', sigma='wide'), ValueError, "'wide'"),
        (dict(type='RandomBlur', kernel=40), ValueError, 'odd.*40'),
        (dict(type='RandomBlur', kernel=[7, 8]), ValueError, 'odd'),
        (dict(type='RandomBlur', kernel=[]), ValueError, 'odd'),
        (dict(type='RandomBlur', kernel=-3), ValueError, 'odd'),
        (
            dict(type='RandomBlur', kinds=dict(isotropic=1)),
            ValueError,
            r"unknown \['isotropic'\]; there are \['iso'",
        ),
        (dict(type='RandomBlur', kinds=dict(iso=0)), ValueError, 'kinds.*not all'),
        (dict(type='RandomBlur', kinds=dict(iso=-1, aniso=2)), ValueError, 'shares'),
        (dict(type='RandomBlur', kinds={}), ValueError, 'RandomBlur.kinds'),
        (dict(type='RandomBlur', cutoff=0), ValueError, 'RandomBlur.cutoff'),
        (dict(type='RandomBlur', cutoff=(0.5, 3.14)), ValueError, 'cutoff.* to 1'),
        (dict(type='RandomResize', factor=0), ValueError, 'RandomResize.factor'),
        (dict(type='RandomResize', factor=(2, 1)), ValueError, 'lowest, highest'),
        (
            dict(type='RandomResize', divisor=(16, 1)),
            ValueError,
            'RandomResize.divisor',
        ),
        (dict(type='RandomResize', divisor=2, factor=2), ValueError, 'not both'),
        (
            dict(type='RandomResize', kernels=['lanczos']),
            ValueError,
            "'lanczos'.*bicubic",
        ),
        (dict(type='RandomResize', kernels='bicubic'), ValueError, 'list of names'),
        (dict(type='RandomResize', of='hr'), ValueError, "'image' or 'lr'.*'hr'"),
        (dict(type='GaussianNoise', level=(0, 300)), ValueError, 'to 255'),
        (dict(type='GaussianNoise', level=float('nan')), ValueError, 'level'),
        (dict(type='GaussianNoise', gray=1.5), ValueError, 'gray is a probability'),
        (dict(type='PoissonNoise', scale=(-1, 2)), ValueError, 'PoissonNoise.scale'),
        (dict(type='JPEGCompression', quality=0), ValueError, 'from 1 to 100'),
        (dict(type='JPEGCompression', quality=(50, 101)), ValueError, 'from 1 to 100'),
        (dict(type='JPEGCompression', quality=(90, 50)), ValueError, 'lowest, highest'),
        (dict(type='JPEGCompression', quality=75.5), ValueError, 'whole numbers'),
        (dict(type='JPEGCompression', quallity=75), TypeError, 'quallity'),
        (dict(type='RandomBlurr'), KeyError, 'RandomBlurr'),
        (dict(type='OneOf', options=[[]], weights=[0.5, 0.5]), ValueError, '1 options'),
        (dict(type='OneOf', options=[]), ValueError, 'OneOf.weights'),
        (dict(type='OneOf', options=[dict(type='x')]), ValueError, 'list of configs'),
    ],
)
def test_a_step_that_cannot_work_is_refused(settings, error, message):
    step = dict(settings, type=f'mmsr4ir.{settings["type"]}')
    with pytest.raises(error, match=message):
        MODELS.build(dict(type='mmsr4ir.Degradation', scale=4, steps=[step]))
