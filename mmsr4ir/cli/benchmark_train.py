"""Time training: an iteration against its parts, or several ways to train."""

import argparse
import tempfile
from pathlib import Path

from mmengine.config import Config, DictAction

from mmsr4ir.analysis.complexity import count_flops
from mmsr4ir.analysis.speed import (
    describe_machine,
    peak_memory,
    quartiles,
    summarise_laps,
    timing_table,
)
from mmsr4ir.analysis.train_speed import Steps, ratios, time_input, time_parts
from mmsr4ir.analysis.train_variants import VARIANTS, measure_memory, time_variants
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.files import write_json
from mmsr4ir.utils.tables import markdown_table

from .arguments import add_timing_arguments, add_ways_arguments
from .command import command


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description='Time training. Without --compare: an iteration as tools/train.py '
        'does it, with all hooks, against the sum of the parts that the method cannot '
        'do without, each run alone; and how long it waits for data. With '
        '--compare: several ways to train the same networks, iteration by iteration in '
        'turns, with their losses and peak memory.',
        epilog='Weights are random, unless --cfg-options load_from=FILE names a '
        'checkpoint. Learning rates are 0 while times are taken. On a GPU every '
        'measured point waits for it.',
    )
    parser.add_argument(
        '--compare',
        nargs='+',
        metavar='NAME',
        help='ways to train, the first being '
        f'what the speed of the others is given against: {", ".join(VARIANTS)}, and '
        'those of --variant',
    )
    add_ways_arguments(parser)
    parser.add_argument(
        '--no-memory',
        action='store_true',
        help='with --compare, do not measure peak '
        'memory, which starts a process for each way',
    )
    parser.add_argument(
        '--peak-tflops',
        type=float,
        metavar='X',
        help='what the device can do, in '
        'TFLOP/s, to print the share of it that is reached',
    )
    add_timing_arguments(parser)
    args = parser.parse_args()
    args.variants = chosen_variants(parser, args)
    return args


def chosen_variants(
    parser: argparse.ArgumentParser, args: argparse.Namespace
) -> dict[str, dict]:
    """Return the settings of the ways in --compare; ``plain`` is always one of them."""
    settings = argparse.ArgumentParser(prog='--variant NAME')
    settings.add_argument('settings', nargs='*', action=DictAction, default={})
    known = dict(VARIANTS)
    for name, *options in args.variant:
        if not all('=' in option for option in options):
            parser.error(f'--variant {name}: its settings are KEY=VALUE, got {options}')
        known[name] = settings.parse_args(options).settings
    names = args.compare or []
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f'--compare {unknown}: there are {sorted(known)}')
    idle = [name for name, *_ in args.variant if name not in names]
    if idle:
        parser.error(f'--variant {idle[0]}: --compare does not name it')
    return {name: known[name] for name in dict.fromkeys([*names, 'plain'])}


def time_one(cfg: Config, args: argparse.Namespace) -> dict:
    """Time an iteration and its parts; print them, and return the numbers."""
    with tempfile.TemporaryDirectory(prefix='mmsr4ir_') as folder:
        steps = Steps(cfg, Path(folder), args.stage)
        batches = steps.batches()
        loading = time_input(steps, batches, args.iterations, args.warmup)
        memory = peak_memory()
        laps = time_parts(steps, batches, args.iterations)
        steps.hold()
        flops = count_flops(
            lambda: steps.model.train_step(next(batches), steps.runner.optim_wrapper)
        )
    rows = summarise_laps(laps)
    share = quartiles(ratios(laps, steps, loading['waiting']))
    whole = rows['iteration']['median']
    speed = flops / whole / 1e12
    peak = args.peak_tflops
    workers = steps.loop.dataloader.num_workers
    print(
        f'\nstage {args.stage}, batches of {max(laps.images)}:\n\n'
        f'{timing_table(rows, "iteration")}\n\n'
        f'iteration with waiting for data / sum of its parts: {share[1]:.3f} '
        f'(quartiles {share[0]:.3f}, {share[2]:.3f})\n'
        f'peak memory: {memory["mib"]:.0f} MiB ({memory["of"]})\n'
        f'train step: {flops / 1e9:.1f} GFLOP, {speed:.3f} TFLOP/s'
        + (f', {speed / peak:.1%} of the peak' if peak else '')
        + '\n'
        f'data with {workers} workers (means): beside an iteration of '
        f'{loading["iteration"]:.4f} s, {loading["waiting"]:.4f} s of waiting'
    )
    return dict(
        batch=max(laps.images),
        seconds=rows,
        memory=memory,
        flops=flops,
        tflops=speed,
        input=dict(loading, num_workers=workers),
        ratio=dict(zip(('q1', 'median', 'q3'), share, strict=True)),
    )


def compare_variants(cfg: Config, args: argparse.Namespace) -> dict:
    """Time several ways to train; print a Markdown table, and return the numbers."""
    laps, differences = time_variants(
        cfg, args.variants, args.iterations, args.warmup, args.stage
    )
    memory = (
        {}
        if args.no_memory
        else measure_memory(cfg, args.variants, args.warmup, args.stage)
    )
    base = args.compare[0]
    rows: dict[str, dict] = {}
    seconds = summarise_laps(laps)
    for name in args.variants:
        q1, median, q3 = quartiles(
            [a / b for a, b in zip(laps.seconds[base], laps.seconds[name], strict=True)]
        )
        rows[name] = dict(
            seconds=seconds[name],
            ratio=dict(q1=q1, median=median, q3=q3),
            losses=differences.get(name, {}),
            memory=memory.get(name),
        )
    cells = []
    for name, row in rows.items():
        first = {key: values[:1] for key, values in row['losses'].items()}
        cells.append(
            [
                name,
                '{median:.4f} ({q1:.4f}, {q3:.4f})'.format(**row['seconds']),
                '{median:.2f} ({q1:.2f}, {q3:.2f})'.format(**row['ratio']),
                f'{row["memory"]:.0f}' if memory else '-',
                worst(first),
                worst(row['losses']),
            ]
        )
    print(
        f'\nstage {args.stage}, batches of {max(laps.images)}; the last columns are '
        'the largest relative difference of a loss from plain\n\n'
        + markdown_table(
            [
                'way',
                'seconds (quartiles)',
                f'times as fast as {base} (quartiles)',
                'memory, MiB',
                'iteration 1',
                f'iterations 1 to {args.warmup}',
            ],
            cells,
        )
    )
    return dict(batch=max(laps.images), variants=rows)


def worst(losses: dict[str, list[float]]) -> str:
    """Return the largest difference as text, with the name of its loss."""
    off, name = max(
        ((max(values), name) for name, values in losses.items()), default=(0.0, '')
    )
    return f'{off:.1e} ({name})' if off else '0'


@command
def main() -> None:
    """Time one training or several, and write the numbers."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    if args.batch_size:
        cfg.train_dataloader.batch_size = args.batch_size
    machine = describe_machine()
    print(
        '{} on {device} ({device_name}), torch {torch}, {} iterations after {} of '
        'warm-up'.format(args.config, args.iterations, args.warmup, **machine)
    )
    result = compare_variants(cfg, args) if args.compare else time_one(cfg, args)
    if args.out:
        settings = dict(
            config=args.config,
            stage=args.stage,
            iterations=args.iterations,
            warmup=args.warmup,
        )
        write_json(args.out, result | machine | settings)
