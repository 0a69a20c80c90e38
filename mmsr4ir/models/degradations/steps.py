"""Steps that a :class:`~mmsr4ir.models.Degradation` is made of.

A step is called as ``step(image, lr_size, draw)`` with an image (C, H, W), [0, 1],
RGB if C is 3, in float32 or float64, the (height, width) that the LR image will have,
and a :class:`Draw`, from which it takes all of its random numbers. It returns an image
(C, H', W'); its values are clamped to [0, 1] afterwards. Everything runs on the
image's device except JPEG, which libjpeg compresses on the CPU.

mmagic's ``RandomBlur``, ``RandomResize``, ``RandomNoise`` and
``RandomJPEGCompression`` do the same to arrays in the dataloader. They cannot serve
here: they draw from the global state of numpy and random, so an image cannot have a
seed of its own, and importing them imports albumentations, which asks a server for its
latest version. The kernels are tested against mmagic's.
"""

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.io import decode_jpeg, encode_jpeg
from torchvision.transforms.functional import rgb_to_grayscale

from mmsr4ir.models.image_space import image_size, to_uint8
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError

from .blur_kernels import KINDS, blur, gaussian_kernel, sinc_kernel
from .draws import Draw, check_weights, parse_probability, parse_range

_RESIZE_KERNELS = ('area', 'bilinear', 'bicubic')


def run_steps(
    steps: Sequence, image: Tensor, lr_size: tuple[int, int], draw: Draw
) -> Tensor:
    """Call steps one after the other, and clamp each result to [0, 1].

    Args:
        steps: As :func:`build_steps` makes them.
        image: (C, H, W), RGB if C is 3, [0, 1].
        lr_size: (height, width) that the LR image will have, in pixels.
        draw: Source of their random numbers.

    Returns:
        Tensor: (C, H', W'), [0, 1].
    """
    for step in steps:
        image = step(image, lr_size, draw).clamp(0, 1)
    return image


def build_steps(steps: Sequence[dict], owner: str) -> list:
    """Build steps from their configs.

    Raises:
        ConfigError: If ``steps`` is not a list of configs.
        KeyError: If the ``type`` of a step is unknown.
    """
    if not isinstance(steps, list | tuple):
        raise ConfigError(f'{owner} must be a list of configs of steps, got {steps!r}')
    return [MODELS.build(step) for step in steps]


def parse_kernel(name: str, kernel: str) -> str:
    """Check the kernel of a resizing and return it.

    Raises:
        ConfigError: If ``kernel`` is not ``'area'``, ``'bilinear'`` or ``'bicubic'``.
    """
    if kernel not in _RESIZE_KERNELS:
        raise ConfigError(f'{name}: {kernel!r} is none of {list(_RESIZE_KERNELS)}')
    return kernel


