"""Compare methods with and without SR on one's own data: is SR worth it here?

The tool trains and tests the paper's methods, and those of later work, from one SR4IR
config, and writes a verdict, a table (Markdown, CSV, JSON), charts and picture grids.
If it is interrupted, run the same command again to continue.
"""

import argparse
import signal
import sys
from pathlib import Path

from mmengine.registry import init_default_scope

from mmsr4ir.analysis.complexity import complexity
from mmsr4ir.comparison import METHODS, STARTS, plan_parts, run_parts, write_report
from mmsr4ir.comparison.costs import inference_costs
from mmsr4ir.comparison.display import Display
from mmsr4ir.comparison.results import check_metric_group, main_metric
from mmsr4ir.datasets.checks.sets import SPLITS
from mmsr4ir.utils.configs import read_config

from .arguments import add_config_options, positive
from .command import command
from .runs import check_before_run


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n\n')[0],
        epilog='comparison=dict(l2t=dict(...)) in the config gives a method settings '
        'of its own; the table then says so.',
    )
    parser.add_argument(
        'configs', nargs='+', metavar='CONFIG', help='SR4IR config files'
    )
    parser.add_argument(
        '--methods',
        nargs='+',
        choices=list(METHODS),
        default=list(METHODS),
        metavar='METHOD',
        help=f'which to compare: {", ".join(METHODS)} (default: all)',
    )
    parser.add_argument(
        '--start',
        choices=STARTS,
        default='config',
        help='what each method starts from: what the config says, or for all methods '
        'the same SR network, trained on pixels, and the same task network, trained on '
        'HR (default: %(default)s)',
    )
    parser.add_argument(
        '--seeds',
        nargs='+',
        type=int,
        default=[0],
        metavar='SEED',
        help='random seeds; each method is trained once with each (default: 0)',
    )
    parser.add_argument(
        '--jobs',
        type=positive,
        default=1,
        metavar='N',
        help='trainings at once (default: 1)',
    )
    parser.add_argument(
        '--images',
        type=positive,
        default=8,
        metavar='N',
        help='test images that are drawn (default: 8); with another number than '
        'an earlier start had, its tests are done again',
    )
    parser.add_argument(
        '--metric',
        metavar='KEY',
        help='the task metric that methods are compared by, as coco/bbox_mAP_50 '
        "(default: the main one of the config's metric)",
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/comparison'),
        metavar='FOLDER',
        help='results go to FOLDER/<config name> (default: work_dirs/comparison)',
    )
    add_config_options(parser, 'override settings of the config, for all methods')
    return parser.parse_args()


def run_comparison(config: str, args: argparse.Namespace) -> bool:
    """Run one config's comparison; return whether all methods were finished."""
    cfg = read_config(config, args.cfg_options)
    out = args.out / Path(config).stem
    parts = plan_parts(cfg, args.methods, args.seeds, out, args.start)
    metric = args.metric or main_metric(cfg)
    # The trainings do not look at the data again.
    check_before_run(cfg, [one for one in SPLITS if cfg.get(f'{one}_dataloader')])
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    check_metric_group(cfg, metric)
    sizes = complexity(cfg)
    with Display() as display:
        works = run_parts(parts, out, args.jobs, args.images, display, metric)
    done = [work.part for work in works if work.state == 'done' and work.part.is_tested]
    costs = inference_costs(done, out)
    report = write_report(works, cfg, args.methods, metric, sizes, out, costs)
    print(
        f'\n{(out / "results.md").read_text()}\n{out}: results.md, results.csv, '
        f'results.json, results.png, trade_off.png, grids/*.png, flips/*/*.png'
    )
    return all(
        run['state'] == 'done'
        for row in report['methods'].values()
        for run in row['runs'].values()
    )


@command
def main() -> None:
    """Compare the methods for one config after the other."""
    args = parse_args()
    # So that the trainings are ended with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    complete = True
    try:
        for config in args.configs:
            complete &= run_comparison(config, args)
    except KeyboardInterrupt:
        sys.exit('\nstopped; the same command goes on from here')
    except OSError as error:
        sys.exit(
            f'error: {error}. What was written before is whole; the same command '
            'goes on from here'
        )
    if not complete:
        sys.exit('error: some methods are missing, see the table')
