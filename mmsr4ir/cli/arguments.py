"""The options that several command lines share, and the configs they lead to."""

import argparse
import ast
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction
from mmengine.logging import print_log
from mmengine.utils import ProgressBar

from mmsr4ir.datasets.checks.images import Scanner, default_workers
from mmsr4ir.datasets.move_resize import move_resize
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.errors import ConfigError


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that the classification tools share."""
    parser.add_argument('root', type=Path, help='folder of the data set')
    parser.add_argument(
        '--out', type=Path, help='folder for the lists (default: ROOT/meta)'
    )
    add_check_arguments(parser)


def add_check_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of tools that check data before they write."""
    parser.add_argument(
        '--skip-broken',
        action='store_true',
        help='leave out what cannot be used (default: list it, write nothing and end '
        'with exit code 1)',
    )
    add_workers(parser)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the number of threads that read images."""
    parser.add_argument(
        '--workers',
        type=positive,
        default=default_workers(),
        metavar='N',
        help='threads that read the images (default: %(default)s)',
    )


def scanner(args: argparse.Namespace) -> Scanner:
    """Return the scanner of a tool: ``--workers`` threads, and a progress bar."""
    return Scanner(workers=args.workers, start=_start_bar)


def _start_bar(name: str, images: int) -> Callable[[], None]:
    """Begin the progress bar of a data set; return what moves it by an image."""
    print(f'{name}: {images} images')
    if not images:
        return lambda: None
    bar = ProgressBar(images)

    def move() -> None:
        bar.update()
        if bar.completed == images:
            print()  # the next text begins a line

    return move


def positive(text: str) -> int:
    """Return an option's whole number, at least 1.

    Raises:
        argparse.ArgumentTypeError: If the number is below 1.
    """
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is below 1')
    return value


def share(text: str) -> float:
    """Return an option's share, between 0 and 1, without these two.

    Raises:
        argparse.ArgumentTypeError: If the number is not between 0 and 1.
    """
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value


def add_config_options(
    parser: argparse.ArgumentParser,
    text: str = 'override settings of the config, as in tools/train.py',
) -> None:
    """Add ``--cfg-options``, which are None if the command line has none.

    Args:
        parser: Of a tool.
        text: What the help says.
    """
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help=text
    )


def add_shape_argument(parser: argparse.ArgumentParser, default: str) -> None:
    """Add the size of the HR images.

    Args:
        parser: Of a tool.
        default: Where the size comes from otherwise, for the help.
    """
    parser.add_argument(
        '--shape',
        type=positive,
        nargs='+',
        metavar='PIXELS',
        action=_Shape,
        help='height and width of the HR images, or one number for both '
        f'(default: {default})',
    )


class _Shape(argparse.Action):
    """Take one or two numbers as (height, width)."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Set the size.

        Raises:
            argparse.ArgumentError: If there are more than two numbers.
        """
        if len(values) > 2:
            raise argparse.ArgumentError(self, 'takes one or two numbers')
        setattr(namespace, self.dest, tuple((values * 2)[:2]))


def add_timing_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that the benchmarks share."""
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--iterations',
        type=positive,
        default=20,
        metavar='N',
        help='timed iterations (default: %(default)s)',
    )
    parser.add_argument(
        '--warmup',
        type=positive,
        default=3,
        metavar='N',
        help='iterations before them (default: %(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=positive,
        metavar='N',
        help='images a batch (default: those of the config)',
    )
    parser.add_argument(
        '--out', type=new_file, metavar='FILE.json', help='write the numbers too'
    )
    add_config_options(parser)


def new_file(text: str) -> Path:
    """Return the path of a file to write; check it before the hours of work.

    The folder of the file is made.

    Raises:
        argparse.ArgumentTypeError: If no file of this name can be written.
    """
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f'{path} is a folder: name a file in it')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise argparse.ArgumentTypeError(
            f'{path} cannot be written: {error}'
        ) from error
    return path


