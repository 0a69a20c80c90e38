"""Convert a file of the original SwinIR to mmagic's names."""

from collections.abc import Sequence

from mmsr4ir.deployment.swinir import describe_swinir, swinir_name

from .arguments import sr_parser
from .command import command
from .sr_converters import convert_sr

_TEXTS = dict(
    description='Convert a file of the original SwinIR (such as\n'
    '001_classicalSR_DIV2K_s48w8_SwinIR-M_x4.pth) to the names of mmagic.SwinIRNet. '
    'The\nsettings of the network are found in the file and printed, as a config. No '
    'code in the\nfile is run.',
    epilog='Classical, lightweight and real-world SR are converted; denoising and '
    'compression\nartefacts, which enlarge nothing, are not. The images are in [0, 1] '
    '(sr_range=1).',
)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Convert the file."""
    args = sr_parser(**_TEXTS).parse_args(argv)
    convert_sr(
        args,
        ('params_ema', 'params'),
        describe_swinir,
        lambda name, network: swinir_name(name),
    )
