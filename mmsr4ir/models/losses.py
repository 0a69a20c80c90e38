"""The two losses of the SR network: on pixels and on the task network's features.

Both are means over each image first and over the batch then, so that an image counts
the same however much padding stands beside it, and the mean over processes with equal
batches is the mean over the whole batch.
"""

from collections.abc import Iterator, Sequence

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError

from .features import FeatureTap

_DISTANCES = {'l1': lambda a, b: (a - b).abs(), 'l2': lambda a, b: (a - b).square()}


def valid_mask(
    sizes: Sequence[tuple[int, int]], full: tuple[int, int], x: Tensor
) -> Tensor | None:
    """Mark what belongs to the images and what to the padding beside them.

    Args:
        sizes: (height, width) of each image before padding, in pixels.
        full: (height, width) of the padded batch, in pixels.
        x: (N, C, h, w); the mask is made for its resolution, type and device.

    Returns:
        Tensor | None: (N, 1, h, w) of 0 (padding) and 1, or None without padding.
    """
    if all(tuple(size) == tuple(full) for size in sizes):
        return None

    def inside(length: int, axis: int) -> Tensor:
        # A cell that an image covers in part belongs to the image.
        ends = torch.tensor([-(-size[axis] * length // full[axis]) for size in sizes])
        ends = ends.to(x.device, non_blocking=True)
        return torch.arange(length, device=x.device) < ends[:, None]

    rows, columns = inside(x.shape[-2], 0), inside(x.shape[-1], 1)
    return (rows[:, None, :, None] & columns[:, None, None, :]).to(x)


def image_mean(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Average over each image's valid part, then over the batch.

    Args:
        x: (N, C, h, w), or (N, ...) without a mask.
        mask: (N, 1, h, w) of 0 and 1, or None where all is valid.

    Returns:
        Tensor: A scalar.
    """
    if mask is None:
        return x.mean()
    total = (x * mask).flatten(1).sum(1)
    return (total / (mask.flatten(1).sum(1) * x.shape[1])).mean()


def _full(x: Tensor) -> Tensor:
    """Convert to single precision at least: half would round the differences away."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _distance(criterion: str):
    if criterion not in _DISTANCES:
        raise ConfigError(
            f'criterion must be one of {sorted(_DISTANCES)}, got {criterion!r}'
        )
    return _DISTANCES[criterion]


@MODELS.register_module()
class PixelLoss(nn.Module):
    """Distance of the SR image from the HR image.

    Args:
        criterion: ``'l1'`` (the paper's) or ``'l2'`` (squared).

    Raises:
        ConfigError: If ``criterion`` is neither ``'l1'`` nor ``'l2'``.
    """

    def __init__(self, criterion: str = 'l1') -> None:
        super().__init__()
        self.distance = _distance(criterion)

    def forward(self, sr: Tensor, hr: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare SR images with HR images.

        Args:
            sr: (N, C, H, W), RGB, [0, 1] except for overshoots.
            hr: (N, C, H, W), RGB, [0, 1].
            mask: (N, 1, H, W), 1 on the images and 0 on padding; None without any.

        Returns:
            Tensor: A scalar.
        """
        return image_mean(self.distance(sr, hr), mask)


def _is_neck(layer: str) -> bool:
    return layer.rpartition('.')[2] == 'neck'


@MODELS.register_module()
class TDPLoss(nn.Module):
    """Task-driven perceptual loss (SR4IR, section 3.1).

    The distance between the task network's own features of the SR and of the HR
    image. The model runs the task network up to ``layer`` and no further.

    Args:
        layer: Dotted name of the module in the task network whose output is compared:
            ``'backbone'``, ``'neck'`` or one deeper inside, as ``'backbone.layer3'``.
            Of several names, the first that the task network has.
        levels: Which of the layer's outputs, by index; -1 is the last. By default the
            first two of a neck, or its only one, and the last of any other layer: the
            paper takes two FPN outputs for detection, and the last backbone stage for
            segmentation and classification (section 4).
        weights: One for each level; by default equal ones with the sum 1.
        criterion: ``'l1'`` (the paper's) or ``'l2'`` (squared).
        normalize: Whether to scale the feature vector of each position to length 1
            first, as LPIPS does (Zhang et al., CVPR 2018, section 3), so that neither
            strong positions nor a growing network make the loss larger. Off in the
            paper.

    Raises:
        ConfigError: If ``levels`` is empty, ``weights`` does not have as many entries
            as ``levels``, or ``criterion`` is none of the above.
    """

    def __init__(
        self,
        layer: str | Sequence[str] = 'backbone',
        levels: Sequence[int] | None = None,
        weights: Sequence[float] | None = None,
        criterion: str = 'l1',
        normalize: bool = False,
    ) -> None:
        super().__init__()
        if levels is not None and not levels:
            raise ConfigError('tdp.levels is empty: name at least one level')
        self.layers = (layer,) if isinstance(layer, str) else tuple(layer)
        self.layer = self.layers[0]
        self.weights = tuple(weights or ())
        self.levels: tuple[int, ...] = ()
        if levels is None and not any(map(_is_neck, self.layers)):
            levels = (-1,)
        if levels:  # else those that the neck turns out to have
            self.set_levels(levels)
        self.distance = _distance(criterion)
        self.normalize = normalize

    def tap(self, task: BaseModel) -> FeatureTap:
        """Tap the first of the layers that a task network has, or else the last."""
        has = dict(task.named_modules())
        self.layer = next(
            (name for name in self.layers if name in has), self.layers[-1]
        )
        return FeatureTap(task, self.layer)

    def set_levels(self, levels: Sequence[int]) -> None:
        """Set the levels, with equal weights if there are none yet.

        Raises:
            ConfigError: If there are not as many weights as levels.
        """
        self.levels = tuple(levels)
        if not self.weights:
            self.weights = (1 / len(self.levels),) * len(self.levels)
        if len(self.weights) != len(self.levels):
            raise ConfigError(
                f'tdp has {len(self.levels)} levels and {len(self.weights)} weights: '
                'give one weight for each level'
            )

    def check_levels(self, outputs: Sequence[Tensor | None]) -> None:
        """Choose the levels, if none are set, and check that every one exists.

        Args:
            outputs: The outputs of the layer in eval mode, each (N, C, h, w) or (N, C).

        Raises:
            ConfigError: If a level is out of range, or its output is no tensor in eval
                mode, such as the auxiliary output of Inception.
        """
        num_outputs = len(outputs)
        if not self.levels:
            self.set_levels(
                range(min(2, num_outputs)) if _is_neck(self.layer) else (-1,)
            )
        missing = [
            level for level in self.levels if not -num_outputs <= level < num_outputs
        ]
        if missing:
            raise ConfigError(
                f'tdp.levels {missing}: {self.layer!r} of the task network has '
                f'{num_outputs} outputs; use levels from 0 to {num_outputs - 1}'
            )
        for level in self.levels:
            if not isinstance(outputs[level], Tensor):
                raise ConfigError(
                    f'tdp.levels {level}: this output of {self.layer!r} of the task '
                    f'network is {type(outputs[level]).__name__} in eval mode, in '
                    'which features are taken; use another level'
                )

    def forward(
        self,
        sr_features: Sequence[Tensor],
        hr_features: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]] = (),
        full: tuple[int, int] = (0, 0),
    ) -> Tensor:
        """Compare the features of two images.

        Args:
            sr_features: Every output of the layer for the SR image, each
                (N, C, h, w) or (N, C).
            hr_features: The same for the HR image, without gradient.
            sizes: (height, width) of each image before padding, in pixels.
            full: (height, width) of the padded batch, in pixels. Cells that lie
                wholly in the padding do not count.

        Returns:
            Tensor: The weighted sum over the levels, a scalar.
        """
        losses = []
        for weight, distance in self.distances(sr_features, hr_features):
            mask = valid_mask(sizes, full, distance) if distance.dim() == 4 else None
            losses.append(weight * image_mean(distance, mask))
        return sum(losses[1:], losses[0])

    def distances(
        self, sr_features: Sequence[Tensor], hr_features: Sequence[Tensor]
    ) -> Iterator[tuple[float, Tensor]]:
        """Yield the weight of each level and its distances, in the features' shape.

        Args:
            sr_features: As in :meth:`forward`.
            hr_features: As in :meth:`forward`.
        """
        for level, weight in zip(self.levels, self.weights, strict=True):
            sr, hr = (_full(features[level]) for features in (sr_features, hr_features))
            if self.normalize:
                sr, hr = nn.functional.normalize(sr), nn.functional.normalize(hr)
            yield weight, self.distance(sr, hr)

    def position_map(
        self,
        sr_features: Sequence[Tensor],
        hr_features: Sequence[Tensor],
        size: tuple[int, int],
    ) -> Tensor:
        """Say where two images differ for the task network.

        Args:
            sr_features: As in :meth:`forward`.
            hr_features: As in :meth:`forward`.
            size: (height, width) of the map, in pixels.

        Returns:
            Tensor: (N, height, width), the weighted sum over the levels of the mean
            over the channels. Its mean is the loss, where each position of a level
            covers the same number of pixels and nothing is padded.

        Raises:
            ConfigError: If the features have no positions, such as those after a
                pooling.
        """
        maps = []
        for weight, distance in self.distances(sr_features, hr_features):
            if distance.dim() != 4:
                raise ConfigError(
                    f'the outputs of tdp.layer {self.layer!r} have no positions (their '
                    f'shape is {tuple(distance.shape)}), so no map can be drawn of '
                    'them; name a layer before the pooling, or draw no map'
                )
            maps.append(
                weight
                * nn.functional.interpolate(
                    distance.mean(1, keepdim=True), size, mode='nearest'
                )
            )
        return sum(maps[1:], maps[0])[:, 0]
