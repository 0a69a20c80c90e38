"""Export a trained SR4IR, or its SR network, to ONNX or torch.export, and check it."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from mmsr4ir.deployment.convert import about, read_checkpoint
from mmsr4ir.deployment.export import PARTS, check_onnx_packages
from mmsr4ir.deployment.export_file import export_file
from mmsr4ir.engine.build import build_model
from mmsr4ir.utils.configs import read_config

from .arguments import add_config_options
from .command import command

_FORMATS = ('.onnx', '.pt2')


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description='Export a trained SR4IR to ONNX or torch.export. The graph takes '
        'LR images "lr" (batch, 3, height, width), RGB, [0, 1], as they are; every '
        'normalisation is inside. Before the file gets its name, its outputs are '
        "compared with PyTorch's on noise, at two batches and two sizes; the exit "
        'code is 1 where they differ.',
        epilog='Needs the packages of requirements/export.txt: pip install '
        '"mmsr4ir[export]"',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', type=Path, help='checkpoint of its training')
    parser.add_argument(
        '--part',
        choices=PARTS,
        default='pipeline',
        help='sr: the SR network, with '
        'output "sr". pipeline (default): both networks, with the output "logits" of '
        'a classifier or segmentor. dense: both networks of a detector, up to the '
        'features of its neck and the raw outputs of its RPN or dense head',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='FILE',
        help='file to write: .onnx, or .pt2 for torch.export',
    )
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(40, 48),
        metavar=('HEIGHT', 'WIDTH'),
        help='size of the LR image that it is traced and checked with, in pixels '
        '(default: 40 48)',
    )
    parser.add_argument(
        '--static',
        action='store_true',
        help='one image of this size, for networks '
        'that cannot be exported for any batch and size',
    )
    parser.add_argument(
        '--opset', type=int, help="version of ONNX's operators (default: torch's)"
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest difference allowed, '
        'relative to the largest value of an output (default: 1e-4)',
    )
    add_config_options(parser)
    args = parser.parse_args(argv)
    if args.out.suffix not in _FORMATS:
        parser.error(f'--out {args.out}: its name must end with .onnx or .pt2')
    if min(args.shape) < 1:
        parser.error('--shape must be positive')
    return args


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Export the model, and check the file."""
    args = parse_args(argv)
    # It tells of attributes that are tensors but no buffers, which become constants.
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    if args.out.suffix == '.onnx':
        check_onnx_packages()
    cfg = read_config(args.config, args.cfg_options)
    with about(args.checkpoint):
        read_checkpoint(args.checkpoint)  # says what is wrong with the file
    model = build_model(cfg, str(args.checkpoint))
    print(
        *export_file(
            model,
            args.part,
            args.out,
            Path(args.config).stem,
            args.shape,
            args.static,
            args.opset,
            args.tolerance,
        ),
        sep='\n',
    )
