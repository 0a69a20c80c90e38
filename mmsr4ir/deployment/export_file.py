"""An exported graph in a file that is known to compute the same as PyTorch."""

import json
import time
from pathlib import Path

import mmsr4ir
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.utils.files import whole_file

from .export import (
    ExportError,
    ExportPart,
    difference,
    load_onnx,
    load_program,
    output_names,
    save_onnx,
    save_program,
    trace,
)


def export_file(
    model: SR4IR,
    part: str,
    out: Path,
    config: str,
    shape: tuple[int, int] = (40, 48),
    static: bool = False,
    opset: int | None = None,
    tolerance: float = 1e-4,
) -> list[str]:
    """Write a graph to a file, and keep the file if it computes the same as PyTorch.

    Args:
        model: The trained networks, in eval mode.
        part: One of :data:`~.export.PARTS`.
        out: File to write: ``.onnx``, or ``.pt2`` for :mod:`torch.export`.
        config: Name of the config, which is stored in the file.
        shape: (height, width) in pixels of the LR image that is traced.
        static: Whether the graph takes one image of this size alone.
        opset: Version of ONNX's operators; None for torch's own choice.
        tolerance: Largest difference allowed, relative to the largest value.

    Returns:
        list[str]: The differences, and what was written, in lines.

    Raises:
        ExportError: If the part cannot be exported, or computes something else.
        OSError: If the file cannot be written.
    """
    traced = ExportPart(model, part).eval()
    begin = time.time()
    program = trace(traced, shape, static)
    names = output_names(traced, shape)
    meta = model.dataset_meta or {}
    metadata = dict(
        made_by=f'mmsr4ir {mmsr4ir.__version__}',
        config=config,
        part=part,
        scale=str(traced.scale),
        input=f'lr: float32, (batch, {traced.channels}, height, width), '
        f'{"RGB, " * (traced.channels == 3)}[0, 1]',
        outputs=json.dumps(names),
        classes=json.dumps(list(meta.get('classes') or [])),
    )
    with whole_file(out) as unfinished:
        if out.suffix == '.onnx':
            save_onnx(program, names, metadata, unfinished, opset)
        else:
            save_program(program, metadata, unfinished)
        report = [
            f'{part}, traced and written in {time.time() - begin:.0f} s; '
            f'outputs: {", ".join(names)}',
            *compare_outputs(traced, unfinished, shape, static, tolerance),
        ]
    return [*report, f'{out}: {out.stat().st_size:,} bytes']


def compare_outputs(
    part: ExportPart, path: Path, shape: tuple[int, int], static: bool, tolerance: float
) -> list[str]:
    """Compare a file with PyTorch on noise, at two batches and two sizes.

    Returns:
        list[str]: The differences, in lines.

    Raises:
        ExportError: If a difference is above the tolerance.
    """
    exported = (load_onnx if path.suffix == '.onnx' else load_program)(path)
    height, width = shape
    shapes = (
        [(1, height, width)]
        if static
        else [
            (batch, *size)
            for batch in (1, 3)
            for size in ((height, width), (height + 3, width + 5))
        ]
    )
    report = []
    for tried in shapes:
        found = difference(part, exported, tried)
        report.append(
            f'lr {tried[0]} x {part.channels} x {tried[1]} x {tried[2]}: largest '
            f'difference {found:.1e} of the largest value'
        )
        if not found <= tolerance:
            raise ExportError(
                f'a difference of {found:.1e} is above --tolerance {tolerance:g}; '
                'the file is not kept'
            )
    return report
