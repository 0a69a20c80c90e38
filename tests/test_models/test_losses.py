import pytest
import torch

from mmsr4ir.models import PixelLoss, TDPLoss
from mmsr4ir.models.losses import valid_mask
from mmsr4ir.models.updates import on_cpu


def test_pixel_loss_by_hand():
    sr = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]]])
    hr = torch.tensor([[[[0.5, 0.5], [0.0, 0.75]]]])
    assert PixelLoss()(sr, hr).item() == pytest.approx((0.5 + 0 + 1 + 0.5) / 4)
    assert PixelLoss('l2')(sr, hr).item() == pytest.approx((0.25 + 0 + 1 + 0.25) / 4)


def test_padding_does_not_count_and_images_count_the_same():
    sr, hr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    sizes = [(8, 8), (4, 6)]
    mask = valid_mask(sizes, (8, 8), sr)
    alone = [
        (sr[i, :, :h, :w] - hr[i, :, :h, :w]).abs().mean()
        for i, (h, w) in enumerate(sizes)
    ]
    assert torch.isclose(PixelLoss()(sr, hr, mask), sum(alone) / 2)
    sr[1, :, 4:], sr[1, :, :, 6:] = 100, -100
    assert torch.isclose(PixelLoss()(sr, hr, mask), sum(alone) / 2)


def test_losses_are_copied_together_with_the_numbers_that_they_have():
    third = torch.tensor(1 / 3)
    values = dict(
        a=third, b=third.double(), c=third.bfloat16(), loss=torch.tensor(torch.nan)
    )
    copied = on_cpu(values)
    assert list(copied) == list(values)
    for name in 'abc':
        assert copied[name].item() == values[name].item()
    assert copied['loss'].isnan()
    # One tensor was copied, not each.
    assert len({one.untyped_storage().data_ptr() for one in copied.values()}) == 1


def test_no_mask_without_padding():
    assert valid_mask([(8, 8)] * 2, (8, 8), torch.zeros(2, 3, 8, 8)) is None


def test_a_feature_cell_that_an_image_covers_in_part_counts():
    mask = valid_mask([(8, 8), (5, 4)], (8, 8), torch.zeros(2, 7, 4, 4))
    assert mask.shape == (2, 1, 4, 4)
    assert mask[0].all()
    assert mask[1, 0].tolist() == [[1, 1, 0, 0]] * 3 + [[0] * 4]


@pytest.mark.parametrize('criterion', ['l1', 'l2'])
def test_tdp_loss_by_hand(criterion):
    sr = [torch.rand(2, c, s, s) for c, s in ((3, 8), (5, 4), (2, 2))]
    hr = [torch.rand_like(x) for x in sr]

    def distance(a, b):
        d = a - b
        return (d.abs() if criterion == 'l1' else d**2).mean()

    loss = TDPLoss('neck', levels=(0, 2), weights=(0.3, 2.0), criterion=criterion)
    want = 0.3 * distance(sr[0], hr[0]) + 2.0 * distance(sr[2], hr[2])
    assert torch.isclose(loss(sr, hr), want)
    equal = TDPLoss('neck', levels=(0, 1), criterion=criterion)
    want = 0.5 * distance(sr[0], hr[0]) + 0.5 * distance(sr[1], hr[1])
    assert torch.isclose(equal(sr, hr), want)


def test_tdp_loss_leaves_padding_out():
    sr, hr = torch.rand(2, 5, 4, 4), torch.rand(2, 5, 4, 4)
    loss = TDPLoss('backbone')
    sizes, full = [(32, 32), (16, 24)], (32, 32)
    want = (
        (sr[0] - hr[0]).abs().mean()
        + (sr[1, :, :2, :3] - hr[1, :, :2, :3]).abs().mean()
    ) / 2
    assert torch.isclose(loss([sr], [hr], sizes, full), want)


def test_tdp_loss_of_vectors():
    sr, hr = torch.rand(2, 5), torch.rand(2, 5)
    loss = TDPLoss('backbone')([sr], [hr], [(32, 32), (16, 16)], (32, 32))
    assert torch.isclose(loss, (sr - hr).abs().mean())


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(levels=()), 'empty'),
        (dict(levels=(0, 1), weights=(1,)), '2 levels and 1 weights'),
        (dict(criterion='l3'), "'l3'"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TDPLoss(**settings)


def test_a_level_that_is_not_there():
    with pytest.raises(ValueError, match=r'\[4, -5\].*4 outputs.*0 to 3'):
        TDPLoss('neck', levels=(0, 4, -5)).check_levels([torch.zeros(1)] * 4)
