"""Blur kernels: Gaussians, their relatives with fat or flat tops, and sinc.

The formulas are those of Real-ESRGAN (Wang et al., ICCVW 2021, section 3.1 and 3.3).
"""

import math

import numpy as np
import torch
from torch import Tensor

KINDS = (
    'iso',
    'aniso',
    'generalized_iso',
    'generalized_aniso',
    'plateau_iso',
    'plateau_aniso',
    'sinc',
)


def gaussian_kernel(
    size: int,
    sigma_x: float,
    sigma_y: float,
    angle: float = 0.0,
    shape: str = 'gaussian',
    beta: float = 1.0,
) -> Tensor:
    """Make a kernel with elliptic contours.

    Args:
        size: Odd edge length in pixels.
        sigma_x: Standard deviation along the first axis of the ellipse, in pixels.
        sigma_y: The same along the second axis.
        angle: Of the first axis against the rows, in radians.
        shape: ``'gaussian'``; ``'generalized'``, pointed for ``beta`` below 1 and flat
            above it; or ``'plateau'``, which falls slower.
        beta: Exponent of the last two.

    Returns:
        Tensor: (size, size), float64, sum 1.
    """
    x, y = _grid(size)
    cos, sin = math.cos(angle), math.sin(angle)
    distance = ((cos * x + sin * y) / sigma_x) ** 2 + (
        (cos * y - sin * x) / sigma_y
    ) ** 2
    if shape == 'plateau':
        kernel = 1 / (1 + distance**beta)
    else:
        kernel = torch.exp(-0.5 * distance ** (1 if shape == 'gaussian' else beta))
    return kernel / kernel.sum()


def sinc_kernel(size: int, cutoff: float) -> Tensor:
    """Make a low-pass filter that rings, as sharpening and strong compression do.

    Args:
        size: Odd edge length in pixels.
        cutoff: In radians a pixel; pi keeps every frequency along an axis.

    Returns:
        Tensor: (size, size), float64, sum 1.
    """
    radius = torch.hypot(*_grid(size))
    middle = size // 2
    radius[middle, middle] = 1  # its value is the limit, set below
    kernel = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius)
    kernel[middle, middle] = cutoff**2 / (4 * math.pi)
    return kernel / kernel.sum()


def blur(image: Tensor, kernel: Tensor) -> Tensor:
    """Correlate an image with a kernel; the image is mirrored at its edges.

    Fourier transforms do it, ten times as fast as a convolution of 41 x 41 pixels on a
    CPU, in double precision, so that devices and numbers of threads make no difference.

    Args:
        image: (C, H, W), in any colours and range; it may be smaller than the kernel.
        kernel: (size, size), ``size`` odd.

    Returns:
        Tensor: (C, H, W).
    """
    size = len(kernel)
    indices = (
        np.pad(np.arange(length), size // 2, mode='reflect')
        for length in image.shape[-2:]
    )
    rows, columns = (
        torch.from_numpy(index).to(image.device, non_blocking=True) for index in indices
    )
    padded = image[:, rows][:, :, columns].double()
    shape = padded.shape[-2:]
    kernel = kernel.to(padded, non_blocking=True).flip(0, 1)
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=shape)
    blurred = torch.fft.irfft2(spectrum, s=shape)
    return blurred[:, size - 1 :, size - 1 :].to(image.dtype)


def _grid(size: int) -> tuple[Tensor, Tensor]:
    line = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(line, line, indexing='ij')
    return x, y