@MODELS.register_module()
class RandomBlur:
    """Blur by a kernel whose kind, size and width are drawn.

    Args:
        kernel: Edge length in pixels, odd; or several to choose from.
        sigma: Standard deviation in pixels, along each axis of an ellipse.
        kinds: Share of each kind of kernel: ``iso``, ``aniso``, ``generalized_iso``,
            ``generalized_aniso``, ``plateau_iso``, ``plateau_aniso``, ``sinc``.
            Ellipses have any angle.
        beta_generalized: Exponent of the generalized kinds. Half of the draws are below
            1 and half above, where the range has both.
        beta_plateau: The same of the plateau kinds.
        cutoff: Of the sinc, as a part of the highest frequency; by default that of
            Real-ESRGAN, (1/3, 1) below 13 pixels and (1/5, 1) from there on.

    Raises:
        ConfigError: If a setting is out of its range, or a kind is unknown.
    """

    def __init__(
        self,
        kernel: int | Sequence[int] = 21,
        sigma: float | Sequence[float] = (0.2, 3.0),
        kinds: Mapping[str, float] | None = None,
        beta_generalized: float | Sequence[float] = (0.5, 4.0),
        beta_plateau: float | Sequence[float] = (1.0, 2.0),
        cutoff: float | Sequence[float] | None = None,
    ) -> None:
        self.kernels = list(kernel) if isinstance(kernel, Sequence) else [kernel]
        odd = [
            isinstance(size, int) and size > 0 and size % 2 == 1
            for size in self.kernels
        ]
        if not odd or not all(odd):
            raise ConfigError(
                f'RandomBlur.kernel must be odd numbers of pixels, got {kernel!r}'
            )
        self.sigma = parse_range('RandomBlur.sigma', sigma, 0.01)
        self.kinds = dict(iso=1.0) if kinds is None else dict(kinds)
        if not set(self.kinds) <= set(KINDS):
            raise ConfigError(
                f'RandomBlur.kinds: unknown {sorted(set(self.kinds) - set(KINDS))}; '
                f'there are {list(KINDS)}'
            )
        check_weights('RandomBlur.kinds', list(self.kinds.values()))
        self.betas = dict(
            generalized=parse_range(
                'RandomBlur.beta_generalized', beta_generalized, 0.01
            ),
            plateau=parse_range('RandomBlur.beta_plateau', beta_plateau, 0.01),
        )
        self.cutoff = (
            None
            if cutoff is None
            else parse_range('RandomBlur.cutoff', cutoff, 0.01, 1)
        )

    def __call__(self, image: Tensor, lr_size: tuple[int, int], draw: Draw) -> Tensor:
        """Blur an image (C, H, W); its size stays."""
        return blur(image, self.draw_kernel(draw))

    def draw_kernel(self, draw: Draw) -> Tensor:
        """Draw a kernel (size, size) with the sum 1."""
        size = self.kernels[draw.choose([1] * len(self.kernels))]
        kind = list(self.kinds)[draw.choose(list(self.kinds.values()))]
        if kind == 'sinc':
            cutoff = self.cutoff or (1 / 3 if size < 13 else 1 / 5, 1)
            return sinc_kernel(size, math.pi * draw.uniform(*cutoff))
        *given, contour = kind.split('_')
        shape = given[0] if given else 'gaussian'
        beta = self._draw_beta(shape, draw) if shape in self.betas else 1
        sigma_x = sigma_y = draw.uniform(*self.sigma)
        angle = 0.0
        if contour == 'aniso':
            sigma_y = draw.uniform(*self.sigma)
            angle = draw.uniform(-math.pi, math.pi)
        return gaussian_kernel(size, sigma_x, sigma_y, angle, shape, beta)

    def _draw_beta(self, shape: str, draw: Draw) -> float:
        low, high = self.betas[shape]
        if low <= 1 <= high:
            low, high = [(low, 1), (1, high)][draw.choose([1, 1])]
        return draw.uniform(low, high)


@MODELS.register_module()
class RandomResize:
    """Resize by a factor and a kernel that are drawn; sizes are rounded down.

    Args:
        factor: New size over old; 1 by default.
        divisor: Old size over new, in the place of ``factor``. An even draw of this is
            not an even draw of the other.
        of: The old size: that of the ``'image'`` as it comes, or of the ``'lr'`` image
            that the model gets.
        kernels: ``'area'``, ``'bilinear'`` or ``'bicubic'``, chosen with equal chance.
            The last two do not smooth before they shrink, as in OpenCV.

    Raises:
        ConfigError: If a setting is out of its range, or both ``factor`` and
            ``divisor`` are given.
    """

    def __init__(
        self,
        factor: float | Sequence[float] | None = None,
        divisor: float | Sequence[float] | None = None,
        of: str = 'image',
        kernels: Sequence[str] = ('bilinear',),
    ) -> None:
        if factor is not None and divisor is not None:
            raise ConfigError('RandomResize: give `factor` or `divisor`, not both')
        self.factor = parse_range(
            'RandomResize.factor', 1 if factor is None else factor, 0.001
        )
        self.divisor = (
            divisor
            if divisor is None
            else parse_range('RandomResize.divisor', divisor, 0.001)
        )
        if of not in ('image', 'lr'):
            raise ConfigError(f"RandomResize.of must be 'image' or 'lr', got {of!r}")
        self.of = of
        if not kernels or isinstance(kernels, str):
            raise ConfigError(
                f'RandomResize.kernels must be a list of names, got {kernels!r}'
            )
        self.kernels = [
            parse_kernel('RandomResize.kernels', kernel) for kernel in kernels
        ]

    def __call__(self, image: Tensor, lr_size: tuple[int, int], draw: Draw) -> Tensor:
        """Resize an image (C, H, W); no edge gets shorter than a pixel."""
        old = lr_size if self.of == 'lr' else image.shape[-2:]
        if self.divisor is None:
            factor = draw.uniform(*self.factor)
            new = [length * factor for length in old]
        else:
            divisor = draw.uniform(*self.divisor)
            new = [length / divisor for length in old]
        kernel = self.kernels[draw.choose([1] * len(self.kernels))]
        return resize(image, [max(1, int(length)) for length in new], kernel)


def resize(image: Tensor, size: Sequence[int], kernel: str) -> Tensor:
    """Resize an image.

    Args:
        image: (C, H, W), in any colours and range.
        size: (height, width) of the result, in pixels.
        kernel: ``'area'``, ``'bilinear'`` or ``'bicubic'``.

    Returns:
        Tensor: ``(C, *size)``; the image itself where it has the size.
    """
    size = tuple(size)
    if image_size(image) == size:
        return image
    return F.interpolate(image[None], size=size, mode=kernel)[0]


