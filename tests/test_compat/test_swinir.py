"""SwinIR's masks, and a graph of it for any batch and size.

That the graph holds for them, also in ONNX, is in tests/test_deployment/test_export.py.
"""

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.export import Dim
from torch.func import functional_call

from mmsr4ir.compat.swinir import any_size, keep_masks, window_reverse
from mmsr4ir.deployment.export import whole_windows
from mmsr4ir.models.networks import build_network
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


SPANDREL = dict(
    {key: value for key, value in SWINIR.items() if key != 'type'},
    type='mmsr4ir.Spandrel',
    arch='SwinIR',
)


def blocks(network: nn.Module) -> list[nn.Module]:
    return [m for m in network.modules() if type(m).__name__ == 'SwinTransformerBlock']


@pytest.fixture(params=[SWINIR, SPANDREL], ids=['mmagic', 'spandrel'])
def built(request, monkeypatch):
    """A network, and the masks that its blocks have built: (shifted, height, width)."""
    network = build_network('sr', request.param).eval()
    kind, made = type(blocks(network)[0]), []
    original = kind.calculate_mask.__wrapped__

    def build(block, x_size):
        made.append((block.shift_size > 0, *x_size))
        return original(block, x_size)

    monkeypatch.setattr(kind, 'calculate_mask', build)
    return network, made


def run(network, lr):
    """SR images and the gradients of all parameters."""
    network.zero_grad()
    sr = network(lr)
    sr.square().mean().backward()
    return [sr.detach(), *(one.grad.clone() for one in network.parameters())]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_masks_are_kept_and_nothing_else_changes(built):
    network, made = built
    names = list(network.state_dict())
    images = [torch.rand(2, 3, *size) for size in ((16, 32), (32, 16), (16, 16))]
    before = [run(network, lr) for lr in images]
    assert made == [(False, 16, 32), (True, 16, 32), (False, 32, 16), (True, 32, 16)]

    keep_masks(network)
    keep_masks(network)  # changes nothing more
    made.clear()
    with torch.inference_mode():  # a mask from here serves a training
        network(images[0])
    for lr, expected in zip(images, before, strict=True):
        assert equal(run(network, lr), expected) and equal(run(network, lr), expected)
    # Two kinds of blocks; the size of the training needs none.
    assert made == [(False, 16, 32), (True, 16, 32), (False, 32, 16), (True, 32, 16)]
    assert list(network.state_dict()) == names
    mask = blocks(network)[0].calculate_mask((32, 16))
    assert mask.shape == (32, 16, 16) and mask.untyped_storage().nbytes() == 4 * 16 * 16
    run(network, images[0])
    assert made[4:] == made[:2]  # only those of the last size are kept

    run(network.double(), images[1].double())
    masks = [block.calculate_mask((32, 16)) for block in blocks(network)]
    assert {mask.dtype for mask in masks} == {torch.float64}


@pytest.mark.parametrize('built', [SWINIR], indirect=True)
def test_masks_of_graphs_and_of_fake_tensors_are_not_kept(built, monkeypatch):
    network, made = built
    lr = torch.rand(1, 3, 8, 12)
    expected = run(network, lr)
    keep_masks(network)
    for _ in range(2):  # without and with a mask that is kept
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            state = {
                name: mode.from_tensor(value)
                for name, value in network.state_dict(keep_vars=True).items()
            }
            assert functional_call(network, state, (lr,)).shape == (1, 3, 16, 24)
            network(mode.from_tensor(lr))
        assert equal(run(network, lr), expected)
    for tracer in (torch.compiler, 'is_compiling'), (torch.jit, 'is_tracing'):
        with monkeypatch.context() as patch:
            patch.setattr(*tracer, lambda: True)
            made.clear()
            network(lr)
            assert made == [(False, 8, 12), (True, 8, 12)]
