"""Image quality beside the task's own metric, in the same validation pass."""
from collections.abc import Sequence

import numpy as np
from mmengine.evaluator import BaseMetric

from mmsr4ir.registry import METRICS


@METRICS.register_module()
class SRQuality(BaseMetric):
    """PSNR and SSIM of the restored against the HR image, in RGB on 8 bits.

    The values are mmagic's, one for each image, without padding, then averaged.

    Args:
        crop_border: Pixels left out along each edge. The published evaluation leaves
            out 8.
        collect_device: As in :class:`mmengine.evaluator.BaseMetric`.
        prefix: As in :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        ValueError: An image has no pixel left after the crop.
    """

    default_prefix = 'sr'

    def __init__(self, crop_border: int = 0, collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.crop_border = crop_border

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep two numbers of each image; the images themselves are not kept."""
        # mmagic takes seconds to import; a training that never validates waits not.
        from mmagic.evaluation.metrics.psnr import psnr
        from mmagic.evaluation.metrics.ssim import ssim
        for sample in data_samples:
            sr, hr = (
                sample['images'][key].permute(1, 2, 0).cpu().numpy()
                for key in ('sr', 'hr'))
            if min(hr.shape[:2]) <= 2 * self.crop_border:
                raise ValueError(
                    f'SRQuality: crop_border={self.crop_border} leaves nothing of an '
                    f'image of {hr.shape[0]} x {hr.shape[1]} pixels; lower it')
            self.results.append(tuple(
                float(metric(sr, hr, crop_border=self.crop_border))
                for metric in (psnr, ssim)))

    def compute_metrics(self, results: list[tuple[float, float]]) -> dict[str, float]:
        """Average over the images: ``PSNR`` in dB and ``SSIM`` in [-1, 1]."""
        psnr, ssim = np.mean(results, axis=0)
        return dict(PSNR=float(psnr), SSIM=float(ssim))