@MODELS.register_module()
class GaussianNoise:
    """Add noise that does not depend on the image.

    Args:
        level: Standard deviation, in levels of 0 to 255.
        gray: Probability that all channels get the same noise.

    Raises:
        ConfigError: If a setting is out of its range.
    """

    def __init__(
        self, level: float | Sequence[float] = (0.0, 10.0), gray: float = 0.0
    ) -> None:
        self.level = parse_range('GaussianNoise.level', level, 0, 255)
        self.gray = parse_probability('GaussianNoise.gray', gray)

    def __call__(self, image: Tensor, lr_size: tuple[int, int], draw: Draw) -> Tensor:
        """Add noise to an image (C, H, W)."""
        level = draw.uniform(*self.level) / 255
        is_gray = draw.uniform(0, 1) < self.gray
        return image + level * draw.normal(image[:1] if is_gray else image)


@MODELS.register_module()
class PoissonNoise:
    """Add the noise of counting photons, as Real-ESRGAN does (section 3.1).

    A pixel of the level v, 0 to 255, gets noise with the standard deviation
    ``scale * sqrt(v)`` in levels.

    Args:
        scale: As above.
        gray: Probability that all channels get the same noise, which is then
            that of the gray image (of other images than RGB, the mean of the channels).

    Raises:
        ConfigError: If a setting is out of its range.
    """

    def __init__(
        self, scale: float | Sequence[float] = (0.05, 3.0), gray: float = 0.0
    ) -> None:
        self.scale = parse_range('PoissonNoise.scale', scale, 0)
        self.gray = parse_probability('PoissonNoise.gray', gray)

    def __call__(self, image: Tensor, lr_size: tuple[int, int], draw: Draw) -> Tensor:
        """Add noise to an image (C, H, W)."""
        scale = draw.uniform(*self.scale)
        is_gray = draw.uniform(0, 1) < self.gray
        # Whole levels: else a rounding of one device could change all later draws.
        levels = ((_gray(image) if is_gray else image) * 255).round()
        return image + scale * (draw.poisson(levels) - levels) / 255


@MODELS.register_module()
class JPEGCompression:
    """Compress and decompress by libjpeg, with its colour subsampling (4:2:0).

    This runs on the CPU wherever the image is. A GPU's decoder would need the bytes
    there, too, and gives other pixels. Each channel of an image that is not RGB is
    compressed as a gray image.

    Args:
        quality: 1 to 100; whole numbers are drawn, both ends included.

    Raises:
        ConfigError: If the quality is out of its range, or not a whole number.
    """

    def __init__(self, quality: int | Sequence[int] = (50, 100)) -> None:
        self.quality = parse_range('JPEGCompression.quality', quality, 1, 100)
        if not all(isinstance(number, int) for number in self.quality):
            raise ConfigError(
                f'JPEGCompression.quality must be whole numbers, got {quality!r}'
            )

    def __call__(self, image: Tensor, lr_size: tuple[int, int], draw: Draw) -> Tensor:
        """Compress an image (C, H, W)."""
        low, high = self.quality
        quality = math.floor(draw.uniform(low, high + 1))
        pixels = to_uint8(image).cpu().contiguous()
        parts = [pixels] if len(pixels) == 3 else pixels.split(1)
        found = torch.cat([decode_jpeg(encode_jpeg(one, quality)) for one in parts])
        return found.to(image) / 255


@MODELS.register_module()
class OneOf:
    """Run one of several lists of steps, chosen at random.

    Args:
        options: Lists of configs of steps; an empty one leaves the image as it is.
        weights: Share of each; equal by default.

    Raises:
        ConfigError: If there is no option, or there are not as many weights as options.
    """

    def __init__(
        self, options: Sequence[Sequence[dict]], weights: Sequence[float] | None = None
    ) -> None:
        self.options = [
            build_steps(option, 'OneOf.options: each') for option in options
        ]
        self.weights = [1.0] * len(self.options) if weights is None else list(weights)
        if len(self.weights) != len(self.options):
            raise ConfigError(
                f'OneOf has {len(self.options)} options, but '
                f'{len(self.weights)} weights'
            )
        check_weights('OneOf.weights', self.weights)

    def __call__(self, image: Tensor, lr_size: tuple[int, int], draw: Draw) -> Tensor:
        """Run the steps of one option on an image (C, H, W)."""
        option = self.options[draw.choose(self.weights)]
        return run_steps(option, image, lr_size, draw)


def _gray(image: Tensor) -> Tensor:
    """Turn an image (C, H, W) into gray, (1, H, W)."""
    return rgb_to_grayscale(image) if len(image) == 3 else image.mean(0, keepdim=True)
