"""Count parameters and FLOPs of the SR network, the task network and both."""

import argparse
import math
import sys
from pathlib import Path

from mmsr4ir.analysis.complexity import complexity
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.files import write_json
from mmsr4ir.utils.tables import plain_table

from .arguments import add_config_options, add_shape_argument
from .command import command

_TITLES = dict(sr='SR network', task='task network', sum='sum')


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='One multiply-add counts as 2 FLOPs. Counted are '
        'convolutions, matrix products and attention. A network that cannot be counted '
        'shows "nan" and a warning with the reason; the exit code is 1 then.',
    )
    parser.add_argument('config', help='config file')
    add_shape_argument(parser, 'those of the first image of the test data')
    parser.add_argument(
        '--out', type=Path, metavar='FILE.json', help='write the numbers too'
    )
    add_config_options(parser)
    return parser.parse_args()


def short(number: float) -> str:
    """Return a number as text, with three digits after the point and K, M or G."""
    for factor, unit in ((1e9, ' G'), (1e6, ' M'), (1e3, ' K')):
        if abs(number) >= factor:
            return f'{number / factor:.3f}{unit}'
    return f'{number:.0f}'


@command
def main() -> None:
    """Print the counts, and write them."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    counts = complexity(cfg, args.shape)
    for name, title in (('sr', 'LR image'), ('task', 'input of the task network')):
        height, width = counts[name]['pixels']
        print(f'{title}: {height} x {width} pixels, with padding')
    rows = [
        (_TITLES[name], short(row['params']), short(row['flops']))
        for name, row in counts.items()
    ]
    print(*plain_table(['network', 'parameters', 'FLOPs'], rows), sep='\n')
    if args.out:
        write_json(args.out, counts)
    sys.exit(math.isnan(counts['sum']['flops']))
