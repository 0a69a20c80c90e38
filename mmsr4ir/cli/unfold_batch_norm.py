"""Make batch norms that were folded into the convolutions trainable again."""

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from mmengine.config import DictAction
from mmengine.runner import Runner
from torch import Tensor

from mmsr4ir.deployment.batch_norm import unfold_batch_norms
from mmsr4ir.engine.build import build_model
from mmsr4ir.models.weights import load_weights
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.files import whole_file

from .command import command


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Convert a file of the backbone of a config's task network."""
    parser = argparse.ArgumentParser(
        description=__doc__ + ' Files that come from ONNX often have such layers: in '
        'train mode a network with them loses what it has learned.'
    )
    parser.add_argument('config', help='SR4IR config: its training images are seen')
    parser.add_argument('weights', help="file of the task network's backbone")
    parser.add_argument('out', type=Path, help='file to write')
    parser.add_argument(
        '--batches',
        type=int,
        default=16,
        metavar='N',
        help='training batches that it sees (default: 16)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='override settings of the config',
    )
    args = parser.parse_args(argv)
    cfg = read_config(args.config, args.cfg_options)
    task = build_model(cfg).task
    backbone = task.backbone
    load_weights('task.backbone', backbone, dict(checkpoint=args.weights))
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)

    def inputs() -> Iterator[Tensor]:
        for data in islice(loader, args.batches):
            yield task.data_preprocessor(data)['inputs']

    names = unfold_batch_norms(backbone, inputs())
    with whole_file(args.out) as path:
        torch.save(backbone.state_dict(), path)
    print(f'{args.out}: {len(names)} batch norms have statistics now')
