"""Files of the original EDSR (EDSR-PyTorch), for ``mmagic.EDSRNet``."""

import re

import torch
from torch import Tensor

from .convert import ConvertError, count_names, shape

_MEAN_SHIFT = ('sub_mean.weight', 'sub_mean.bias', 'add_mean.weight', 'add_mean.bias')
# The factor on the residual blocks is in no file; wide networks have 0.1.
_WIDE = 256


def describe_edsr(state_dict: dict[str, Tensor]) -> tuple[dict, dict]:
    """Find the network's size, and take the mean out of the tensors.

    Args:
        state_dict: The original tensors; the mean's are removed.

    Returns:
        tuple: Config of the network, and the settings of SR4IR that go with it.

    Raises:
        ConvertError: If the tensors are no EDSR's.
    """
    features = shape(state_dict, 'head.0.weight')[0]
    shape(state_dict, 'body.0.body.0.weight')
    blocks = count_names(state_dict, r'body\.\d+\.body\.0\.weight')
    steps = count_names(state_dict, r'tail\.0\.\d+\.weight')
    is_x3 = shape(state_dict, 'tail.0.0.weight')[0] == 9 * features
    mean, end = take_mean(state_dict)
    network = dict(
        type='mmagic.EDSRNet',
        in_channels=3,
        out_channels=3,
        mid_channels=features,
        num_blocks=blocks,
        upscale_factor=3 if is_x3 else 2**steps,
        res_scale=0.1 if features == _WIDE else 1,
        rgb_mean=mean,
        rgb_std=[1.0, 1.0, 1.0],
    )
    return network, dict(sr_range=end)


def take_mean(state_dict: dict[str, Tensor]) -> tuple[list[float], int]:
    """Take out EDSR's 1x1 convolutions that subtract the mean and add it again.

    Args:
        state_dict: The tensors of an original EDSR; those of the mean are removed.

    Returns:
        tuple: The mean, and 255 or 1: the end of the range of its images.

    Raises:
        ConvertError: If the convolutions do anything else.
    """
    for name in _MEAN_SHIFT:
        shape(state_dict, name, dims=4 if name.endswith('weight') else 1)
    sub_weight, sub, add_weight, add = (state_dict.pop(name) for name in _MEAN_SHIFT)
    unit = torch.eye(3).view(3, 3, 1, 1)
    if not (
        all(
            w.shape == unit.shape and torch.equal(w.float(), unit)
            for w in (sub_weight, add_weight)
        )
        and sub.shape == (3,)
        and torch.equal(sub, -add)
    ):
        raise ConvertError(
            'sub_mean and add_mean do more than to subtract a mean and to add it '
            'again, which mmagic.EDSRNet cannot do'
        )
    # Four digits are what the means were given with; more is float32's noise.
    mean = [round(value, 4) for value in add.tolist()]
    # A mean above 1 is that of images in [0, 255].
    return mean, 255 if max(mean) > 1 else 1


def edsr_name(name: str, num_blocks: int) -> str:
    """Return the original name of a tensor of ``mmagic.EDSRNet``."""
    name = name.replace('conv_first.', 'head.0.')
    name = name.replace('conv_after_body.', f'body.{num_blocks}.')
    name = re.sub(
        r'^body\.(\d+)\.conv([12])\.',
        lambda m: f'body.{m[1]}.body.{2 * int(m[2]) - 2}.',
        name,
    )
    name = re.sub(
        r'^upsample\.(\d+)\.upsample_conv\.', lambda m: f'tail.0.{2 * int(m[1])}.', name
    )
    return name.replace('conv_last.', 'tail.1.')
