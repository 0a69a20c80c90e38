"""Make the embedded data set (see mmsr4ir/datasets/textured_shapes.py)."""

import argparse

from mmengine.utils import ProgressBar

from mmsr4ir.datasets.textured_shapes import write_dataset

from .command import command


@command
def main() -> None:
    """Make the data set."""
    parser = argparse.ArgumentParser(
        description='Make the embedded data set of textured shapes: COCO boxes and '
        'masks, semantic maps and class folders. The same settings give the same '
        'files.',
        epilog='A set with the same settings is left as it is. A folder that holds '
        'anything else, as a set with other settings or of an earlier version, is '
        'refused with exit code 1: remove it first.',
    )
    parser.add_argument(
        '--out',
        default='data/textured_shapes',
        help='folder to write to (default: %(default)s)',
    )
    parser.add_argument(
        '--num-train',
        type=int,
        default=240,
        metavar='N',
        help='training images, and as many class crops (default: %(default)s)',
    )
    parser.add_argument(
        '--num-val',
        type=int,
        default=60,
        metavar='N',
        help='validation images, and four times as many class crops '
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=128,
        help='height and width of the images in pixels (default: %(default)s)',
    )
    parser.add_argument(
        '--seed',
        type=int,
        default=0,
        help='0 or more; another seed gives other images (default: %(default)s)',
    )
    args = parser.parse_args()
    if min(args.num_train, args.num_val) < 4 or args.size < 64 or args.seed < 0:
        parser.error('--num-train and --num-val start at 4, --size at 64, --seed at 0')
    bar = None

    def progress() -> None:
        nonlocal bar  # begun with the first image: a set that is there needs no bar
        bar = bar or ProgressBar(args.num_train + args.num_val)
        bar.update()

    written = write_dataset(
        args.out, args.num_train, args.num_val, args.size, args.seed, progress
    )
    print(
        f'\n{args.out} written'
        if written
        else f'{args.out} is there already, with the same settings: reused'
    )
