"""Convert a file of the original EDSR to mmagic's names."""
from collections.abc import Sequence

from torch import Tensor

from mmsr4ir.deployment.convert import count, edsr_name, shape, take_mean

from .arguments import sr_parser
from .sr_converters import convert_sr

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
    mean, end = take_mean(state_dict)
    network = dict(
        type='mmagic.EDSRNet', in_channels=3, out_channels=3, mid_channels=features,
        num_blocks=blocks, upscale_factor=3 if is_x3 else 2**steps,
        res_scale=0.1 if features == _WIDE else 1, rgb_mean=mean,
        rgb_std=[1.0, 1.0, 1.0])
    return network, dict(sr_range=end)


def main(argv: Sequence[str] | None = None) -> None:
    args = sr_parser(**_TEXTS).parse_args(argv)
    convert_sr(args, ('state_dict', ), describe,
               lambda name, network: edsr_name(name, network['num_blocks']))
