"""The distance of a judge's features."""

from types import SimpleNamespace

import pytest
import torch

from mmsr4ir.evaluation.teacher_distance import TeacherDistance
from mmsr4ir.models.losses import TDPLoss


def features(image):
    """One level of a quarter of the size, of a network that wants sides of 32."""
    assert not image.shape[-2] % 32 and not image.shape[-1] % 32
    return [torch.nn.functional.avg_pool2d(image, 4)]


@pytest.mark.parametrize('size', [(32, 64), (20, 40)])
def test_the_judge_sees_padded_images_and_the_padding_does_not_count(size):
    metric = TeacherDistance.__new__(TeacherDistance)
    metric.model = torch.nn.Module()
    metric.model.data_preprocessor = SimpleNamespace(pad_size_divisor=32)
    metric.model.judges = SimpleNamespace(task_tap=features)
    metric.model.image_space = SimpleNamespace(normalise=lambda image: image * 2)
    metric.model.tdp = TDPLoss(layer='backbone', levels=[0])
    sr, hr = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    expected = [torch.nn.functional.avg_pool2d(one / 127.5, 4) for one in (sr, hr)]
    assert metric.measure(sr, hr) == pytest.approx(
        (expected[0] - expected[1]).abs().mean().item(), rel=1e-5
    )
