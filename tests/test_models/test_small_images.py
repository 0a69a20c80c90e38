"""Images with fewer pixels than the scale or the SR network's window."""

import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.nn import functional as F

from toys import toy_config


class WindowSR(nn.Module):
    """Needs at least a window of pixels, as SwinIR with its mirrored padding does."""

    window_size = 8

    def forward(self, x):
        assert min(x.shape[-2:]) >= self.window_size
        return F.interpolate(x, scale_factor=4, mode='nearest')


@pytest.mark.parametrize('size', [(1, 1), (3, 20), (33, 33)])
def test_images_smaller_than_the_scale_or_the_window_are_restored(size):
    cfg = toy_config(
        sr=dict(type='mmsr4ir.ToySR', scale=4),
        degradation=dict(type='mmsr4ir.BicubicDownsample', scale=4),
    )
    model = MODELS.build(cfg).eval()
    model.sr = WindowSR()
    image = torch.full((1, 3, *size), 64 / 255)
    inputs = model.image_space.normalise(image)
    sr = model.super_resolve_batch(model.prepare(inputs, None))
    assert sr.shape == (1, 3, *size)
    torch.testing.assert_close(sr, image, atol=1e-5, rtol=0)
