"""Tiles cover an image once, and make of it what S makes of the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from torch import nn

from mmsr4ir.models.prediction.tiles import BLEND, Tiles
from mmsr4ir.registry import MODELS
from toys import toy_config


@given(
    length=st.integers(1, 300),
    scale=st.integers(1, 4),
    overlap=st.integers(0, 40),
    more=st.integers(0, 60),
    multiple=st.sampled_from((1, 7, 8)),
)
@settings(deadline=None, max_examples=300)
def test_spans(length, scale, overlap, more, multiple):
    tile = overlap + BLEND + -(-BLEND // multiple) * multiple + more
    found = Tiles(tile, overlap, scale, multiple).spans(length)
    total = np.zeros(length * scale)
    for span in found:
        assert 0 < span.stop - span.start <= tile and span.start % multiple == 0
        total[span.low : span.high] += span.weights()
        # What is used lies half an overlap away from every cut.
        halo = overlap * scale // 2
        assert span.start == 0 or span.low >= span.start * scale + halo
        assert span.stop == length or span.high <= span.stop * scale - halo
    np.testing.assert_allclose(total, 1)


def convolutions(scale: int) -> nn.Module:
    """Each LR pixel sees 3 more on each side."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2),
        nn.Tanh(),
        nn.Conv2d(6, 3 * scale**2, 3, padding=1),
        nn.PixelShuffle(scale),
    ).double()


@pytest.mark.parametrize('size', [(70, 45), (22, 90), (5, 3), (23, 23)])
@pytest.mark.parametrize('scale', [1, 3])
def test_equal_to_the_whole_image_where_the_overlap_covers_what_s_sees(size, scale):
    network = convolutions(scale)
    lr = torch.rand(3, *size, dtype=torch.float64)
    whole = network(lr[None])[0]
    tiled = Tiles(23, 7, scale).whole(network, lr)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-12)


def test_too_small_an_overlap_is_another_result_without_jumps():
    # What the zero padding at a cut makes of a flat image must not show as an edge.
    network = nn.Conv2d(3, 3, 9, padding=4, bias=False).double()
    nn.init.constant_(network.weight, 1 / 243)
    lr = torch.ones(3, 60, 60, dtype=torch.float64)
    tiled = Tiles(30, overlap=0).whole(network, lr)[0]
    inner = (tiled - network(lr[None])[0, 0])[8:-8, 8:-8]
    assert inner.abs().max() > 0.05
    assert inner.diff().abs().max() < 0.12  # a cut alone makes 0.44


def test_blocks_cover_each_pixel_once_in_reading_order():
    blocks = list(Tiles(24, overlap=4).blocks(nn.Identity(), torch.rand(3, 50, 64)))
    seen = torch.zeros(50, 64)
    for row, column, block in blocks:
        assert block.shape[0] == 3
        seen[row : row + block.shape[1], column : column + block.shape[2]] += 1
    assert (seen == 1).all()
    assert [b[:2] for b in blocks] == sorted(b[:2] for b in blocks)


def test_the_network_never_gets_more_than_a_tile():
    sizes = []

    def network(part):
        sizes.append(part.shape[-2:])
        return part

    Tiles(40, overlap=8).whole(network, torch.rand(3, 100, 333))
    assert len(sizes) > 20 and max(max(size) for size in sizes) == 40


def test_windows_of_attention_keep_their_places():
    # A stand-in for SwinIR's first layer: each pixel becomes the mean of its window.
    def network(x):
        mean = nn.functional.avg_pool2d(x, 8, ceil_mode=True)
        return mean.repeat_interleave(8, 2).repeat_interleave(8, 3)[
            ..., : x.shape[2], : x.shape[3]
        ]

    lr = torch.rand(3, 77, 90, dtype=torch.float64)
    tiled = Tiles(45, overlap=16, multiple=8).whole(network, lr)
    torch.testing.assert_close(tiled, network(lr[None])[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    'tile, overlap, message',
    [
        (40, 32, 'tile=40 is too small for overlap=32: take a tile of at least 48'),
        (0, 0, 'tile=0 is too small'),
        (64, -1, 'overlap=-1 is negative'),
    ],
)
def test_what_cannot_be(tile, overlap, message):
    with pytest.raises(ValueError, match=message):
        Tiles(tile, overlap)


def test_through_the_model():
    from mmsr4ir.models.prediction.lr_input import LRInput, super_resolve_all

    model = MODELS.build(ConfigDict(toy_config())).double().eval()
    images = [
        torch.rand(3, *size, dtype=torch.float64)
        for size in ((60, 40), (9, 9), (60, 40))
    ]
    whole = super_resolve_all(model, images, LRInput())
    tiled = super_resolve_all(model, images, LRInput(tile=24, overlap=2))
    for image, one, other in zip(images, whole, tiled, strict=True):
        assert one.shape == (3, image.shape[1] * 2, image.shape[2] * 2)
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
        with torch.no_grad():
            torch.testing.assert_close(one, model.sr(image[None])[0])
