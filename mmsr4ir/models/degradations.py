"""From high-resolution to low-resolution images."""
import torch.nn.functional as F
from torch import Tensor, nn

from mmsr4ir.registry import MODELS


@MODELS.register_module()
class BicubicDownsample(nn.Module):
    """Bicubic down-sampling, rounded to 8 bits (SR4IR, section 4).

    The published trainer calls ``F.interpolate`` without an anti-aliasing filter; so
    does this class by default. MATLAB-like bicubic, as in most SR papers, is
    ``antialias=True``.

    Args:
        scale: Down-sampling factor, a positive integer.
        antialias: Whether to widen the kernel by the scale.
        quantize: Whether to round to the 256 values an image file can hold.

    Raises:
        ValueError: The scale is no positive integer.
    """

    def __init__(self, scale: int = 4, antialias: bool = False,
                 quantize: bool = True) -> None:
        super().__init__()
        if not isinstance(scale, int) or scale < 1:
            raise ValueError(
                f'degradation.scale must be a positive integer, got {scale!r}')
        self.scale = scale
        self.antialias = antialias
        self.quantize = quantize

    def forward(self, hr: Tensor) -> Tensor:
        """Degrade images.

        Args:
            hr: (N, 3, H, W), RGB, [0, 1]; the scale divides H and W.

        Returns:
            Tensor: lr (N, 3, H / scale, W / scale), RGB, [0, 1].
        """
        lr = F.interpolate(
            hr, scale_factor=1 / self.scale, mode='bicubic', align_corners=False,
            antialias=self.antialias)
        if self.quantize:
            lr = (lr * 255).round() / 255
        return lr.clamp(0, 1)

    def extra_repr(self) -> str:
        return (f'scale={self.scale}, antialias={self.antialias}, '
                f'quantize={self.quantize}')
