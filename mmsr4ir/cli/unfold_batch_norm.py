"""Make batch norms that were folded into the convolutions trainable again."""

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mmsr4ir.deployment.batch_norm import unfold_batch_norms
from mmsr4ir.deployment.convert import save_checkpoint
from mmsr4ir.engine.build import build_loader, build_model
from mmsr4ir.models.weights import load_weights
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.errors import ConfigError

from .arguments import add_config_options, positive
from .command import command


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Convert a file of a config's task network, or of a part of it."""
    parser = argparse.ArgumentParser(
        description=__doc__ + ' Files that come from ONNX often have such layers: in '
        'train mode a network with them loses what it has learned.'
    )
    parser.add_argument('config', help='SR4IR config: its training images are seen')
    parser.add_argument('weights', help='file of the task network, or of a part of it')
    parser.add_argument('out', type=Path, help='file to write')
    parser.add_argument(
        '--part',
        default='',
        metavar='NAME',
        help='part that the file holds, such as backbone (default: all of it)',
    )
    parser.add_argument(
        '--prefix', help='start of the names in the file that the part lacks'
    )
    parser.add_argument(
        '--batches',
        type=positive,
        default=16,
        metavar='N',
        help='training batches that it sees (default: 16)',
    )
    add_config_options(parser)
    args = parser.parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    task: Any = build_model(cfg).task
    try:
        network = task.get_submodule(args.part)
    except AttributeError as error:
        raise ConfigError(f'the task network has no part {args.part!r}') from error
    name = f'task.{args.part}' if args.part else 'task'
    load_weights(name, network, dict(checkpoint=args.weights, prefix=args.prefix))
    loader = build_loader(cfg, 'train')

    def run() -> None:
        for data in islice(loader, args.batches):
            task(**task.data_preprocessor(data), mode='tensor')

    found = unfold_batch_norms(network, run)
    save_checkpoint(network.state_dict(), args.out)
    print(f'{args.out}: {len(found)} batch norms have statistics now')
