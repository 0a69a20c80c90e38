"""The values that the panels of a picture show."""

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS

from mmsr4ir.visualization.panels import colour_map, error_map, judged_image, tdp_map
from toys import toy_config


@pytest.mark.parametrize(
    'options',
    [
        dict(levels=(0, 1), weights=(0.3, 0.9)),
        dict(levels=(-1,), normalize=True, criterion='l2'),
    ],
)
def test_the_mean_of_the_tdp_map_is_the_loss(options):
    torch.manual_seed(3)
    model = MODELS.build(
        toy_config(tdp=dict(type='mmsr4ir.TDPLoss', layer='backbone', **options))
    ).eval()
    sr, hr = torch.randint(0, 256, (2, 3, 32, 64), dtype=torch.uint8)
    values = tdp_map(model, sr, hr)
    assert values.shape == (32, 64)
    mean, std = (
        torch.tensor(v).view(3, 1, 1)
        for v in ([123.0, 116.0, 103.0], [58.0, 57.0, 56.0])
    )
    with torch.no_grad():
        features = [model.task.backbone((x[None] - mean) / std) for x in (sr, hr)]
        loss = model.tdp(*features)
    assert loss > 0.01
    assert values.mean() == pytest.approx(loss.item(), rel=1e-4)
    assert tdp_map(model, hr, hr).max() == 0


@pytest.mark.parametrize(
    'test_on, title', [('sr', 'SR'), ('hr', 'HR'), ('lr', 'LR, enlarged')]
)
def test_the_image_that_was_judged_has_its_own_name(test_on, title):
    assert judged_image(MODELS.build(toy_config(test_on=test_on))) == title


def test_the_tdp_map_shows_where_the_images_differ():
    model = MODELS.build(toy_config()).eval()
    hr = torch.randint(0, 256, (3, 37, 50), dtype=torch.uint8)
    sr = hr.clone()
    sr[:, 24:, 36:] = 255 - sr[:, 24:, 36:]
    values = tdp_map(model, sr, hr)
    assert values.shape == (37, 50)
    assert values[28:, 40:].min() > 0 and values[:16, :28].max() == 0


def test_a_layer_without_positions_is_named():
    loss = MODELS.build(dict(type='mmsr4ir.TDPLoss', layer='neck', levels=[0]))
    with pytest.raises(ValueError, match=r"'neck' have no positions .*\(2, 8\)"):
        loss.position_map([torch.ones(2, 8)], [torch.zeros(2, 8)], (4, 4))


def test_colours_and_errors():
    sr, hr = np.array([[[0, 255, 7]]], np.uint8), np.array([[[255, 0, 7]]], np.uint8)
    assert error_map(sr, hr) == pytest.approx(170)
    black, middle, bright = colour_map(np.array([[0, 1.5, 3]]))[0].sum(-1).astype(int)
    assert black < 20 < middle < bright and bright > 400
    assert colour_map(np.zeros((2, 2))).max() < 20
