"""Interpolation in the place of an SR network: the "S" of L->T."""

import torch.nn.functional as F
from torch import Tensor, nn

from mmsr4ir.registry import MODELS


@MODELS.register_module()
class InterpolateUpsampler(nn.Module):
    """Enlarge images by interpolation; has no parameters.

    Args:
        scale: Up-sampling factor.
        mode: ``'nearest'``, ``'bilinear'`` or ``'bicubic'``.
        align_corners: Whether the corner pixels of both images lie on each other, as in
            ``torch.nn.UpsamplingBilinear2d``; else their corners do. Not of
            ``'nearest'``.

    Raises:
        ValueError: If ``mode`` is not ``'nearest'``, ``'bilinear'`` or ``'bicubic'``.
    """

    def __init__(
        self, scale: int = 4, mode: str = 'bilinear', align_corners: bool = False
    ) -> None:
        super().__init__()
        if mode not in ('nearest', 'bilinear', 'bicubic'):
            raise ValueError(
                f"mode must be 'nearest', 'bilinear' or 'bicubic', got {mode!r}"
            )
        self.scale = scale
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, lr: Tensor) -> Tensor:
        """Enlarge images.

        Args:
            lr: (N, C, h, w), in any colours and range.

        Returns:
            Tensor: (N, C, h * scale, w * scale); bicubic ones overshoot the range.
        """
        align_corners = None if self.mode == 'nearest' else self.align_corners
        return F.interpolate(
            lr, scale_factor=self.scale, mode=self.mode, align_corners=align_corners
        )

    def extra_repr(self) -> str:
        """Return the settings for ``repr``."""
        return f'scale={self.scale}, mode={self.mode!r}'
