"""Export the models of make_coverage.py and print what came out as a Markdown table.

Each is tried for any batch and size first and for one image of one size then; ONNX is
compared with PyTorch through onnxruntime, torch.export directly.
"""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

import torch
from make_coverage import attempts, model_config
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmsr4ir.deployment.export import (
    ExportError,
    ExportPart,
    difference,
    load_onnx,
    output_names,
    save_onnx,
    trace,
)
from mmsr4ir.engine.build import build_model

#: (height, width) of the LR images in pixels. The one size is what the networks with
#: position embeddings were made for.
_OPEN, _FIXED = (40, 48), (56, 56)
_OTHER = [(1, 41, 50), (3, 56, 47)]
_TOLERANCE = 1e-4


def attempt(group: str, task: str, layer: str, size: int, sr: dict) -> list[str]:
    """Export one model; return what became of it in three columns.

    Raises:
        ExportError: It cannot be exported, or differs.
    """
    cfg = Config(model_config(task, layer, dict(sr)))
    cfg.default_scope = task.split('::')[0]
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = build_model(cfg)
    part = dict(mmdet='dense', mmagic='sr', spandrel='sr').get(group, 'pipeline')
    part = ExportPart(model, part).eval()
    try:
        return ['any batch and size', *export(part, _OPEN, [(2, *_OPEN), *_OTHER])]
    except ExportError as error:
        print(f'  {error}', file=sys.stderr)
    return ['one image of one size', *export(part, _FIXED, [(1, *_FIXED)], static=True)]


def export(
    part: ExportPart,
    shape: tuple[int, int],
    shapes: list[tuple[int, int, int]],
    static: bool = False,
) -> list[str]:
    """Export, and give the largest differences of ONNX and of torch.export.

    Raises:
        ExportError: It cannot be exported, or ONNX differs.
    """
    program = trace(part, shape, static)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'model.onnx'
        save_onnx(program, output_names(part, shape), {}, path)
        largest = max(difference(part, load_onnx(path), s) for s in shapes)
    if not largest < _TOLERANCE:
        raise ExportError(f'ONNX differs by {largest:.0e}')
    try:
        other = max(difference(part, program.module(), s) for s in shapes)
    except ExportError as error:
        print(f'  {error}', file=sys.stderr)
        return [f'{largest:.0e}', 'refuses some']
    return [f'{largest:.0e}', f'{other:.0e}']


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--only',
        default='',
        metavar='TEXT',
        help='try only what has this in its library or name',
    )
    args = parser.parse_args()
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    failed = 0
    print(
        '| from | network | exported for | ONNX | torch.export |\n'
        '| --- | --- | --- | ---: | ---: |'
    )
    for group, name, arguments in attempts():
        if args.only not in f'{group} {name}':
            continue
        start = time.time()
        try:
            result = attempt(group, *arguments)
        except Exception as error:  # whatever goes wrong is the result
            failed += 1
            reason = ' '.join(str(error).split())[:120]
            result = [f'**{type(error).__name__}**: {reason}', '', '']
        print(f'| {group} | {name} | {" | ".join(result)} |', flush=True)
        print(f'  {time.time() - start:.0f} s', file=sys.stderr, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
