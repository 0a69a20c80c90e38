"""SRQuality against scikit-image and against LPIPS and NIQE put together by hand."""

import json
import math
import sys
from pathlib import Path

import cv2
import lpips
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from quality_in_processes import SIZES, images
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchvision.models import alexnet

from mmsr4ir.evaluation import SRQuality
from mmsr4ir.models.weights import WeightsError
from mmsr4ir.registry import METRICS

SCRIPT = 'tests/helpers/quality_in_processes.py'


def samples(seed: int, sizes) -> list[dict]:
    rng = np.random.default_rng(seed)
    out = []
    for size in sizes:
        hr = cv2.GaussianBlur(
            rng.integers(0, 256, (*size, 3), dtype=np.uint8), (5, 5), 1.5
        )
        sr = np.clip(hr + rng.normal(0, 12, hr.shape), 0, 255).astype(np.uint8)
        out.append(
            dict(
                images={
                    key: torch.from_numpy(image).permute(2, 0, 1)
                    for key, image in (('hr', hr), ('sr', sr))
                }
            )
        )
    return out


def arrays(sample: dict, border: int) -> list[np.ndarray]:
    """HR and SR as (height, width, 3) without the border."""
    return [
        image[border : image.shape[0] - border, border : image.shape[1] - border]
        for image in (
            sample['images'][key].permute(1, 2, 0).numpy() for key in ('hr', 'sr')
        )
    ]


def luma(image: np.ndarray) -> np.ndarray:
    """Y of ITU-R BT.601, in [16, 235]."""
    red, green, blue = np.moveaxis(image.astype(np.float64), -1, 0) / 255
    return (16 + 65.481 * red + 128.553 * green + 24.966 * blue)[..., None]


