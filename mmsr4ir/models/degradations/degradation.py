"""From high-resolution to low-resolution images, RGB or with any channels C."""

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsr4ir.models.image_space import extend_edges, image_size, to_uint8
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError

from .draws import Draw
from .steps import build_steps, parse_kernel, resize, run_steps


@MODELS.register_module()
class BicubicDownsample(nn.Module):
    """Bicubic down-sampling, rounded to 8 bits (SR4IR, section 4).

    The published trainer calls ``F.interpolate`` without an anti-aliasing filter; so
    does this class by default. MATLAB's bicubic, as in most SR papers, is
    ``antialias=True``, except for the outermost two LR pixels: beyond its edge MATLAB
    mirrors the image, and here the edge is repeated, as in the padding of a batch.

    Args:
        scale: Down-sampling factor, a positive integer.
        antialias: Whether to widen the kernel by the scale.
        quantize: Whether to round to the 256 values an image file can hold.

    Raises:
        ConfigError: If ``scale`` is not a positive integer.
    """

    def __init__(
        self, scale: int = 4, antialias: bool = False, quantize: bool = True
    ) -> None:
        super().__init__()
        self.scale = parse_scale(scale)
        self.antialias = antialias
        self.quantize = quantize

    def forward(self, hr: Tensor) -> Tensor:
        """Degrade images.

        Args:
            hr: (N, C, H, W), [0, 1]; the scale divides H and W.

        Returns:
            Tensor: lr (N, C, H / scale, W / scale), [0, 1].
        """
        if self.antialias:  # torch cuts its kernel off at the edge, but not at padding
            hr = F.pad(hr, [2 * self.scale] * 4, mode='replicate')
        # A size, since 49 * (1 / 49) is a float below 1.
        size = [length // self.scale for length in hr.shape[-2:]]
        lr = F.interpolate(hr, size, mode='bicubic', antialias=self.antialias)
        if self.antialias:
            lr = lr[..., 2:-2, 2:-2]
        if self.quantize:
            lr = (lr * 255).round() / 255
        return lr.clamp(0, 1)

    def extra_repr(self) -> str:
        """Return the settings for ``repr``."""
        return (
            f'scale={self.scale}, antialias={self.antialias}, quantize={self.quantize}'
        )


class ImageByImage(nn.Module):
    """A degradation that treats each image of a batch alone, without its padding.

    A subclass has ``scale`` and ``degrade``.
    """

    scale: int

    @torch.no_grad()
    def forward(
        self, hr: Tensor, sizes: Sequence[tuple[int, int]] = (), samples: Sequence = ()
    ) -> Tensor:
        """Degrade images.

        Args:
            hr: (N, C, H, W), [0, 1]; the scale divides H and W.
            sizes: (height, width) of each image before padding; none is padded by
                default. Padding must hold the edge pixels: an image is degraded with
                as much of it as makes the scale divide its size, and the rest of the
                LR image is filled in the same way.
            samples: The task's data sample of each image.

        Returns:
            Tensor: lr (N, C, H / scale, W / scale), [0, 1].

        Raises:
            ConfigError: If the scale does not divide H or W.
        """
        full = lr_size(hr.shape[-2:], self.scale)
        if (full[0] * self.scale, full[1] * self.scale) != image_size(hr):
            raise ConfigError(
                f'images of {image_size(hr)} cannot be degraded by '
                f'{self.scale}: the scale must divide their size'
            )
        inner = [lr_size(size, self.scale) for size in sizes] or [full] * len(hr)
        lr = hr.new_zeros(*hr.shape[:2], *full)
        images = hr.to(torch.promote_types(hr.dtype, torch.float32))
        with torch.autocast(hr.device.type, enabled=False):
            for i, (image, (h, w), sample) in enumerate(
                zip(images, inner, samples or [None] * len(hr), strict=True)
            ):
                lr[i, :, :h, :w] = self.degrade(
                    image[:, : h * self.scale, : w * self.scale], (h, w), sample
                )
        return extend_edges(lr, inner)

    def degrade(self, image: Tensor, size: tuple[int, int], sample=None) -> Tensor:
        """Degrade one image.

        Args:
            image: (C, H, W), [0, 1]; the scale divides H and W.
            size: (height, width) of the LR image, in pixels.
            sample: The task's data sample of the image.

        Returns:
            Tensor: ``(C, *size)``, [0, 1].
        """
        raise NotImplementedError


@MODELS.register_module()
class Degradation(ImageByImage):
    """Blur, resizing, noise and compression, one step after the other, image by image.

    Each image draws its own parameters. In training they come from torch's global
    random state. In eval mode, so in validation and test, each image has a generator
    of its own, seeded from ``seed`` and the image's pixels: it is degraded in the same
    way in every run, process, batch and order, whatever its file is called, and the
    random state of the training stays as it is.

    What the steps make is brought to the size of the LR image at the end, rounded to
    8 bits. All is computed in float32 (float64 for such images), also within autocast.

    Args:
        scale: Size of the HR over that of the LR image, a positive integer.
        steps: Configs of steps, see :mod:`mmsr4ir.models.degradations.steps`.
        kernel: ``'area'``, ``'bilinear'`` or ``'bicubic'``, of the last resizing.
        seed: Of the images in eval mode.

    Raises:
        ConfigError: If a setting is out of its range.
        KeyError: If the ``type`` of a step is unknown.
    """

    def __init__(
        self,
        scale: int = 4,
        steps: Sequence[dict] = (),
        kernel: str = 'bilinear',
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.scale = parse_scale(scale)
        self.steps = build_steps(steps, 'degradation.steps')
        self.kernel = parse_kernel('degradation.kernel', kernel)
        if not isinstance(seed, int):
            raise ConfigError(f'degradation.seed must be an integer, got {seed!r}')
        self.seed = seed

    def degrade(self, image: Tensor, size: tuple[int, int], sample=None) -> Tensor:
        """Degrade one image; see :meth:`ImageByImage.degrade`."""
        draw = Draw(
            None
            if self.training
            else torch.Generator().manual_seed(image_seed(image, self.seed))
        )
        image = run_steps(self.steps, image, size, draw)
        return to_uint8(resize(image, size, self.kernel)).to(image) / 255

    def extra_repr(self) -> str:
        """Return the settings for ``repr``."""
        names = ', '.join(type(step).__name__ for step in self.steps)
        return f'scale={self.scale}, steps=[{names}], seed={self.seed}'


def lr_size(size: Sequence[int], scale: int) -> tuple[int, int]:
    """Return (height, width) of the LR image of an HR image, rounded up."""
    height, width = size
    return -(-height // scale), -(-width // scale)


def image_seed(image: Tensor, seed: int) -> int:
    """Compute a seed from an image's size and its pixels, rounded to 8 bits.

    Args:
        image: (C, H, W), [0, 1].
        seed: Another number that the result depends on.
    """
    digest = hashlib.blake2b(f'{seed} {tuple(image.shape)} '.encode(), digest_size=8)
    digest.update(to_uint8(image).cpu().contiguous().numpy().data)
    return int.from_bytes(digest.digest(), 'big') >> 1  # for 63 bits and a sign


def parse_scale(scale: int) -> int:
    """Check the scale of a degradation and return it.

    Raises:
        ConfigError: If ``scale`` is not a positive integer.
    """
    if not isinstance(scale, int) or scale < 1:
        raise ConfigError(
            f'degradation.scale must be a positive integer, got {scale!r}'
        )
    return scale
