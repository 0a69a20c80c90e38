"""Write pictures of the data as the two networks see them: HR, LR, SR and patch mix."""

import argparse
import sys
from pathlib import Path

from mmengine.runner import set_random_seed
from mmengine.utils import ProgressBar

from mmsr4ir.analysis.browse import browse
from mmsr4ir.utils.configs import read_config
from mmsr4ir.visualization.drawing import write_png

from .arguments import add_config_options, positive
from .command import command


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='The images went through the pipeline (flips, '
        "crops), the task's preprocessor (padding) and the model's degradation; the "
        'ground truth is drawn on the HR image.',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='FOLDER',
        help='folder for the pictures (.png)',
    )
    parser.add_argument(
        '--number',
        type=positive,
        default=8,
        metavar='N',
        help='how many images (default: %(default)s)',
    )
    parser.add_argument(
        '--split',
        choices=('train', 'val', 'test'),
        default='train',
        help='which data (default: %(default)s)',
    )
    parser.add_argument(
        '--checkpoint',
        metavar='FILE',
        help='show what the SR network restores with these weights '
        '(default: with those that it has before a training)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of order and chance (default: %(default)s)'
    )
    add_config_options(parser)
    return parser.parse_args()


@command
def main() -> None:
    """Write the pictures."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    if args.checkpoint and not Path(args.checkpoint).is_file():
        sys.exit(f'error: {args.checkpoint} does not exist')
    try:
        set_random_seed(args.seed)
        bar = None
        for i, (name, picture) in enumerate(
            browse(cfg, args.split, args.number, args.checkpoint)
        ):
            bar = bar or ProgressBar(args.number)
            write_png(args.out / f'{i:03d}_{Path(name).stem}.png', picture)
            bar.update()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f'error: {error}')
    print(f'\n{args.number} pictures are in {args.out}')
