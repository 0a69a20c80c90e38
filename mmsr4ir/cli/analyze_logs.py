"""Draw the logs of trainings, or compute their time an iteration."""

import argparse
from pathlib import Path

import numpy as np

from mmsr4ir.analysis.curves import draw_curves, save_figure
from mmsr4ir.analysis.logs import Log, epoch_times, read_log

from .command import command

_LOGS = (
    'work dir of a training (its newest run, with those that it was resumed '
    'from), or one scalars.json'
)


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = parser.add_subparsers(dest='task', required=True)
    plot = tasks.add_parser(
        'plot_curve',
        help='draw losses, learning rates and metrics',
        description='Draw the losses of every phase, learning rates and metrics of one '
        'run or of several in one figure.',
    )
    plot.add_argument('logs', nargs='+', type=Path, metavar='WORK_DIR', help=_LOGS)
    plot.add_argument(
        '--keys',
        nargs='+',
        default=[],
        metavar='KEY',
        help='draw these, each in a '
        'panel of its own (default: all losses, learning rates and metrics, in a panel '
        'for each kind)',
    )
    plot.add_argument(
        '--legend',
        nargs='+',
        metavar='NAME',
        help='what to call the runs (default: the names of the work dirs)',
    )
    plot.add_argument(
        '--out',
        type=Path,
        default=Path('curves.png'),
        metavar='FILE',
        help='.png, .pdf or .svg (default: %(default)s)',
    )
    times = tasks.add_parser(
        'cal_train_time',
        help='seconds an iteration, by epoch',
        description='Compute the mean time an iteration, of the fastest and of the '
        'slowest epoch.',
    )
    times.add_argument('logs', nargs='+', type=Path, metavar='WORK_DIR', help=_LOGS)
    times.add_argument(
        '--include-outliers',
        action='store_true',
        help='count the first entry of each epoch too, which is slower',
    )
    args = parser.parse_args()
    names = getattr(args, 'legend', None)
    if names and len(set(names)) != len(names):
        parser.error('--legend has a name twice')
    if names and len(names) != len(args.logs):
        parser.error(f'--legend has {len(names)} names for {len(args.logs)} runs')
    return args


def train_time(log: Log, include_outliers: bool) -> str:
    """Return the times of one run as text."""
    times = epoch_times(log, include_outliers)
    slowest = max(times, key=times.__getitem__)
    fastest = min(times, key=times.__getitem__)
    seconds = np.array(list(times.values()))
    return (
        f'{log.name}:\n'
        f'  slowest epoch {slowest}: {times[slowest]:.4f} s/iter\n'
        f'  fastest epoch {fastest}: {times[fastest]:.4f} s/iter\n'
        f'  standard deviation over {len(times)} epochs: {seconds.std():.4f} s\n'
        f'  mean: {seconds.mean():.4f} s/iter'
    )


@command
def main() -> None:
    """Draw the curves, or print the times."""
    args = parse_args()
    names = getattr(args, 'legend', None) or [None] * len(args.logs)
    logs = [read_log(path, name) for path, name in zip(args.logs, names, strict=True)]
    if len({log.name for log in logs}) < len(logs):  # work dirs of the same name
        logs = [read_log(path, str(path)) for path in args.logs]
    for log in logs:
        print(
            f'{log.name}: iterations {log.train[0]["step"]} to '
            f'{log.train[-1]["step"]}, {len(log.val)} validations, from '
            f'{len(log.files)} run(s)'
        )
    if args.task == 'plot_curve':
        save_figure(draw_curves(logs, args.keys), args.out)
        print(f'{args.out} written')
    else:
        print(*(train_time(log, args.include_outliers) for log in logs), sep='\n')
