"""Between a task network's input and plain images.

The task network keeps its own preprocessor, so its inputs are normalised in its own
way. An SR network works on plain images: [0, 1], and RGB if they have three channels.
Images with another number of channels C, such as those of thermal and multispectral
cameras, keep the order in which they are loaded.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor, nn

from mmsr4ir.utils.errors import ConfigError

from .distributed import unwrap

# mmdet's PhotoMetricDistortion reaches (255 + 32) * 1.5, images of 10 bits reach 1023.
_MOST_VALUE = 512


class ImageSpace:
    """Undo and redo the normalisation of a task network's preprocessor.

    Args:
        preprocessor: The built preprocessor; ``mean`` and ``std`` are read from it.
        cfg: Its config, which says what it does to the channels. Images are taken to
            be loaded as BGR, as every ``LoadImageFromFile`` does by default, unless
            the preprocessor turns RGB into BGR.
    """

    def __init__(self, preprocessor: BaseDataPreprocessor, cfg: dict) -> None:
        self.preprocessor = preprocessor
        self.is_rgb = bool(cfg.get('bgr_to_rgb') or cfg.get('to_rgb'))
        self._checked = False
        self._loads_rgb = bool(cfg.get('rgb_to_bgr'))

    def to_image(self, inputs: Tensor) -> Tensor:
        """Turn normalised inputs into images.

        Args:
            inputs: (N, C, H, W), normalised as the task network expects.

        Returns:
            Tensor: (N, C, H, W), [0, 1]; RGB if C is 3.

        Raises:
            ConfigError: If the first inputs do not have the values of images, see
                :func:`check_range`.
        """
        if self._normalises:
            inputs = inputs * self.preprocessor.std + self.preprocessor.mean
        image = inputs / 255
        if not self._checked:
            check_range(image)
            self._checked = True
        return image if self.is_rgb else _turned(image)

    def normalise(self, image: Tensor) -> Tensor:
        """Turn images into normalised inputs.

        Args:
            image: (N, C, H, W), [0, 1]; RGB if C is 3.

        Returns:
            Tensor: (N, C, H, W), normalised as the task network expects.
        """
        inputs = (image if self.is_rgb else _turned(image)) * 255
        if self._normalises:
            inputs = (inputs - self.preprocessor.mean) / self.preprocessor.std
        return inputs

    def to_loaded(self, image: Tensor) -> Tensor:
        """Turn an image into what the preprocessor takes.

        Args:
            image: (C, H, W), [0, 1]; RGB if C is 3.

        Returns:
            Tensor: (C, H, W), 0 to 255, in the order of the channels of a loaded image.
        """
        return (image if self._loads_rgb else _turned(image)) * 255

    def loaded_to_image(self, pixels: Tensor) -> Tensor:
        """Undo :meth:`to_loaded`: return (C, H, W), [0, 1]."""
        return (pixels if self._loads_rgb else _turned(pixels)) / 255

    @property
    def _normalises(self) -> bool:
        return hasattr(self.preprocessor, 'mean')


def image_channels(preprocessor: BaseDataPreprocessor, task: nn.Module) -> int:
    """Return how many channels the images of a task network have.

    Its preprocessor tells: n means are for n channels. One mean may be for all
    channels, and there may be none; then the images are grey if the network's first
    convolution takes one channel, and RGB if not.

    Args:
        preprocessor: The task network's.
        task: The task network.
    """
    means = getattr(preprocessor, 'mean', None)
    if means is not None and len(means) > 1:
        return len(means)
    return 1 if first_channels(task) == 1 else 3


def first_channels(network: nn.Module) -> int | None:
    """Return the channels that a network's first convolution takes, if it has one."""
    layers = (one for one in unwrap(network).modules() if isinstance(one, nn.Conv2d))
    first = next(layers, None)
    return None if first is None else first.in_channels


def picture(image: Tensor) -> Tensor:
    """Return an image as it is drawn, in three channels.

    Args:
        image: (C, H, W), of any range.

    Returns:
        Tensor: (3, H, W): one or two channels become the grey of the first; of more
        than three, the third, second and first become red, green and blue, because
        loaders put blue first.
    """
    if len(image) < 3:
        return image[:1].repeat(3, 1, 1)
    return image if len(image) == 3 else image[:3].flip(0)


