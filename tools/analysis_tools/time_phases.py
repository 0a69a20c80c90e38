"""Time an iteration: waiting for data, making LR images, each phase of the recipe."""
import argparse
import resource
import statistics
import time
from collections import defaultdict

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

import mmsr4ir  # noqa: F401  (prepares mmcv.ops before anything asks for it)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog='The median and the range over the iterations are '
        'printed, in seconds. Every phase is timed in the stage "main".')
    parser.add_argument('config', help='config file')
    parser.add_argument('--iterations', type=int, default=20, help='timed iterations')
    parser.add_argument('--warmup', type=int, default=3, help='iterations before them')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction,
                        help='override settings of the config')
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    cfg.work_dir, cfg.log_level, cfg.val_dataloader = 'work_dirs/time', 'ERROR', None
    cfg.val_cfg = cfg.val_evaluator = None
    runner = Runner.from_cfg(cfg)
    model = runner.model.train()
    wrappers = runner.build_optim_wrapper(cfg.optim_wrapper)
    batches = iter(Runner.build_dataloader(cfg.train_dataloader))

    times = defaultdict(list)
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = time.perf_counter()
        times[name].append(now - clock)
        clock = now

    for _ in range(args.warmup + args.iterations):
        start = clock = time.perf_counter()
        try:
            data = next(batches)
        except StopIteration:
            batches = iter(Runner.build_dataloader(cfg.train_dataloader))
            data = next(batches)
        lap('data')
        data = model.data_preprocessor(data, training=True)
        batch = model.prepare(data['inputs'], data['data_samples'])
        lap('HR and LR images')
        for phase in model.recipe:
            model.train_phase(phase, batch, wrappers)
            lap(f'phase {phase.name!r}')
        times['iteration'].append(time.perf_counter() - start)
    print(f'{"part":22}{"median":>9}{"min":>9}{"max":>9}   share')
    total = statistics.median(times['iteration'][args.warmup:])
    for name, laps in times.items():
        laps = laps[args.warmup:]
        median = statistics.median(laps)
        print(f'{name:22}{median:9.3f}{min(laps):9.3f}{max(laps):9.3f}'
              f'{median / total:8.0%}')
    if torch.cuda.is_available():
        print(f'peak memory: {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB (GPU)')
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(f'peak memory: {peak / 1024:.0f} MiB (whole process)')


if __name__ == '__main__':
    main()
