"""Estimate the memory that a training needs on a GPU; no GPU is needed for it."""

import argparse
from dataclasses import asdict

from mmsr4ir.analysis.memory import GIB, OBJECTS, estimate_memory, training_shape
from mmsr4ir.analysis.train_variants import VARIANTS, variant_config
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.files import write_json
from mmsr4ir.utils.tables import markdown_table

from .arguments import (
    add_config_options,
    add_shape_argument,
    add_ways_arguments,
    new_file,
    positive,
)
from .benchmark_train import chosen_variants
from .command import command


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Counted are all tensors of an iteration: parameters, gradients, states '
        'of the optimizers, images, and what is kept for a backward pass. Not counted '
        "are CUDA's own memory, workspaces of cuDNN, gaps between tensors, and a "
        f'moving average of the weights. Each image of a detector has {OBJECTS} '
        'objects; a detector is run on one and on two images on the CPU, and needs as '
        'much memory there.',
    )
    parser.add_argument('config', help='config file')
    add_shape_argument(parser, 'those of the first image of the training data')
    parser.add_argument(
        '--batch-size',
        type=positive,
        nargs='+',
        metavar='N',
        help='images a batch, one number or several (default: those of the config)',
    )
    parser.add_argument(
        '--compare',
        nargs='+',
        metavar='NAME',
        help='ways to train beside the config as it is (plain): '
        f'{", ".join(VARIANTS)}, and those of --variant',
    )
    add_ways_arguments(parser)
    parser.add_argument(
        '--out', type=new_file, metavar='FILE.json', help='write the bytes too'
    )
    add_config_options(parser)
    args = parser.parse_args()
    args.variants = chosen_variants(parser, args)
    return args


@command
def main() -> None:
    """Print a table, and write its numbers."""
    args = parse_args()
    cfg = read_config(args.config, args.cfg_options)
    shape = args.shape or training_shape(cfg)
    rows = [
        dict(
            way=name,
            images=images,
            **asdict(
                estimate_memory(
                    variant_config(cfg, name, options), images, shape, args.stage
                )
            ),
        )
        for name, options in args.variants.items()
        for images in args.batch_size or [cfg.train_dataloader.batch_size]
    ]
    phases = list(dict.fromkeys(name for row in rows for name in row['phases']))
    print(
        f'\n{args.config}, images of {shape[0]} x {shape[1]}, stage {args.stage}; '
        'GiB in each phase, with networks and optimizers\n\n'
        + markdown_table(
            ['way', 'images', 'networks', 'optimizers', *phases],
            [
                [
                    row['way'],
                    row['images'],
                    *(
                        '-' if size is None else f'{size / GIB:.2f}'
                        for size in (
                            row['parameters'],
                            row['optimizers'],
                            *map(row['phases'].get, phases),
                        )
                    ),
                ]
                for row in rows
            ],
        )
    )
    if args.out:
        result = dict(config=args.config, shape=shape, stage=args.stage, rows=rows)
        write_json(args.out, result)
