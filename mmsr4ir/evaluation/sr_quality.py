"""Image quality beside the task's own metric, in the same validation pass."""

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmsr4ir.models.image_space import image_size, picture
from mmsr4ir.models.weights import WeightsError
from mmsr4ir.registry import METRICS
from mmsr4ir.utils.errors import ConfigError

from .fidelity import WINDOW, luma, psnr, ssim

# The shorter edge that each needs, in pixels: anything, the window of SSIM, what
# AlexNet has an output for, a block of NIQE (which needs two of them).
_LEAST = dict(PSNR=1, SSIM=WINDOW, LPIPS=31, NIQE=96)


@METRICS.register_module()
class SRQuality(BaseMetric):
    """PSNR, SSIM, LPIPS and NIQE of the restored image, on 8 bits.

    PSNR and SSIM are computed on the device of the images
    (:mod:`mmsr4ir.evaluation.fidelity`); NIQE is mmagic's function, LPIPS that of the
    package ``lpips`` (AlexNet, version 0.1). Each image is measured without padding and
    then counts as one in the mean, whatever its size. Images of any number of channels
    have PSNR (over all channels) and SSIM (the mean of the channels); those of one
    channel have LPIPS and NIQE as the gray images that they are.

    An image that equals HR exactly has an infinite PSNR, in mmagic too, and would make
    the mean infinite, which JSON cannot hold. Here no image counts more than 100 dB.

    Args:
        crop_border: Pixels left out along each edge. The published evaluation leaves
            out 8.
        metrics: Any of ``'PSNR'`` (dB), ``'SSIM'``, ``'LPIPS'`` (0 is equal; on RGB)
            and ``'NIQE'`` (lower is better; of the restored image alone, in gray; for
            images of at least 96 x 192 pixels after the crop).
        lpips_weights: A file with torchvision's AlexNet, or with its ``features.*``
            alone, for LPIPS; None: torch's cache, into which it is fetched if need be.
        convert_to: ``'Y'`` for PSNR and SSIM on the luma of ITU-R BT.601, as most SR
            papers have it; None for all channels.
        collect_device: As in :class:`mmengine.evaluator.BaseMetric`.
        prefix: As in :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ConfigError: If a metric or ``convert_to`` is unknown, an image is too small or
            has channels that a metric is not defined for, or there is no HR image (the
            input is LR), which all metrics except NIQE need.
        WeightsError: If ``metrics`` has LPIPS, and AlexNet's weights can neither be
            found nor fetched, or are not in ``lpips_weights``. That is known before a
            training starts.
        ImportError: If ``metrics`` has LPIPS and the package ``lpips`` is not
            installed, or NIQE and mmagic is not.
    """

    default_prefix = 'sr'

    def __init__(
        self,
        crop_border: int = 0,
        metrics: Sequence[str] = ('PSNR', 'SSIM'),
        convert_to: str | None = None,
        lpips_weights: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        metrics = (metrics,) if isinstance(metrics, str) else tuple(metrics)
        unknown = [name for name in metrics if name not in _LEAST]
        if unknown or not metrics:
            raise ConfigError(
                f'SRQuality: metrics={list(metrics)}: name one or more of '
                f'{list(_LEAST)}'
            )
        if convert_to not in (None, 'Y'):
            raise ConfigError(
                f"SRQuality: convert_to={convert_to!r}: use 'Y', or None for RGB"
            )
        if crop_border < 0:
            raise ConfigError(f'SRQuality: crop_border={crop_border} is negative')
        self.crop_border = crop_border
        self.metrics = metrics
        self.convert_to = convert_to
        # What is missing for them is known before a training starts.
        self.niqe = niqe_function() if 'NIQE' in metrics else None
        self.lpips = lpips_network(lpips_weights) if 'LPIPS' in metrics else None

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep a number for each metric and image; the images are not kept."""
        pairs = [
            [sample['images'].get(key) for key in ('sr', 'hr')]
            for sample in data_samples
        ]
        for sr, hr in pairs:
            needing = [name for name in self.metrics if name != 'NIQE']
            if hr is None and needing:
                raise ConfigError(
                    f'SRQuality: there is no HR image to compare with for {needing}: '
                    "the input is LR (LRTestLoop). Set metrics=['NIQE'], or leave "
                    'SRQuality out of test_evaluator'
                )
            self.check_size(*image_size(sr))
            self.check_channels(len(sr))
        # A batch waits for the device once for each metric.
        columns = [
            torch.stack([self.score(name, *pair) for pair in pairs]).tolist()
            for name in self.metrics
        ]
        self.results += zip(*columns, strict=True)

    def check_size(self, height: int, width: int) -> None:
        """Check that enough of an image is left after the crop.

        Raises:
            ConfigError: If an image of this size is too small for one of the metrics.
        """
        left = [max(0, length - 2 * self.crop_border) for length in (height, width)]
        for name in self.metrics:
            least = _LEAST[name]
            blocks = math.prod(length // least for length in left)
            if blocks < (2 if name == 'NIQE' else 1):
                raise ConfigError(
                    f'SRQuality: {name} needs at least {least} x '
                    f'{2 * least if name == "NIQE" else least} pixels, but '
                    f'crop_border={self.crop_border} leaves {left[0]} x {left[1]} of '
                    f'an image of {height} x {width}; lower it, or leave {name} out '
                    'of metrics'
                )

    def check_channels(self, channels: int) -> None:
        """Check that each metric is defined for images of so many channels.

        Raises:
            ConfigError: If the images are neither gray nor RGB, and one of the metrics,
                or the luma, is for these alone.
        """
        needing = [name for name in self.metrics if name in ('LPIPS', 'NIQE')]
        if self.convert_to:
            needing.append(f'convert_to={self.convert_to!r}')
        if needing and channels not in (1, 3):
            raise ConfigError(
                f'SRQuality: {needing[0]} is for images of 1 or 3 channels, and these '
                f'have {channels}: leave it out'
            )

    def measure(self, sr: Tensor, hr: Tensor | None) -> dict[str, float]:
        """Measure one image.

        Args:
            sr: (C, H, W), uint8, RGB if C is 3.
            hr: (C, H, W), uint8, the same; None if NIQE is the only metric.

        Returns:
            dict[str, float]: The metrics by name; NIQE is NaN where it has none.
        """
        return {name: self.score(name, sr, hr).item() for name in self.metrics}

    @torch.no_grad()
    def score(self, name: str, sr: Tensor, hr: Tensor | None) -> Tensor:
        """Compute one metric of one image.

        Args:
            name: One of :attr:`metrics`.
            sr: As for :meth:`measure`.
            hr: As for :meth:`measure`.

        Returns:
            Tensor: A scalar; that of NIQE is on the CPU, the others are on the device
            of the images.
        """
        if name == 'NIQE':
            return torch.tensor(self.niqe_of(picture(sr)), dtype=torch.float64)
        assert hr is not None and hr.shape == sr.shape, 'SR has not the size of HR'
        if name == 'LPIPS':
            assert self.lpips is not None  # see __init__
            pair = [self.cropped(picture(image)) for image in (sr, hr)]
            return lpips_distance(self.lpips, *pair)
        # The luma of a gray image is that of an RGB image with three such channels.
        pair = [
            self.cropped(luma(picture(image)) if self.convert_to else image)
            for image in (sr, hr)
        ]
        return psnr(*pair).clamp(max=100) if name == 'PSNR' else ssim(*pair)

    def cropped(self, image: Tensor) -> Tensor:
        """Leave the border out of an image (C, H, W)."""
        height, width = image_size(image)
        border = self.crop_border
        return image[:, border : height - border, border : width - border]

    def niqe_of(self, image: Tensor) -> float:
        """Compute NIQE of an image (3, H, W), RGB; NaN where it has none."""
        assert self.niqe is not None  # see __init__
        bgr = image.permute(1, 2, 0).cpu().numpy()[..., ::-1]
        with warnings.catch_warnings(), np.errstate(all='ignore'):
            warnings.simplefilter('ignore', RuntimeWarning)
            try:
                return float(self.niqe(bgr, self.crop_border, convert_to='gray'))
            except np.linalg.LinAlgError:  # fewer than two blocks have statistics
                return math.nan

    def compute_metrics(self, results: list[tuple[float, ...]]) -> dict[str, float]:
        """Average over the images, by the names of the metrics.

        Images without a NIQE do not count in its mean, and a warning says how many
        they are; where none has one, it is missing.
        """
        means = {}
        for name, values in zip(self.metrics, zip(*results, strict=True), strict=True):
            found = [value for value in values if not math.isnan(value)]
            if len(found) < len(values):
                print_log(
                    f'SRQuality: {len(values) - len(found)} of {len(values)} images '
                    f'have no {name}: hardly anything in them is not flat',
                    'current',
                    level=logging.WARNING,
                )
            if found:
                means[name] = float(np.mean(found))
        return means


def niqe_function() -> Callable:
    """Return mmagic's function for NIQE.

    Raises:
        ImportError: If mmagic is not installed.
    """
    try:
        return import_module('mmagic.evaluation.metrics.niqe').niqe
    except ModuleNotFoundError as error:
        raise ImportError(
            f"SRQuality: 'NIQE' needs mmagic ({error}): `python -m "
            'mmsr4ir.check_env` prints the command that installs it'
        ) from error


def lpips_network(path: str | None = None) -> nn.Module:
    """Build the network of LPIPS: AlexNet's features and a weight of each channel.

    Args:
        path: A file with the weights of torchvision's AlexNet, or of its features
            alone; None: torch's cache, into which they are fetched if need be.

    Raises:
        WeightsError: If AlexNet's weights are not in ``path``, or without it are not
            in torch's cache and cannot be fetched.
        ImportError: If the package ``lpips`` is not installed.
    """
    try:
        from lpips import LPIPS
    except ModuleNotFoundError as error:
        raise ImportError(
            f"SRQuality: 'LPIPS': {error}: pip install 'mmsr4ir[train]'"
        ) from error
    from torchvision.models import AlexNet_Weights

    # The training draws the same numbers as without it.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # of torchvision's old arguments
        network = LPIPS(pnet_rand=True, verbose=False)
    trunk = network.net
    # Its parts keep AlexNet's numbering: slice2.3 is features.3.
    names = {name: f'features.{name.partition(".")[2]}' for name in trunk.state_dict()}
    source = path or AlexNet_Weights.IMAGENET1K_V1.url
    try:
        weights = CheckpointLoader.load_checkpoint(source, map_location='cpu')
        trunk.load_state_dict({name: weights[key] for name, key in names.items()})
    except (OSError, RuntimeError, KeyError) as error:
        why = f'no tensor {error}' if isinstance(error, KeyError) else error
        raise WeightsError(
            "SRQuality: 'LPIPS' needs torchvision's AlexNet, "
            f'{"lpips_weights=" if path else ""}{source}: {why}'
            + ('' if path else '. Or set lpips_weights to a file with it')
        ) from error
    return network.requires_grad_(False)


def lpips_distance(network: nn.Module, sr: Tensor, hr: Tensor) -> Tensor:
    """Compute LPIPS of two images on the device that they are on.

    Args:
        network: As :func:`lpips_network` builds it.
        sr: (3, H, W), uint8, RGB.
        hr: (3, H, W), uint8, RGB.

    Returns:
        Tensor: A scalar.
    """
    sr, hr = (image[None].float() / 127.5 - 1 for image in (sr, hr))
    return network.to(sr.device)(sr, hr).squeeze()
