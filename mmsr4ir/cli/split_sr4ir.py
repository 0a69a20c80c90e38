"""Split the checkpoint of an SR4IR into those of its two networks."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmsr4ir.deployment.convert import about
from mmsr4ir.deployment.split import split

from .arguments import add_weights_argument
from .command import command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description='Split the checkpoint of an SR4IR into a plain checkpoint of its '
        'SR network and one of its task network, which mmagic and mmdet, mmseg or '
        'mmpretrain load alone. Give at least one of the outputs.',
        epilog='The task checkpoint keeps the class names, and its config where the '
        'checkpoint has one, so that DetInferencer(weights=FILE) needs no config file. '
        'Config and checkpoint are read without running code in them.',
    )
    parser.add_argument('checkpoint', type=Path, help='checkpoint of an SR4IR')
    parser.add_argument(
        '--sr', type=Path, metavar='OUT', help='write the SR network here (.pth)'
    )
    parser.add_argument(
        '--task', type=Path, metavar='OUT', help='write the task network here (.pth)'
    )
    parser.add_argument(
        '--task-config',
        type=Path,
        metavar='OUT',
        help='write a config of the task network alone here, for testing and '
        'inference (.py)',
    )
    parser.add_argument(
        '--sr-prefix',
        default='',
        metavar='PREFIX',
        help='put this before every name of the SR network: "generator." for the '
        "models of mmagic's own configs (default: the network alone)",
    )
    add_weights_argument(parser)
    args = parser.parse_args(argv)
    if not (args.sr or args.task or args.task_config):
        parser.error('nothing to write: give --sr, --task or --task-config')
    return args


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the chosen files, and print what was done."""
    args = parse_args(argv)
    with about(args.checkpoint):
        report = split(
            args.checkpoint,
            args.sr,
            args.task,
            args.task_config,
            args.sr_prefix,
            args.weights,
        )
    print(*report, sep='\n')
