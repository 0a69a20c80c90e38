"""SwinIR, which a tracer must be able to leave open to any batch and size.

That it then does, also in ONNX, is in tests/test_deployment/test_export.py.
"""

import pytest
import torch
from torch import nn
from torch.export import Dim

from mmsr4ir.compat.swinir import any_size, window_reverse
from mmsr4ir.deployment.export import whole_windows
from mmsr4ir.registry import MODELS

SWINIR = dict(
    type='mmagic.SwinIRNet',
    upscale=2,
    in_chans=3,
    img_size=16,
    window_size=4,
    img_range=1.0,
    depths=[2],
    embed_dim=4,
    num_heads=[2],
    mlp_ratio=2,
    upsampler='pixelshuffledirect',
    resi_connection='1conv',
)


@pytest.fixture(scope='module')
def network():
    return MODELS.build(SWINIR).eval()


class WholeWindows(nn.Module):
    """So that SwinIR has nothing to fill up, which makes long expressions."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(whole_windows(x, 4))


def export(network, shape: tuple, *dims: int):
    return torch.export.export(
        WholeWindows(network),
        (torch.rand(shape),),
        dynamic_shapes=({dim: Dim.DYNAMIC for dim in dims},),
    )


def test_the_batch_is_still_fixed_without(network):
    with pytest.raises(Exception, match='specialized it to be a constant'):
        export(network, (2, 3, 8, 12), 0)


def test_the_size_of_the_training_is_still_another_branch_without(network):
    graph = export(network, (1, 3, 8, 12), 2, 3).module()
    with pytest.raises(AssertionError, match='!= 16'):
        graph(torch.rand(1, 3, 16, 16))


def test_all_is_as_before_afterwards(network):
    from mmagic.models.editors.swinir import swinir_rstb

    original = swinir_rstb.window_reverse
    block = next(
        m for m in network.modules() if isinstance(m, swinir_rstb.SwinTransformerBlock)
    )
    with pytest.raises(ZeroDivisionError), any_size(network):
        assert swinir_rstb.window_reverse is window_reverse
        assert block.input_resolution is None
        _ = 1 / 0
    assert swinir_rstb.window_reverse is original
    assert tuple(block.input_resolution) == (16, 16)
    windows = torch.rand(2 * 3 * 5, 4, 4, 6)
    assert torch.equal(window_reverse(windows, 4, 12, 20), original(windows, 4, 12, 20))
