"""Make a checkpoint fit to be published: weights and meta alone, a hash in its name."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmsr4ir.deployment.convert import about
from mmsr4ir.deployment.publish import publish

from .arguments import add_weights_argument
from .command import command


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description='Make the checkpoint of a training fit to be published: only the '
        'weights and what is known about them (meta) stay; optimizers, schedules, logs '
        'and the second set of weights of EMAHook go. The name gets the first 8 digits '
        "of the file's SHA-256, by which MMEngine checks what it fetches.",
        epilog='The config in the checkpoint stays, but every absolute path in it is '
        'cut to its last part, because the names of your folders are private. '
        'Nothing in the file is run. For the SR or the task network alone, '
        'run split_sr4ir.py first.',
    )
    parser.add_argument('checkpoint', type=Path, help='checkpoint of a training')
    parser.add_argument(
        'out',
        type=Path,
        metavar='OUT',
        help='name to write to: NAME.pth gives NAME-<8 digits>.pth',
    )
    parser.add_argument(
        '--card',
        type=Path,
        nargs='*',
        metavar='TEST.json',
        help='also write the config (.py) and a model card (.md) with the metrics of '
        'these files, which tools/test.py writes to its work directory',
    )
    add_weights_argument(parser)
    return parser.parse_args(argv)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write the file to publish, and print what it left out."""
    args = parse_args(argv)
    with about(args.checkpoint):
        report = publish(args.checkpoint, args.out, args.weights, args.card)
    print(*report, sep='\n')
