"""Convert a file of the original EDSR to mmagic's names."""

from collections.abc import Sequence

from mmsr4ir.deployment.edsr import describe_edsr, edsr_name

from .arguments import sr_parser
from .command import command
from .sr_converters import convert_sr

_TEXTS = dict(
    description='Convert a file of the original EDSR (EDSR-PyTorch, such as '
    'edsr_baseline_x4-6b446fab.pt)\nto the names of mmagic.EDSRNet. Blocks, features '
    'and scale are found in the file and\nprinted, as a config. No code in the file is '
    'run.',
    epilog='The original works on [0, 255]: the printed config has sr_range=255, by '
    'which SR4IR\nmultiplies the image before the network, and the rgb_mean of the '
    "file. mmagic's own\nconfigs give images in [0, 1]; use rgb_mean=[0.4488, 0.4371, "
    '0.4040] and\nrgb_std=[1 / 255] * 3 there. The factor on the residual blocks is '
    'not in the file; the\nprinted one is that of the published networks (0.1 with 256 '
    'features, else 1).',
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Convert the file."""
    args = sr_parser(**_TEXTS).parse_args(argv)
    convert_sr(
        args,
        ('state_dict',),
        describe_edsr,
        lambda name, network: edsr_name(name, network['num_blocks']),
    )
