"""Time a test: both networks and the whole step, images a second, peak memory."""

import argparse
import json

import torch
from mmengine.runner import set_random_seed

from mmsr4ir.analysis.speed import (
    describe_machine,
    peak_memory,
    summarise_laps,
    time_inference,
)
from mmsr4ir.engine.build import build_loader, build_model
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.files import write_whole
from mmsr4ir.utils.tables import markdown_table

from .arguments import add_timing_arguments
from .command import command


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Weights are random. The task network is timed '
        'with its post-processing, the test step without loading. Without a GPU the '
        'peak memory is that of the whole process, the warm-up included.',
    )
    add_timing_arguments(parser)
    return parser.parse_args()


@command
def main() -> None:
    """Time a test, print a table, and write the numbers."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    torch.backends.cudnn.benchmark = bool(
        (cfg.get('env_cfg') or {}).get('cudnn_benchmark')
    )
    set_random_seed(0)
    machine = describe_machine()
    model = build_model(cfg).to(machine['device'])
    loader = build_loader(cfg, 'test', args.batch_size, workers=True)
    laps = time_inference(model, loader, args.iterations, args.warmup)
    rows, memory, batch = summarise_laps(laps), peak_memory(), max(laps.images)
    print(
        '{device} ({device_name}), torch {torch}, {} test steps after {} of warm-up, '
        'batches of {}\n'.format(args.iterations, args.warmup, batch, **machine)
    )
    print(
        markdown_table(
            ['part', 'ms an image', 'images/s', 'ms a step (quartiles)'],
            [
                [
                    name,
                    f'{1000 / row["images_per_second"]:.2f}',
                    f'{row["images_per_second"]:.1f}',
                    '{:.1f} ({:.1f}, {:.1f})'.format(
                        *(1000 * row[key] for key in ('median', 'q1', 'q3'))
                    ),
                ]
                for name, row in rows.items()
            ],
        )
    )
    print(f'\npeak memory: {memory["mib"]:.0f} MiB ({memory["of"]})')
    if args.out:
        write_whole(
            args.out,
            json.dumps(
                dict(
                    machine,
                    config=args.config,
                    batch=batch,
                    seconds=rows,
                    memory=memory,
                    iterations=args.iterations,
                    warmup=args.warmup,
                ),
                indent=1,
            ),
        )
