"""Join the files of the authors of SR4IR to a checkpoint of this package."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmsr4ir.deployment.authors import join_published
from mmsr4ir.utils.configs import read_config

from .command import command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description='Join the files that the authors of SR4IR publish to one '
        'checkpoint, which tools/test.py and the inferencer take. Every tensor is '
        'compared with the networks of the config; nothing is written where one '
        'differs.',
        epilog='Give the config of the same method, SR network, scale and data set. '
        'The files are read without running code in them. Exit code 1 if they do not '
        'fit the config.',
    )
    parser.add_argument('config', help='config file, such as configs/sr4ir/det_voc/...')
    parser.add_argument(
        '--sr',
        type=Path,
        metavar='FILE',
        help='the SR network: net_sr_latest.pth. '
        'Leave it out for H->T and L->T, whose configs only interpolate',
    )
    parser.add_argument(
        '--task',
        type=Path,
        metavar='FILE',
        required=True,
        help='the task network: '
        'net_det_latest.pth, net_seg_latest.pth or net_cls_latest.pth',
    )
    parser.add_argument(
        '--out', type=Path, metavar='OUT', required=True, help='file to write (.pth)'
    )
    return parser.parse_args(argv)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Join the files, and print what was done."""
    args = parse_args(argv)
    print(
        *join_published(read_config(args.config), args.sr, args.task, args.out),
        sep='\n',
    )
