import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from mmsr4ir.evaluation import SRQuality


def samples(seed: int, sizes) -> list[dict]:
    rng = np.random.default_rng(seed)
    out = []
    for size in sizes:
        hr = cv2.GaussianBlur(
            rng.integers(0, 256, (*size, 3), dtype=np.uint8), (5, 5), 1.5)
        sr = np.clip(hr + rng.normal(0, 12, hr.shape), 0, 255).astype(np.uint8)
        out.append(dict(images={
            key: torch.from_numpy(image).permute(2, 0, 1)
            for key, image in (('hr', hr), ('sr', sr))}))
    return out


@pytest.mark.parametrize('border', [0, 3])
def test_against_scikit_image(border):
    metric = SRQuality(crop_border=border)
    data = samples(0, ((40, 48), (32, 32), (50, 36)))
    metric.process({}, data[:2])
    metric.process({}, data[2:])
    got = metric.evaluate(3)
    psnr, ssim = [], []
    for sample in data:
        hr, sr = (sample['images'][k].permute(1, 2, 0).numpy() for k in ('hr', 'sr'))
        if border:
            hr, sr = (x[border:-border, border:-border] for x in (hr, sr))
        psnr.append(peak_signal_noise_ratio(hr, sr, data_range=255))
        # The 11 x 11 Gaussian of the SSIM paper, without its border.
        _, full = structural_similarity(
            hr, sr, data_range=255, channel_axis=2, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True)
        ssim.append(full[5:-5, 5:-5].mean())
    assert got['sr/PSNR'] == pytest.approx(np.mean(psnr), abs=1e-6)
    assert got['sr/SSIM'] == pytest.approx(np.mean(ssim), abs=1e-4)


def test_no_image_is_kept():
    metric = SRQuality()
    metric.process({}, samples(1, ((32, 32), )))
    (psnr, ssim), = metric.results
    assert isinstance(psnr, float) and isinstance(ssim, float)


def test_equal_images():
    sample = samples(2, ((32, 32), ))[0]
    sample['images']['sr'] = sample['images']['hr']
    metric = SRQuality()
    metric.process({}, [sample])
    assert metric.evaluate(1) == {'sr/PSNR': float('inf'), 'sr/SSIM': pytest.approx(1)}


def test_a_border_that_leaves_nothing_is_named():
    metric = SRQuality(crop_border=16)
    with pytest.raises(ValueError, match='crop_border=16 leaves nothing.*32 x 32'):
        metric.process({}, samples(3, ((32, 32), )))
