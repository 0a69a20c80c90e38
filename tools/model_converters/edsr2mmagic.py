"""Convert a file of the original EDSR to mmagic's names."""
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from mmsr4ir.apis.convert import ConvertError, convert_sr, count, shape, sr_parser

_TEXTS = dict(
    description='Convert a file of the original EDSR (EDSR-PyTorch, such as '
    'edsr_baseline_x4-6b446fab.pt)\nto the names of mmagic.EDSRNet. Blocks, features '
    'and scale are found in the file and\nprinted, as a config. No code in the file is '
    'run.',
    epilog='The original works on [0, 255]: the printed config has sr_range=255, by '
    'which SR4IR\nmultiplies the image before the network, and the rgb_mean of the '
    'file. mmagic\'s own\nconfigs give images in [0, 1]; use rgb_mean=[0.4488, 0.4371, '
    '0.4040] and\nrgb_std=[1 / 255] * 3 there. The factor on the residual blocks is '
    'not in the file; the\nprinted one is that of the published networks (0.1 with 256 '
    'features, else 1).')
_MEAN_SHIFT = ('sub_mean.weight', 'sub_mean.bias', 'add_mean.weight', 'add_mean.bias')
_WIDE = 256


def describe(state_dict: dict[str, Tensor]) -> tuple[dict, dict]:
    """Find the network's size, and take the mean out of the tensors.

    Args:
        state_dict: The original tensors; the mean's are removed.

    Returns:
        tuple: Config of the network, and the settings of SR4IR that go with it.

    Raises:
        ConvertError: The tensors are no EDSR's.
    """
    features = shape(state_dict, 'head.0.weight')[0]
    shape(state_dict, 'body.0.body.0.weight')
    blocks = count(state_dict, r'body\.\d+\.body\.0\.weight')
    steps = count(state_dict, r'tail\.0\.\d+\.weight')
    is_x3 = shape(state_dict, 'tail.0.0.weight')[0] == 9 * features
    mean = take_mean(state_dict)
    network = dict(
        type='mmagic.EDSRNet', in_channels=3, out_channels=3, mid_channels=features,
        num_blocks=blocks, upscale_factor=3 if is_x3 else 2**steps,
        res_scale=0.1 if features == _WIDE else 1, rgb_mean=mean,
        rgb_std=[1.0, 1.0, 1.0])
    # A mean above 1 is that of images in [0, 255].
    return network, dict(sr_range=255 if max(mean) > 1 else 1)


def take_mean(state_dict: dict[str, Tensor]) -> list[float]:
    """Take out the two 1x1 convolutions that subtract the mean and add it again.

    Returns:
        list[float]: The mean, in the range of the network's images.

    Raises:
        ConvertError: They do something else.
    """
    for name in _MEAN_SHIFT:
        shape(state_dict, name, dims=4 if name.endswith('weight') else 1)
    sub_weight, sub, add_weight, add = (state_dict.pop(name) for name in _MEAN_SHIFT)
    unit = torch.eye(3).view(3, 3, 1, 1)
    if not (all(w.shape == unit.shape and torch.equal(w.float(), unit)
                for w in (sub_weight, add_weight))
            and sub.shape == (3, ) and torch.equal(sub, -add)):
        raise ConvertError(
            'sub_mean and add_mean do more than to subtract a mean and to add it '
            'again, which mmagic.EDSRNet cannot do')
    # Four digits are what the means were given with; more is float32's noise.
    return [round(value, 4) for value in add.tolist()]


def original_name(name: str, network: dict) -> str:
    """From mmagic's name of a tensor to the original one."""
    name = name.replace('conv_first.', 'head.0.')
    name = name.replace('conv_after_body.', f'body.{network["num_blocks"]}.')
    name = re.sub(r'^body\.(\d+)\.conv([12])\.',
                  lambda m: f'body.{m[1]}.body.{2 * int(m[2]) - 2}.', name)
    name = re.sub(r'^upsample\.(\d+)\.upsample_conv\.',
                  lambda m: f'tail.0.{2 * int(m[1])}.', name)
    return name.replace('conv_last.', 'tail.1.')


def main(argv: Sequence[str] | None = None) -> None:
    args = sr_parser(**_TEXTS).parse_args(argv)
    convert_sr(args, ('state_dict', ), describe, original_name)


if __name__ == '__main__':
    main()
