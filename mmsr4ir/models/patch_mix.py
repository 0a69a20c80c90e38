"""Cross-quality patch mix, CQMix (SR4IR, section 3.2).

The image is cut into a grid; each cell comes from the SR or from the HR image. A task
network that trains on the mix cannot tell the two qualities apart by the image as a
whole, so it takes no shortcut from the one or the other.
"""

import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from torch import Tensor

from mmsr4ir.registry import MODELS, TRANSFORMS
from mmsr4ir.utils.errors import ConfigError


def patch_mix(sr: Tensor, hr: Tensor, mask: Tensor) -> Tensor:
    """Put together an image from the cells of two.

    Args:
        sr: (N, C, H, W), in any colours and range.
        hr: (N, C, H, W), in the same.
        mask: (N, 1, rows, columns); 1 takes a cell from ``sr``, 0 from ``hr``.

    Returns:
        Tensor: (N, C, H, W).
    """
    mask = F.interpolate(mask.to(sr), size=sr.shape[-2:], mode='nearest')
    return sr * mask + hr * (1 - mask)


@MODELS.register_module()
@TRANSFORMS.register_module()
class CrossQualityPatchMix(BaseTransform):
    """Mix the cells of an SR and an HR image at random.

    Called on two tensors by the model, or in a pipeline on a ``dict`` with a pair of
    images.

    Required keys (in a pipeline): sr, hr. Added keys: mix.

    Args:
        grid: Cells a side: 8 for detection and segmentation, 4 for classification in
            the paper (section 4).
        p: Probability that a cell is taken from the SR image, in [0, 1].

    Raises:
        ConfigError: If ``grid`` is not a positive integer, or ``p`` is outside [0, 1].
    """

    def __init__(self, grid: int = 8, p: float = 0.5) -> None:
        if not isinstance(grid, int) or grid < 1:
            raise ConfigError(
                f'patch_mix.grid must be a positive integer, got {grid!r}'
            )
        if not 0 <= p <= 1:
            raise ConfigError(f'patch_mix.p is a probability in [0, 1], got {p!r}')
        self.grid = grid
        self.p = p

    def draw_mask(self, sr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw which cells come from SR.

        Args:
            sr: (N, C, H, W).
            generator: Source of the random cells; torch's global one by default.

        Returns:
            Tensor: (N, 1, grid, grid) of 0 and 1, of the type of ``sr``.
        """
        draw = torch.rand(
            sr.shape[0], 1, self.grid, self.grid, device=sr.device, generator=generator
        )
        return (draw < self.p).to(sr)

    def mix(
        self, sr: Tensor, hr: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Mix two batches.

        Args:
            sr: (N, C, H, W), [0, 1]; every image of the batch gets cells of its
                own.
            hr: (N, C, H, W), [0, 1].
            generator: Source of the random cells; torch's global one by default.

        Returns:
            Tensor: (N, C, H, W).

        Raises:
            ConfigError: If the grid has more cells than the image has pixels a side.
        """
        if min(sr.shape[-2:]) < self.grid:
            raise ConfigError(
                f'patch_mix.grid={self.grid} is larger than the image '
                f'{tuple(sr.shape[-2:])}: use a smaller grid or larger images'
            )
        return patch_mix(sr, hr, self.draw_mask(sr, generator))

    def transform(self, results: dict) -> dict:
        """Add ``mix`` to a pair of (H, W, C) arrays ``sr`` and ``hr``."""
        sr, hr = (
            torch.from_numpy(results[key]).movedim(-1, 0)[None].float()
            for key in ('sr', 'hr')
        )
        mix = self.mix(sr, hr)[0].movedim(0, -1).numpy()
        results['mix'] = mix.astype(results['hr'].dtype)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(grid={self.grid}, p={self.p})'