@pytest.mark.parametrize('border', [0, 3])
@pytest.mark.parametrize('convert_to', [None, 'Y'])
@pytest.mark.parametrize('channels', [[0, 1, 2], [1], [0, 1, 2, 1]])
def test_against_scikit_image(border, convert_to, channels):
    metric = SRQuality(crop_border=border, convert_to=convert_to)
    data = samples(0, ((40, 48), (32, 32), (50, 36)))
    for sample in data:
        for key, image in sample['images'].items():
            sample['images'][key] = image[channels]
    if convert_to and len(channels) == 4:
        with pytest.raises(ValueError, match="convert_to='Y' is for images of 1 or 3"):
            metric.process({}, data)
        return
    metric.process({}, data[:2])
    metric.process({}, data[2:])
    got = metric.evaluate(3)
    psnr, ssim = [], []
    for sample in data:
        hr, sr = arrays(sample, border)
        if convert_to:  # a gray image has three equal channels there
            hr, sr = (
                luma(np.broadcast_to(one, (*one.shape[:2], 3))) for one in (hr, sr)
            )
        psnr.append(peak_signal_noise_ratio(hr, sr, data_range=255))
        # The 11 x 11 Gaussian of the SSIM paper, without its border.
        _, full = structural_similarity(
            hr,
            sr,
            data_range=255,
            channel_axis=2,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        ssim.append(full[5:-5, 5:-5].mean())
    assert got['sr/PSNR'] == pytest.approx(np.mean(psnr), abs=1e-6)
    assert got['sr/SSIM'] == pytest.approx(np.mean(ssim), abs=1e-6)


def test_psnr_and_ssim_are_those_of_mmagic():
    from mmagic.evaluation.metrics.psnr import psnr
    from mmagic.evaluation.metrics.ssim import ssim

    scene, flat = natural(3, (77, 101)), np.full((42, 35, 3), 250, np.uint8)
    noise = np.random.default_rng(4).normal(0, 9, scene.shape)
    arrays = [
        (np.clip(scene + noise, 0, 255).astype(np.uint8), scene),
        (flat - 1, flat),
    ]
    data = [
        dict(
            images={
                key: torch.from_numpy(image).permute(2, 0, 1)
                for key, image in zip(('sr', 'hr'), pair, strict=True)
            }
        )
        for pair in arrays
    ]
    metric = SRQuality(crop_border=3)
    metric.process({}, data)  # sizes of their own
    for row, sample, pair in zip(metric.results, data, arrays, strict=True):
        assert row == tuple(metric.measure(**sample['images']).values())
        # mmagic's PSNR is in float32.
        assert row[0] == pytest.approx(psnr(*pair, crop_border=3), abs=1e-5)
        assert row[1] == pytest.approx(ssim(*pair, crop_border=3), abs=1e-6)


def test_only_what_is_asked_for_in_that_order():
    metric = METRICS.build(dict(type='mmsr4ir.SRQuality', metrics=['SSIM']))
    metric.process({}, samples(1, ((32, 32),)))
    assert list(metric.evaluate(1)) == ['sr/SSIM']
    assert SRQuality(metrics='PSNR').metrics == ('PSNR',)


@pytest.mark.parametrize(
    'options, message',
    [
        (
            dict(metrics=['PSNR', 'VIF']),
            r"\['PSNR', 'VIF'\]: name one or more of .*'NIQE'",
        ),
        (dict(metrics=[]), 'name one or more of'),
        (dict(convert_to='gray'), "convert_to='gray': use 'Y', or None"),
        (dict(crop_border=-1), 'negative'),
    ],
)
def test_unknown_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        SRQuality(**options)


def test_missing_packages_are_named_before_a_training(monkeypatch):
    with (
        monkeypatch.context() as patch,
        pytest.raises(ImportError, match="'NIQE' needs mmagic.*mmsr4ir.check_env"),
    ):
        patch.setitem(sys.modules, 'mmagic.evaluation.metrics.niqe', None)
        SRQuality()  # which needs nothing else
        SRQuality(metrics=['NIQE'])
    with (
        monkeypatch.context() as patch,
        pytest.raises(ImportError, match=r"'LPIPS'.*pip install 'mmsr4ir\[train\]'"),
    ):
        patch.setitem(sys.modules, 'lpips', None)
        SRQuality(metrics=['LPIPS'])


def test_no_image_is_kept():
    metric = SRQuality()
    metric.process({}, samples(1, ((32, 32),)))
    ((psnr, ssim),) = metric.results
    assert isinstance(psnr, float) and isinstance(ssim, float)


def test_an_equal_image_counts_100_db():
    equal, other = samples(2, ((32, 32), (32, 32)))
    equal['images']['sr'] = equal['images']['hr']
    alone = SRQuality()
    alone.process({}, [other])
    alone = alone.evaluate(1)
    metric = SRQuality()
    metric.process({}, [equal, other])
    got = metric.evaluate(2)
    assert got == {
        'sr/PSNR': pytest.approx((100 + alone['sr/PSNR']) / 2),
        'sr/SSIM': pytest.approx((1 + alone['sr/SSIM']) / 2),
    }
    json.dumps(got, allow_nan=False)


@pytest.mark.parametrize(
    'name, size, message',
    [
        (
            'PSNR',
            (32, 32),
            r'PSNR needs at least 1 x 1 .*crop_border=16 leaves 0 x 0 .*'
            'image of 32 x 32; lower it, or leave PSNR out',
        ),
        ('SSIM', (42, 80), r'SSIM needs at least 11 x 11 .*leaves 10 x 48'),
        (
            'NIQE',
            (32 + 96, 32 + 191),
            r'NIQE needs at least 96 x 192 .*leaves 96 x 191',
        ),
    ],
)
def test_an_image_that_is_too_small_is_named(name, size, message):
    metric = SRQuality(crop_border=16, metrics=[name])
    with pytest.raises(ValueError, match=message):
        metric.process({}, samples(3, (size,)))
    larger = tuple(length + 1 for length in size)
    metric.process({}, samples(3, (larger,)))
    assert len(metric.results) == 1


@pytest.fixture
def random_alexnet(tmp_path, monkeypatch) -> dict[str, torch.Tensor]:
    """Weights of AlexNet's features where torch's cache would have them."""
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    torch.manual_seed(1)
    weights = {
        name: value
        for name, value in alexnet().state_dict().items()
        if name.startswith('features')
    }
    (tmp_path / 'checkpoints').mkdir()
    torch.save(weights, tmp_path / 'checkpoints' / 'alexnet-owt-7be5be79.pth')
    return weights


def lpips_by_hand(sr: np.ndarray, hr: np.ndarray, weights: dict) -> float:
    """Zhang et al., CVPR 2018, section 3, on AlexNet's five layers."""
    linear = torch.load(
        Path(lpips.__file__).parent / 'weights' / 'v0.1' / 'alex.pth',
        map_location='cpu',
    )
    features = []
    for image in (sr, hr):
        x = torch.from_numpy(image.astype(np.float32) / 255).permute(2, 0, 1)[None]
        x = (
            2 * x - 1 - torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
        ) / torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
        features.append([])
        for layer, stride, padding, pool in (
            (0, 4, 2, False),
            (3, 1, 2, True),
            (6, 1, 1, True),
            (8, 1, 1, False),
            (10, 1, 1, False),
        ):
            x = F.max_pool2d(x, 3, 2) if pool else x
            x = F.conv2d(
                x,
                weights[f'features.{layer}.weight'],
                weights[f'features.{layer}.bias'],
                stride,
                padding,
            ).relu()
            features[-1].append(x)
    total = 0
    for i, (a, b) in enumerate(zip(*features, strict=True)):
        a, b = (x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in (a, b))
        total += ((a - b).square() * linear[f'lin{i}.model.1.weight']).sum(1).mean()
    return total.item()


def test_lpips_against_a_computation_by_hand(random_alexnet):
    before = torch.get_rng_state()
    metric = SRQuality(crop_border=2, metrics=('LPIPS', 'PSNR'))
    assert torch.equal(torch.get_rng_state(), before)
    file = next(Path(torch.hub.get_dir()).rglob('alexnet*.pth'))
    by_file = SRQuality(metrics=['LPIPS'], lpips_weights=str(file)).lpips.state_dict()
    for name, value in metric.lpips.state_dict().items():
        assert torch.equal(by_file[name], value)
    data = samples(4, ((64, 48), (35, 40)))
    metric.process({}, data)
    expected = [lpips_by_hand(*arrays(s, 2)[::-1], random_alexnet) for s in data]
    assert [r[0] for r in metric.results] == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 1e-3
    assert metric.evaluate(2)['sr/LPIPS'] == pytest.approx(np.mean(expected), rel=1e-4)
    equal = data[0]['images']['hr']
    assert metric.measure(equal, equal)['LPIPS'] == 0
    with pytest.raises(ValueError, match='LPIPS needs at least 31 x 31.*30 x 36'):
        metric.process({}, samples(4, ((34, 40),)))


def test_lpips_without_alexnet_stops_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))

    def no_network(*args, **kwargs):
        raise OSError('no network')

    monkeypatch.setattr(torch.hub, 'download_url_to_file', no_network)
    with pytest.raises(WeightsError) as error:
        METRICS.build(dict(type='mmsr4ir.SRQuality', metrics=['PSNR', 'LPIPS']))
    text = str(error.value)
    assert "'LPIPS' needs torchvision's AlexNet" in text and 'no network' in text
    assert str(tmp_path / 'checkpoints' / 'alexnet-owt-7be5be79.pth') in text
    other = tmp_path / 'other.pth'
    torch.save({'features.0.weight': torch.zeros(64, 3, 11, 11)}, other)
    for path, why in ((other, 'no tensor'), (tmp_path / 'no.pth', 'no.pth')):
        with pytest.raises(WeightsError, match=f'lpips_weights.*{why}'):
            SRQuality(metrics=['LPIPS'], lpips_weights=str(path))
    SRQuality(metrics=['PSNR'])