def add_weights_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option that :func:`find_weights` takes."""
    parser.add_argument(
        '--weights',
        choices=['average', 'last'],
        help='which weights of a training with EMAHook, which saves the average in the '
        'place of the weights of the last iteration, and those beside (default: what '
        'the training tests with: the average, where there is one)',
    )


def sr_parser(description: str, epilog: str) -> argparse.ArgumentParser:
    """Build the parser of a converter of SR networks; both texts keep their lines."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('source', type=Path, metavar='IN', help='the original file')
    parser.add_argument('out', type=Path, metavar='OUT', help='file to write (.pth)')
    parser.add_argument(
        '--prefix',
        default='',
        help='put this before every name: "generator." for '
        "the models of mmagic's own configs (default: the network alone, as for "
        'init_cfg of model.sr)',
    )
    return parser


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share, named as in mmdet."""
    parser.add_argument('config', help='config file, such as configs/sr4ir/...py')
    parser.add_argument(
        '--work-dir',
        help='folder for logs and checkpoints '
        "(default: the config's work_dir, else work_dirs/<config name>)",
    )
    add_config_options(
        parser,
        'override settings of the config, as in train_cfg.max_epochs=3 '
        'model.recipe.sr.losses.pixel=0.5 or key="[a,b]"',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started (tools/dist_train.sh says pytorch)',
    )
    parser.add_argument(
        '--no-data-check',
        action='store_true',
        help='do not look at annotation files and images before the start',
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and put the command line's settings into it.

    Raises:
        ConfigError: If there is no such file, if a setting of the command line does
            not fit it, or if there are several processes without ``--launcher``.
    """
    if (
        args.launcher == 'none'
        and int(os.environ.get('WORLD_SIZE', 1)) > 1
        and ('TORCHELASTIC_RUN_ID' in os.environ)
    ):
        raise ConfigError(
            'torch has started several processes, and each would train alone: add '
            '--launcher pytorch, as tools/dist_train.sh does'
        )
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config, args.cfg_options)
    cfg.launcher = args.launcher
    warn_of_unread(cfg, args.cfg_options)
    move_resize(cfg)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = os.path.splitext(os.path.basename(args.config))[0]
        cfg.work_dir = os.path.join('work_dirs', name)
    return cfg


def add_ways_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of tools that look at several ways to train."""
    parser.add_argument(
        '--variant',
        nargs='+',
        action='append',
        default=[],
        metavar=('NAME', 'KEY=VALUE'),
        help='a way to train for --compare, as settings of the config; may be given '
        'several times',
    )
    parser.add_argument(
        '--stage',
        choices=('main', 'warmup'),
        default='main',
        help='stage of the training (default: %(default)s)',
    )


class ConfigOptions(DictAction):
    """MMEngine's reader of ``--cfg-options``, which refuses a word without ``=``."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: list[str],
        option_string: str | None = None,
    ) -> None:
        """Put the settings into the namespace; refuse one without ``=``."""
        for value in values:
            if '=' not in value:
                parser.error(f'{option_string}: {value!r} is no KEY=VALUE')
        super().__call__(parser, namespace, values, option_string)


def warn_of_unread(cfg: Config, options: Mapping | None = None) -> None:
    """Warn of the model's settings at a config's top level, where nothing reads them.

    A top-level variable whose value the model has under the same name is allowed, and
    so is one of a base file, such as a recipe that the config's own model replaces.

    Args:
        cfg: The config as it was read.
        options: The command line's settings, by dotted key.
    """
    set_here = {key.partition('.')[0] for key in options or ()}
    if str(cfg.filename).endswith('.py'):
        set_here |= {
            target.id
            for statement in ast.parse(Path(cfg.filename).read_text('utf-8')).body
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
    for name in ('degradation', 'patch_mix', 'recipe', 'tdp', 'teacher'):
        if name in set_here and cfg.get(name) != cfg.get('model', {}).get(name):
            print_log(
                f'the config sets {name} at its top level, where nothing reads '
                f'it: the setting of the model is model.{name}',
                level=logging.WARNING,
            )
