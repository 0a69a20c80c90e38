"""Check before a training that an SR network restores what the degradation makes."""

import math
import re

import torch
from torch import Tensor, nn

from mmsr4ir.utils.errors import ConfigError

from .features import frozen
from .image_space import first_channels
from .spandrel_network import Spandrel

_SCALES = ('scale', 'upscale', 'upscale_factor')  # as SR networks call it
# What torch says if an image has other channels than a layer or a mean.
_CHANNELS = re.compile(r'to have \d+ channels|non-singleton dimension 1$')
_SUPPORTED = (
    'use a network that turns one image (N, C, h, w) of any size into one image '
    '(N, C, h * scale, w * scale), such as mmagic.EDSRNet, RRDBNet or SwinIRNet'
)
# Divisible by the windows and strides that networks ask for.
_PROBE_LR = 16


def check_whole(cfg: dict) -> None:
    """Check that the scale of an SR network is a whole number, before it is built.

    Raises:
        ConfigError: If the scale in the config is no whole number.
    """
    for key in _SCALES:
        scale = cfg.get(key)
        if isinstance(scale, float):
            near = sorted({math.floor(scale), math.ceil(scale)})
            raise ConfigError(
                f'model.sr.{key}={scale} is no whole number, and no SR network and '
                f'degradation here supports that: use {" or ".join(map(str, near))}, '
                'in model.degradation.scale too'
            )


@torch.no_grad()
def check_scale(sr: nn.Module, scale: int, sr_range: float, channels: int = 3) -> None:
    """Check that the SR network restores the size that the degradation takes away.

    Args:
        sr: The SR network.
        scale: Of the degradation.
        sr_range: Factor on images before the SR network.
        channels: Of the images.

    Raises:
        ConfigError: If the network does not turn one LR image of any size into one SR
            image, if it is built for another number of channels or has another scale
            than the degradation, or if ``sr_range`` is set for a network of spandrel,
            which multiplies its images itself.
    """
    if isinstance(sr, Spandrel) and sr_range != 1:
        raise ConfigError(
            f'model.sr_range={sr_range:g}: networks of mmsr4ir.Spandrel '
            'take images in [0, 1]; leave model.sr_range out'
        )
    device = next((p.device for p in sr.parameters()), torch.device('cpu'))
    if hasattr(sr, 'in_size'):
        raise ConfigError(
            f'model.sr ({type(sr).__name__}) takes LR images of {sr.in_size} x '
            f'{sr.in_size} pixels only: {_SUPPORTED}'
        )
    lr = torch.zeros(1, channels, _PROBE_LR, _PROBE_LR, device=device)
    with frozen(sr):
        try:
            restored = sr(lr * sr_range)
        except Exception as error:  # anything, from a network that is made for another
            raise ConfigError(_explain_refusal(sr, lr, error)) from error
    if not isinstance(restored, Tensor):
        raise ConfigError(
            f'model.sr ({type(sr).__name__}) returns a {type(restored).__name__} and '
            f'not one image: {_SUPPORTED}'
        )
    shape, want = tuple(restored.shape), _PROBE_LR * scale
    if len(shape) != 4 or shape[1] != channels:
        raise ConfigError(
            f'model.sr ({type(sr).__name__}) makes {shape} of an LR image '
            f'{tuple(lr.shape)}: set its number of output channels to {channels}, as '
            'many as the task network and its data_preprocessor (mean, std) have'
        )
    if shape[-2:] != (want, want):
        raise ConfigError(
            f'model.sr makes {shape} of an LR image {tuple(lr.shape)}, a scale of '
            f'{shape[-1] / _PROBE_LR:g}, but model.degradation has scale '
            f'{scale}: set both to the same scale'
        )


def _explain_refusal(sr: nn.Module, lr: Tensor, error: Exception) -> str:
    """Say in one line why an SR network takes no image (1, C, h, w), and what to do."""
    name, channels = type(sr).__name__, lr.shape[1]
    reason = ' '.join(str(error).split())[:200]
    if isinstance(error, RuntimeError) and _CHANNELS.search(reason):
        return (
            f'model.sr ({name}, {first_channels(sr)} channels) takes no image of '
            f'{channels} channels, which the task network and its data_preprocessor '
            f'(mean, std) are made for ({reason}): set the input and output channels '
            f'of model.sr to {channels}, and give as many values of rgb_mean and '
            'rgb_std'
        )
    return (
        f'model.sr ({name}) cannot restore an LR image {tuple(lr.shape)} '
        f'({type(error).__name__}: {reason}): {_SUPPORTED}'
    )