def _turned(image: Tensor) -> Tensor:
    """Turn RGB images (..., C, H, W) into BGR or back; others have no such order."""
    return image.flip(-3) if image.shape[-3] == 3 else image


def image_size(image: Tensor) -> tuple[int, int]:
    """Return (height, width) of images (..., H, W), in pixels."""
    height, width = image.shape[-2:]
    return height, width


def check_range(images: Tensor) -> None:
    """Check that images have the values 0 to 255, here divided by 255.

    Augmentations may overshoot, and an image may be black: only fractions of the first
    three of the 256 values cannot be an image, nor can values beyond twice 255.

    Args:
        images: (N, C, H, W), which should be in [0, 1].

    Raises:
        ConfigError: If the pipeline has normalised the images already, or divided them
            by 255, or if it loads more than 8 bits.
    """
    values = images.detach() * 255
    most = values.abs().amax()
    if most > _MOST_VALUE:
        raise ConfigError(
            f'after the inverse of the task preprocessor, images have values from '
            f'{values.amin():.5g} to {values.amax():.5g} and not 0 to 255: set '
            "color_type='color' (for networks of one channel 'grayscale') and no "
            'imdecode_backend in LoadImageFromFile of the pipeline, which keeps the '
            'upper 8 of 16 bits'
        )
    if most < 3 and (values - values.round()).abs().amax() > 0.05:
        raise ConfigError(
            f'after the inverse of the task preprocessor, images have values from '
            f'{values.amin():.3g} to {values.amax():.3g} and not 0 to 255: take what '
            'normalises or divides by 255 (Normalize, ToTensor) out of the pipeline, '
            "and give mean and std, for values from 0 to 255, to the task network's "
            'data_preprocessor'
        )


def extend_edges(
    images: Tensor,
    sizes: Sequence[tuple[int, int]] = (),
    multiple: int = 1,
    least: int = 1,
    mirror: bool = False,
) -> Tensor:
    """Fill the padding with each image's own edge pixels.

    The values in the padding would otherwise bleed into the image at its border when
    the image is down-sampled and restored.

    Args:
        images: (N, C, H, W).
        sizes: (height, width) of each image before padding; none is padded by default.
        multiple: The result's height and width are rounded up to a multiple of this.
        least: The result's height and width are at least this.
        mirror: Whether to mirror the image there, as the published detection trainer
            does, where it is large enough.

    Returns:
        Tensor: (N, C, H', W'); the input itself where nothing needs to be filled.
    """
    height, width = images.shape[-2:]
    if mirror:
        full = [
            -(-max(length, least) // multiple) * multiple for length in (height, width)
        ]
        return torch.cat(
            [
                _mirror(image[None, :, :h, :w], *full)
                for image, (h, w) in zip(
                    images, sizes or [(height, width)] * len(images), strict=True
                )
            ]
        )
    if any(tuple(size) != (height, width) for size in sizes):
        images = images.clone()
        for image, (h, w) in zip(images, sizes, strict=True):
            image[:, h:] = image[:, h - 1 : h]
            image[:, :, w:] = image[:, :, w - 1 : w]
    right, bottom = (
        max(length, least) - length + -max(length, least) % multiple
        for length in (width, height)
    )
    if right or bottom:
        images = F.pad(images, (0, right, 0, bottom), mode='replicate')
    return images


def _mirror(image: Tensor, height: int, width: int) -> Tensor:
    down, right = height - image.shape[-2], width - image.shape[-1]
    fits = down < image.shape[-2] and right < image.shape[-1]
    return F.pad(image, (0, right, 0, down), 'reflect' if fits else 'replicate')


def tensor_like(values: Sequence[float] | np.ndarray, x: Tensor) -> Tensor:
    """Return numbers in the type and on the device of a tensor.

    Unlike ``x.new_tensor``, this does not wait until the device is done with all
    that it was given before.

    Args:
        values: One or more dimensions of numbers.
        x: Any tensor.
    """
    return torch.tensor(values, dtype=x.dtype).to(x.device, non_blocking=True)


def to_uint8(image: Tensor) -> Tensor:
    """Round an image (..., H, W) in [0, 1] to uint8, the values of a file."""
    return (image.detach().clamp(0, 1) * 255).round().to(torch.uint8)
