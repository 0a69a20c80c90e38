"""Interpolation in the place of an SR network, as in the method L->T."""

from torch import nn

from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError


@MODELS.register_module()
class InterpolateUpsampler(nn.Upsample):
    """Enlarge images by interpolation; has no parameters.

    It turns (N, C, h, w), in any colours and range, into (N, C, h * scale, w * scale);
    bicubic interpolation overshoots the range.

    Args:
        scale: Up-sampling factor.
        mode: ``'nearest'``, ``'bilinear'`` or ``'bicubic'``.
        align_corners: Whether the corner pixels of both images lie on each other, as in
            ``torch.nn.UpsamplingBilinear2d``; else their corners do. Not of
            ``'nearest'``.

    Raises:
        ConfigError: If ``mode`` is not ``'nearest'``, ``'bilinear'`` or ``'bicubic'``.
    """

    def __init__(
        self, scale: int = 4, mode: str = 'bilinear', align_corners: bool = False
    ) -> None:
        if mode not in ('nearest', 'bilinear', 'bicubic'):
            raise ConfigError(
                f"mode must be 'nearest', 'bilinear' or 'bicubic', got {mode!r}"
            )
        corners = None if mode == 'nearest' else align_corners
        super().__init__(scale_factor=scale, mode=mode, align_corners=corners)
        self.scale = scale
