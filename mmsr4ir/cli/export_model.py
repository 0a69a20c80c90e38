"""Export a trained SR4IR, or its SR network, to ONNX or torch.export, and check it."""
import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import mmsr4ir
from mmsr4ir.deployment.convert import ConvertError, read_checkpoint
from mmsr4ir.deployment.export import (
    PARTS,
    ExportError,
    ExportPart,
    check_packages,
    difference,
    load_onnx,
    load_program,
    output_names,
    save_onnx,
    save_program,
    trace,
)
from mmsr4ir.engine.build import build_model
from mmsr4ir.utils.files import whole_file

from .arguments import ConfigOptions, merge_options, read_config

_FORMATS = ('.onnx', '.pt2')


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Export a trained SR4IR to ONNX or torch.export. The graph takes '
        'LR images "lr" (batch, 3, height, width), RGB, [0, 1], as they are; every '
        'normalisation is inside. Before the file gets its name, its outputs are '
        'compared with PyTorch\'s on noise, at two batches and two sizes; the exit '
        'code is 1 where they differ.',
        epilog='Needs the packages of requirements/export.txt: pip install '
        '"mmsr4ir[export]"')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', type=Path, help='checkpoint of its training')
    parser.add_argument(
        '--part', choices=PARTS, default='pipeline', help='sr: the SR network, with '
        'output "sr". pipeline (default): both networks, with the output "logits" of '
        'a classifier or segmentor. dense: both networks of a detector, up to the '
        'features of its neck and the raw outputs of its RPN or dense head')
    parser.add_argument(
        '--out', type=Path, required=True, metavar='FILE',
        help='file to write: .onnx, or .pt2 for torch.export')
    parser.add_argument(
        '--shape', type=int, nargs=2, default=(40, 48), metavar=('HEIGHT', 'WIDTH'),
        help='size of the LR image that it is traced and checked with, in pixels '
        '(default: 40 48)')
    parser.add_argument(
        '--static', action='store_true', help='one image of this size, for networks '
        'that cannot be exported for any batch and size')
    parser.add_argument(
        '--opset', type=int, help='version of ONNX\'s operators (default: torch\'s)')
    parser.add_argument(
        '--tolerance', type=float, default=1e-4, help='largest difference allowed, '
        'relative to the largest value of an output (default: 1e-4)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE',
        help='override settings of the config, as in tools/train.py')
    args = parser.parse_args(argv)
    if args.out.suffix not in _FORMATS:
        parser.error(f'--out {args.out}: its name must end with .onnx or .pt2')
    if min(args.shape) < 1:
        parser.error('--shape must be positive')
    return args


def describe(args: argparse.Namespace, meta: dict, scale: int, names: list[str]
             ) -> dict[str, str]:
    """What is stored in the file."""
    classes = (meta.get('dataset_meta') or {}).get('classes') or []
    return dict(
        made_by=f'mmsr4ir {mmsr4ir.__version__}', config=Path(args.config).stem,
        part=args.part, scale=str(scale),
        input='lr: float32, (batch, 3, height, width), RGB, [0, 1]',
        outputs=json.dumps(names), classes=json.dumps(list(classes)))


def check(args: argparse.Namespace, part: ExportPart, path: Path) -> None:
    """Compare the file with PyTorch, and print the differences.

    Raises:
        ExportError: They are too large.
    """
    exported = (load_onnx if path.suffix == '.onnx' else load_program)(path)
    height, width = args.shape
    shapes = [(1, height, width)] if args.static else [
        (batch, *size) for batch in (1, 3)
        for size in ((height, width), (height + 3, width + 5))]
    for shape in shapes:
        found = difference(part, exported, shape)
        print(f'lr {shape[0]} x 3 x {shape[1]} x {shape[2]}: largest difference '
              f'{found:.1e} of the largest value')
        if not found <= args.tolerance:
            raise ExportError(
                f'a difference of {found:.1e} is above --tolerance {args.tolerance:g}; '
                'the file is not kept')


def export(args: argparse.Namespace) -> None:
    """Write the file, once it is known to compute the same.

    Raises:
        ExportError: It cannot be exported, or computes something else.
        ConvertError: The checkpoint cannot be read.
    """
    if args.out.suffix == '.onnx':
        check_packages()
    cfg = read_config(args.config)
    merge_options(cfg, args.cfg_options)
    meta = read_checkpoint(args.checkpoint).get('meta') or {}
    part = ExportPart(build_model(cfg, str(args.checkpoint)), args.part).eval()
    begin = time.time()
    program = trace(part, args.shape, args.static)
    names = output_names(part, args.shape)
    metadata = describe(args, meta, part.scale, names)
    with whole_file(args.out) as unfinished:
        if args.out.suffix == '.onnx':
            save_onnx(program, names, metadata, unfinished, args.opset)
        else:
            save_program(program, metadata, unfinished)
        print(f'{args.part}, traced and written in {time.time() - begin:.0f} s; '
              f'outputs: {", ".join(names)}')
        check(args, part, unfinished)
    print(f'{args.out}: {args.out.stat().st_size:,} bytes')


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    # It tells of attributes that are tensors but no buffers, which become constants.
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    try:
        export(args)
    except (ExportError, ConvertError, ValueError, OSError) as error:
        sys.exit(f'error: {error}')
