"""Time a test, or the inferencer beside two tools: images a second, peak memory."""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import torch
from mmengine.runner import set_random_seed

from mmsr4ir.analysis.speed import (
    describe_machine,
    peak_memory,
    summarise_laps,
    time_inference,
)
from mmsr4ir.analysis.two_tools import (
    PARTS,
    SWITCHES,
    TwoTools,
    Way,
    largest_differences,
    time_ways,
    with_switches,
)
from mmsr4ir.apis.inferencer import SR4IRInferencer
from mmsr4ir.apis.inputs import Source, find_sources
from mmsr4ir.engine.build import build_loader, build_model, find_run
from mmsr4ir.utils.configs import merge_options, read_config
from mmsr4ir.utils.errors import ConfigError
from mmsr4ir.utils.files import write_json
from mmsr4ir.utils.tables import markdown_table

from .arguments import add_timing_arguments
from .command import command


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Without --two-tools, weights are random, the task network is timed '
        'with its post-processing, and the test step without loading. Without a GPU '
        'the peak memory is that of the whole process, with both networks.',
    )
    add_timing_arguments(parser)
    parser.add_argument(
        '--two-tools',
        metavar='FOLDER',
        help='instead of a test, time the inferencer on the LR images of a folder, one '
        'by one, beside a tool that restores each to a PNG file and the task library, '
        'which reads that; an iteration is an image, and the config is that of a '
        'training, or its work directory',
    )
    parser.add_argument(
        '--weights',
        metavar='FILE',
        help='checkpoint for --two-tools (default: that of the work directory)',
    )
    parser.add_argument(
        '--switches',
        nargs='+',
        default=[],
        metavar='NAME',
        help=f'with --two-tools, time the inferencer with these of {SWITCHES} as well; '
        'a + between names switches several on together',
    )
    args = parser.parse_args()
    if args.two_tools is None and (args.weights or args.switches):
        parser.error('--weights and --switches need --two-tools')
    if args.two_tools is not None and (args.batch_size or 1) > 1:
        parser.error('--two-tools runs on one image at once: leave out --batch-size')
    return args


@command
def main() -> None:
    """Time a test or both ways, print a table, and write the numbers."""
    args = parse_args()
    numbers = time_test(args) if args.two_tools is None else time_tools(args)
    if args.out:
        numbers = dict(
            describe_machine(),
            config=args.config,
            iterations=args.iterations,
            warmup=args.warmup,
            **numbers,
        )
        write_json(args.out, numbers)


def time_test(args: argparse.Namespace) -> dict:
    """Time test steps and print a table; return the numbers."""
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
    return dict(batch=batch, seconds=rows, memory=memory)


def time_tools(args: argparse.Namespace) -> dict:
    """Time one tool and two tools and print a table; return the numbers."""
    try:
        cfg, weights = find_run(Path(args.config), args.weights)
        merge_options(cfg, args.cfg_options)
        inferencer = SR4IRInferencer(cfg, weights, show_progress=False)
    except ValueError as error:
        sys.exit(f'error: {error}')
    sources = lr_images(args.two_tools, inferencer)
    with tempfile.TemporaryDirectory() as folder:
        two = TwoTools(inferencer, Path(folder), args.warmup)
        ones = {
            name: with_switches(cfg, str(weights), name, args.warmup)
            for name in ('', *args.switches)
        }
        time_ways([two, *ones.values()], sources, args.warmup + args.iterations)
        differences = largest_differences(ones[''], two, sources[: args.iterations])
    ways = {'two tools': two} | {
        'one tool' + f', {name}' * bool(name): one for name, one in ones.items()
    }
    rows = {name: summarise_way(way, two) for name, way in ways.items()}
    machine = describe_machine()
    print(
        '{device} ({device_name}), torch {torch}, {} images one by one after {} of '
        'warm-up; milliseconds an image, medians\n'.format(
            args.iterations, args.warmup, **machine
        )
    )
    print(ways_table(rows))
    for name, values in differences.items():
        text = ', '.join(f'{key} {value:.2g}' for key, value in values.items())
        print(f'\nlargest differences of the predictions, {name}: {text}')
    return dict(ways=rows, differences=differences)


def lr_images(folder: str, inferencer: SR4IRInferencer) -> list[Source]:
    """List the images of a folder.

    Raises:
        ConfigError: If the folder does not exist or has no images.
    """
    if not Path(folder).is_dir():
        raise ConfigError(f'--two-tools {folder} is no folder')
    sources = find_sources(folder, channels=inferencer.channels)
    if Path(sources[0].origin).is_dir():
        raise ConfigError(f'--two-tools {folder} has no images')
    return sources


def summarise_way(way: Way, two: TwoTools) -> dict:
    """Return the seconds of a way, its peak memory, and how many times as fast it is.

    Args:
        way: With its times.
        two: The two tools, which ran on the same images in turns with it.
    """
    ratios = [
        before / max(after, 1e-9)
        for before, after in zip(
            two.laps.seconds['whole'], way.laps.seconds['whole'], strict=True
        )
    ]
    rows = summarise_laps(way.laps)
    return dict(
        seconds={part: rows[part] for part in PARTS if part in rows},
        images_per_second=rows['whole']['images_per_second'],
        times_as_fast=statistics.median(ratios),
        peak_mib=way.mib,
    )


def ways_table(rows: dict[str, dict]) -> str:
    """Write the ways as a Markdown table."""
    return markdown_table(
        ['way', *PARTS, 'images/s', 'times as fast', 'peak MiB'],
        [
            [
                name,
                *(
                    f'{1000 * row["seconds"][part]["median"]:.1f}'
                    if part in row['seconds']
                    else '-'
                    for part in PARTS
                ),
                f'{row["images_per_second"]:.1f}',
                f'{row["times_as_fast"]:.2f}',
                f'{row["peak_mib"]:.0f}',
            ]
            for name, row in rows.items()
        ],
    )
