"""Time training and inference part by part: seconds, images a second, peak memory."""
import argparse
import json
import platform
import sys

import torch
from mmengine.device import get_device
from mmengine.runner import set_random_seed

import mmsr4ir  # noqa: F401  (prepares mmcv.ops before anything asks for it)
from mmsr4ir.analysis.speed import (
    Laps,
    build_wrappers,
    peak_memory,
    summary,
    table,
    time_inference,
    time_training,
)
from mmsr4ir.engine.build import build_loader, build_model
from mmsr4ir.utils.files import write_whole

from .arguments import add_timing_arguments, merge_options, read_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog='Weights are random and no weight is changed by '
        'the training. Inference: "restore" is S, "recognise" is T with its '
        'post-processing, "test step" is all but the waiting for data, timed by '
        'itself. No hook is run, so that settings which are hooks change nothing here '
        '(CompileHook, EMAHook, ActivationCheckpointHook, SparseRoIAlignHook): '
        'benchmark_train.py runs them all. Without a GPU the peak memory is that of '
        'the whole process so far, the warm-up included.')
    parser.add_argument(
        '--parts', nargs='+', choices=('inference', 'training'),
        default=('inference', 'training'), help='what to time (default: both)')
    parser.add_argument('--warmup', type=int, default=3, metavar='N',
                        help='iterations before them (default: %(default)s)')
    add_timing_arguments(parser)
    args = parser.parse_args()
    if args.warmup < 0:
        parser.error('--warmup is below 0')
    return args


def report(title: str, laps: Laps, whole: str) -> str:
    """A table of the parts of one summary, and the peak memory."""
    rows, memory = summary(laps), peak_memory()
    title = f'{title}, batches of {max(laps.images)}'
    return (table(title, rows, rows[whole]['median'])
            + f'\npeak memory: {memory["mib"]:.0f} MiB ({memory["of"]})')


def main() -> None:
    args = parse_args()
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options)
    torch.backends.cudnn.benchmark = bool(
        (cfg.get('env_cfg') or {}).get('cudnn_benchmark'))
    set_random_seed(0)
    device = get_device()
    name = torch.cuda.get_device_name() if device == 'cuda' else (
        f'{platform.machine()}, {torch.get_num_threads()} threads')
    results = dict(
        config=args.config, device=device, device_name=name, torch=torch.__version__,
        iterations=args.iterations, warmup=args.warmup)
    print(f'{device} ({name}), torch {torch.__version__}, {args.iterations} iterations '
          f'after {args.warmup} of warm-up')
    try:
        model = build_model(cfg).to(device)
        # Inference first: it needs less memory, and a process's peak never falls.
        if 'inference' in args.parts:
            loader = build_loader(cfg, 'test', args.batch_size, workers=True)
            laps = time_inference(model, loader, args.iterations, args.warmup)
            print('\n' + report('inference', laps, 'test step'), flush=True)
            results['inference'] = dict(
                batch=max(laps.images), memory=peak_memory(), seconds=summary(laps))
        if 'training' in args.parts:
            loader = build_loader(cfg, 'train', args.batch_size, workers=True)
            laps = time_training(
                model, build_wrappers(cfg, model), loader, args.iterations,
                args.warmup, args.stage)
            print('\n' + report(f'training, stage {args.stage}', laps, 'iteration'))
            results['training'] = dict(
                batch=max(laps.images), memory=peak_memory(), stage=args.stage,
                seconds=summary(laps))
        if args.out:
            write_whole(args.out, json.dumps(results, indent=1))
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
