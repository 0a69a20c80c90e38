"""PSNR and SSIM of two images, on the device that they are on.

The formulas are those of mmagic, which computes SSIM (Wang et al., IEEE TIP 2004) on
the CPU in float64. Here float32 is enough, for two reasons: the variances are those of
the values less 128, which are the same and come from smaller squares; and no
convolution is used, which a GPU may round to TF32.
"""

import math

import torch
from torch import Tensor

#: Pixels of an edge of SSIM's window.
WINDOW = 11
_PEAK = 255.0
_MIDDLE = 128.0
_STRIP = 32  # rows of windows at once, which stay in the cache of a CPU
_SIGMA = 1.5  # of the window, in pixels


def luma(image: Tensor) -> Tensor:
    """Compute the luma of ITU-R BT.601.

    Args:
        image: (3, H, W), RGB, 0 to 255.

    Returns:
        Tensor: (1, H, W), float32, 16 to 235.
    """
    red, green, blue = image.float() / _PEAK
    return (16 + 65.481 * red + 128.553 * green + 24.966 * blue)[None]


def psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Compute PSNR over all channels.

    Args:
        sr: (C, H, W), 0 to 255.
        hr: The same.

    Returns:
        Tensor: A scalar in dB, float64; infinite for equal images.
    """
    error = (sr.float() - hr.float()).square().mean(dtype=torch.float64)
    return 10 * torch.log10(_PEAK**2 / error)


def ssim(sr: Tensor, hr: Tensor) -> Tensor:
    """Compute SSIM, the mean of the channels.

    Args:
        sr: (C, H, W), 0 to 255; H and W are at least :data:`WINDOW`.
        hr: The same.

    Returns:
        Tensor: A scalar, float64.
    """
    rows, columns = (length - WINDOW + 1 for length in sr.shape[-2:])
    total = torch.zeros((), dtype=torch.float64, device=sr.device)
    # A GPU has no such cache, and each strip costs it as many calls as a whole image.
    step = _STRIP if sr.device.type == 'cpu' else max(rows, 1)
    for top in range(0, rows, step):
        strip = slice(top, top + step + WINDOW - 1)
        part = _ssim_map(sr[:, strip].float(), hr[:, strip].float())
        total += part.sum(dtype=torch.float64)
    return total / (len(sr) * rows * columns)


def _ssim_map(sr: Tensor, hr: Tensor) -> Tensor:
    """Compute the SSIM of each window, (C, H - 10, W - 10), of images (C, H, W)."""
    c1, c2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2
    sr, hr = sr - _MIDDLE, hr - _MIDDLE
    mean_sr, mean_hr = _window_mean(sr), _window_mean(hr)
    covariance = _window_mean(sr * hr) - mean_sr * mean_hr
    variances = _window_mean(sr**2 + hr**2) - mean_sr**2 - mean_hr**2
    mean_sr, mean_hr = mean_sr + _MIDDLE, mean_hr + _MIDDLE
    return ((2 * mean_sr * mean_hr + c1) * (2 * covariance + c2)) / (
        (mean_sr**2 + mean_hr**2 + c1) * (variances + c2)
    )


def _window_mean(image: Tensor) -> Tensor:
    """Average (C, H, W) over each window, to (C, H - 10, W - 10)."""
    middle = WINDOW // 2
    weights = [math.exp(-(((i - middle) / _SIGMA) ** 2) / 2) for i in range(WINDOW)]
    for axis in (1, 2):  # the weights of a window are products
        length = image.shape[axis] - WINDOW + 1
        total = torch.zeros_like(image.narrow(axis, 0, length))
        for i, weight in enumerate(weights):
            total.add_(image.narrow(axis, i, length), alpha=weight / sum(weights))
        image = total
    return image
