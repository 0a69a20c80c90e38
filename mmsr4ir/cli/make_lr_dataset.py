"""Write the LR images that a degradation makes of a data set, as PNG files."""

import argparse
import sys
from pathlib import Path

from mmengine.runner import set_random_seed
from mmengine.utils import ProgressBar

from mmsr4ir.analysis.lr_dataset import folder_images, split_images
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.errors import DataError
from mmsr4ir.visualization.drawing import write_png

from .arguments import add_config_options
from .command import command


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} Of a config, those that its validation or test sees, '
        'after its pipeline; with --images, those of all images in a folder. Names and '
        'sub folders stay, except for the suffix.',
        epilog='A second run writes the same bytes. An image that cannot be read is '
        'listed at the end, the others are written. Exit code 1 if anything is wrong. '
        'Images of a training are changed at random on their way: take --images.',
    )
    parser.add_argument(
        'config', help='config; with --images also one of configs/_base_/degradations'
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        '--split',
        choices=('val', 'test'),
        default='val',
        help='which data of the config (default: %(default)s)',
    )
    source.add_argument(
        '--images', type=Path, metavar='FOLDER', help='degrade this folder as it is'
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='FOLDER',
        help='folder for the LR images',
    )
    parser.add_argument(
        '--overwrite', action='store_true', help='replace files that are there already'
    )
    add_config_options(
        parser, 'override settings of the config, as in model.degradation.seed=1'
    )
    return parser.parse_args()


def write_images(args: argparse.Namespace) -> list[str]:
    """Write all images; return what is wrong with those that cannot be read."""
    cfg = read_config(args.config, args.cfg_options)
    if args.images is None:
        names, images, folders = split_images(cfg, args.split)
    elif not args.images.is_dir():
        raise DataError(f'{args.images} is no folder')
    else:
        names, images, folders = folder_images(cfg, args.images)
    for parent in {(args.out / name).resolve().parent for name in names}:
        if any(parent.is_relative_to(folder) for folder in folders):
            raise DataError(
                f'--out {args.out} is among the images of the data set, '
                'which LR images would replace or be taken for; give a '
                'folder beside it'
            )
    there = [name for name in names if (args.out / name).exists()]
    if there and not args.overwrite:
        raise DataError(
            f'{args.out / there[0]} and {len(there) - 1} more are there '
            'already: give another --out or --overwrite'
        )
    problems = []
    bar = ProgressBar(len(names))
    for name, image in zip(names, images, strict=True):
        if isinstance(image, str):
            problems.append(image)
        else:
            write_png(args.out / name, image)
        bar.update()
    print(f'\n{len(names) - len(problems)} LR images are in {args.out}')
    return problems


@command
def main() -> None:
    """Write the LR images, and list what was left out."""
    args = parse_args()
    set_random_seed(0)  # for a degradation of one's own that has no seed for an image
    try:
        problems = write_images(args)
    except (ValueError, TypeError, KeyError, OSError, RuntimeError) as error:
        sys.exit(f'error: {error}')
    if problems:
        sys.exit('\n'.join([f'error: {len(problems)} were left out:', *problems]))
