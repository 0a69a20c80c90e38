"""Print the whole config: all that it inherits, and the command line's settings."""

import argparse
from pathlib import Path

from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.files import whole_file

from .arguments import add_config_options
from .command import command


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--save-path',
        type=Path,
        metavar='FILE',
        help='write it to a file (.py, .json or .yml) and not to the screen',
    )
    add_config_options(parser)
    args = parser.parse_args()
    if args.save_path and args.save_path.suffix not in ('.py', '.json', '.yml'):
        parser.error(
            f'--save-path {args.save_path}: the name must end in .py, .json or .yml'
        )
    return args


@command
def main() -> None:
    """Print or write the config."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    if args.save_path is None:
        print(cfg.pretty_text)
        return
    with whole_file(args.save_path) as unfinished:
        cfg.dump(unfinished)
    print(f'{args.save_path} written')
