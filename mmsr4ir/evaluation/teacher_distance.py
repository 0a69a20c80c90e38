"""How far restored images are from HR for a network that was trained on HR."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.runner import load_checkpoint
from torch import Tensor

from mmsr4ir.models.image_space import extend_edges, image_size
from mmsr4ir.registry import METRICS, MODELS


@METRICS.register_module()
class TeacherDistance(BaseMetric):
    """TFD: the distance of a teacher's features of the restored and of the HR image.

    It is what the TDP loss is in training, of a network that was trained on HR (H->T)
    and looks at the images in their own size; NOLA-IR (2026) reports such a number
    beside PSNR. 0 is equal.

    Args:
        model: Config of the SR4IR whose task network is the teacher, with ``tdp``.
        checkpoint: Its checkpoint.
        collect_device: As in :class:`mmengine.evaluator.BaseMetric`.
        prefix: As in :class:`mmengine.evaluator.BaseMetric`.
    """

    default_prefix = 'sr'

    def __init__(
        self,
        model: dict,
        checkpoint: str,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.model: Any = MODELS.build(copy.deepcopy(model))
        load_checkpoint(self.model, checkpoint, map_location='cpu', strict=True)
        self.model.eval()

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep one number for each image; images without HR have none."""
        for sample in data_samples:
            images = sample['images']
            if images.get('hr') is not None:
                self.results.append(self.measure(images['sr'], images['hr']))

    @torch.no_grad()
    def measure(self, sr: Tensor, hr: Tensor) -> float:
        """Measure one image.

        Args:
            sr: (C, H, W), uint8, RGB if C is 3.
            hr: The same.
        """
        model = self.model.to(sr.device)
        size = image_size(hr)
        # As the judge's own preprocessor pads; some networks need such sides.
        multiple = getattr(model.data_preprocessor, 'pad_size_divisor', 1)
        sr, hr = (
            extend_edges(image[None].float() / 255, multiple=multiple)
            for image in (sr, hr)
        )
        sr_features, hr_features = (
            model.judges.task_tap(model.image_space.normalise(image))
            for image in (sr, hr)
        )
        return model.tdp(sr_features, hr_features, [size], image_size(hr)).item()

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        """Return the mean over the images."""
        return dict(TFD=sum(results) / len(results)) if results else {}
