"""Test a checkpoint: task metric, image quality, predictions and pictures."""

import argparse
import os

from torch.distributed.elastic.multiprocessing.errors import record

from mmsr4ir.engine.tta import use_tta
from mmsr4ir.utils.errors import ConfigError

from .arguments import add_run_arguments, load_config
from .command import command
from .runs import build_runner, check_before_run, end_dist, start_dist


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description='Test an SR network together with a recognition network.'
    )
    add_run_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out',
        metavar='FILE.pkl',
        help='write the predictions to a pickle file for later evaluation',
    )
    parser.add_argument(
        '--show-dir',
        metavar='FOLDER',
        help='write pictures of up to 50 images: HR, LR, SR, prediction, ground truth',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help='predict on each image and its mirror image, both restored, and merge the '
        'predictions; or as tta_model and tta_pipeline of the config say',
    )
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out {args.out}: the file must end in .pkl or .pickle')
    return args


@command
@record  # of several processes, the launcher then shows the error of the first to fail
def main() -> None:
    """Test the checkpoint."""
    args = parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if args.show_dir:
        if 'picture_grid' not in (cfg.get('default_hooks') or {}):
            raise ConfigError(
                '--show-dir needs the hook mmsr4ir.PictureGridHook as '
                'default_hooks.picture_grid in the config'
            )
        cfg.default_hooks.picture_grid.out_dir = args.show_dir
    if '://' not in args.checkpoint and not os.path.isfile(args.checkpoint):
        raise ConfigError(f'checkpoint {args.checkpoint} does not exist')
    if not args.no_data_check:
        check_before_run(cfg, ('test',))
    start_dist(cfg)
    if args.tta:
        use_tta(cfg)
    runner = build_runner(cfg)
    if args.out:
        from mmsr4ir.evaluation import DumpPredictions

        runner.test_evaluator.metrics.append(DumpPredictions(out_file_path=args.out))
    runner.test()
    end_dist(runner.model)
