"""Train the networks of a config."""

import argparse
import gc

import torch
from mmengine.runner import Runner
from torch.distributed.elastic.multiprocessing.errors import record

from mmsr4ir.engine.exact_loops import check_kept_checkpoints
from mmsr4ir.engine.resume import resume_point
from mmsr4ir.utils.configs import type_name
from mmsr4ir.utils.errors import ConfigError

from .arguments import add_run_arguments, load_config
from .command import command
from .runs import (
    build_runner,
    check_before_run,
    end_dist,
    is_first_process,
    set_amp,
    start_dist,
)


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description='Train an SR network together with a recognition network.'
    )
    add_run_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a path from the last one in the '
        'work dir, with the word "previous" from the last whole one before that',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision for both networks'
    )
    parser.add_argument(
        '--amp-dtype',
        choices=('float16', 'bfloat16'),
        help='of --amp (default: float16 on a GPU; on a CPU, where that is slow, there '
        'is none)',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rates from auto_scale_lr.base_batch_size to the '
        'batch size of this run',
    )
    parser.add_argument(
        '--progress-bar',
        action='store_true',
        help='draw a progress bar below the log lines (in a terminal only)',
    )
    args = parser.parse_args()
    if args.amp_dtype and not args.amp:
        parser.error('--amp-dtype needs --amp')
    return args


def add_memory_line(runner: Runner) -> None:
    """With a GPU, have the log say what an iteration needs of its memory."""
    if torch.cuda.is_available() and type_name(runner.cfg.model) == 'SR4IR':
        # Fake tensors take seconds to import.
        from mmsr4ir.analysis.memory_line import MemoryLineHook

        runner.register_hook(MemoryLineHook())


@command
@record  # of several processes, the launcher then shows the error of the first to fail
def main() -> None:
    """Train the networks."""
    args = parse_args()
    cfg = load_config(args)
    check_kept_checkpoints(cfg)
    if args.amp:
        set_amp(cfg, args.amp_dtype)
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ConfigError(
                '--auto-scale-lr needs '
                'auto_scale_lr=dict(base_batch_size=...) in the config'
            )
        cfg.auto_scale_lr.enable = True
    wish = args.resume
    if wish is None and cfg.get('resume'):
        wish = cfg.get('load_from') or 'auto'
    if wish is not None:
        found = resume_point(cfg.work_dir, wish)
        cfg.resume = found is not None  # else load_from is where the training starts
        cfg.load_from = found or cfg.get('load_from')
        if not found and is_first_process():
            print(f'no checkpoint in {cfg.work_dir} to go on from: the training begins')
    if args.progress_bar:
        hooks = cfg.setdefault('default_hooks', {})
        hooks.setdefault('progress_bar', dict(type='mmsr4ir.ProgressBarHook'))
    if not args.no_data_check:
        splits = ('train', 'val') if cfg.get('val_dataloader') else ('train',)
        check_before_run(cfg, splits)
    start_dist(cfg)
    runner = build_runner(cfg)
    add_memory_line(runner)
    # Packages and networks stay to the end. Loader workers share their memory pages. A
    # garbage collection would write to the pages, so each process would copy them.
    gc.collect()
    gc.freeze()
    try:
        runner.train()
    finally:
        gc.unfreeze()  # else triton, which looks at the end, reports leaks
    end_dist(runner.model)