def natural(seed: int, size=(192, 192)) -> np.ndarray:
    """A gray image with the 1/f spectrum of natural scenes, coloured a little."""
    rng = np.random.default_rng(seed)
    fy, fx = np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1])[None]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = 1
    gray = np.fft.ifft2(np.fft.fft2(rng.normal(size=size)) / frequency**1.2).real
    gray = 128 + 45 * gray / gray.std()
    return np.stack([gray * 1.1, gray, gray * 0.8], -1).clip(0, 255).astype(np.uint8)


def test_niqe_against_mmagic_on_gray_of_our_own():
    from mmagic.evaluation.metrics.niqe import niqe

    image = natural(0, (205, 210))
    noisy = np.clip(
        image + np.random.default_rng(1).normal(0, 40, image.shape), 0, 255
    ).astype(np.uint8)
    tensors = [torch.from_numpy(x).permute(2, 0, 1) for x in (image, noisy)]
    metric = SRQuality(crop_border=4, metrics=['NIQE'])
    good, bad = (metric.measure(x, tensors[0])['NIQE'] for x in tensors)
    for value, picture in ((good, image), (bad, noisy)):
        gray = picture[4:-4, 4:-4] @ np.array([0.299, 0.587, 0.114])
        assert value == pytest.approx(float(niqe(gray, 0, 'HW')), rel=0.01)
    assert bad > 1.3 * good
    # The other image has no say.
    assert metric.measure(tensors[0], tensors[1])['NIQE'] == good


def test_images_without_niqe_are_left_out_and_counted(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'mmsr4ir.evaluation.sr_quality.print_log',
        lambda text, *args, **kwargs: lines.append(text),
    )
    flat = torch.full((3, 192, 192), 90, dtype=torch.uint8)
    image = torch.from_numpy(natural(0)).permute(2, 0, 1)
    metric = SRQuality(metrics=['NIQE', 'PSNR'])
    data = [dict(images=dict(sr=x, hr=image)) for x in (flat, image)]
    metric.process({}, data)
    (missing, _), (value, _) = metric.results
    assert math.isnan(missing)
    assert metric.evaluate(2)['sr/NIQE'] == value
    assert len(lines) == 1 and '1 of 2 images have no NIQE' in lines[0]
    metric.process({}, data[:1])
    got = metric.evaluate(1)
    assert list(got) == ['sr/PSNR']
    json.dumps(got, allow_nan=False)


def test_two_processes_count_each_image_once(run_tool, tmp_path):
    out = tmp_path / 'metrics.json'
    run_tool(sys.executable, SCRIPT, out)
    psnr = []
    for index in range(len(SIZES)):
        hr, sr = arrays(dict(images=images(index)), 2)
        psnr.append(peak_signal_noise_ratio(hr, sr, data_range=255))
    # The image that the sampler gives out twice would change the mean.
    assert abs(np.mean([*psnr, psnr[0]]) - np.mean(psnr)) > 0.1
    evened, uneven = json.loads(out.read_text())
    assert evened['sr/PSNR'] == pytest.approx(np.mean(psnr), abs=1e-5)
    assert uneven == evened
