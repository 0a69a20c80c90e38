"""The SR network, or both networks in one graph, for a runtime without this package.

The graph takes an LR image as it is: RGB, [0, 1], any batch and size. What stands
around the networks in :class:`~mmsr4ir.models.sr4ir.SR4IR` (the SR network's range,
whole windows, the task network's normalisation and padding) is inside.
"""

import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from mmsr4ir.compat.swinir import any_size
from mmsr4ir.models.image_space import image_channels, image_size
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.utils.errors import SR4IRError

PARTS = ('sr', 'pipeline', 'dense')
INPUT = 'lr'
_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
#: From the task network and its normalised input (N, 3, H, W) to outputs by name.
TaskFunction = Callable[[BaseModel, Tensor], dict[str, Tensor]]


class ExportError(SR4IRError, ValueError):
    """Something cannot be exported; the message says what, why, and what can be."""


class ExportPart(nn.Module):
    """What is exported of a trained model, as one function of the LR image.

    Args:
        model: The model, in eval mode.
        part: ``'sr'`` gives the SR image ``sr`` (N, C, H, W), [0, 1] except for
            overshoots. ``'pipeline'`` gives ``logits``: (N, classes) of a classifier,
            (N, classes, H, W) of a segmentor (without softmax; in the size that
            ``model.task_resize`` gives it, if there is one). ``'dense'`` gives
            what a detector computes before it selects boxes: ``feature_<level>`` of
            its neck, and ``head_<kind>_<level>``, the raw outputs of its RPN or of
            its dense head in the order of that head's ``forward``.

    Raises:
        ExportError: If the task network has no such part.
    """

    def __init__(self, model: SR4IR, part: str) -> None:
        super().__init__()
        self.sr, self.sr_range = model.sr, model.sr_range
        self.scale = model.degradation.scale
        self.channels = image_channels(model.data_preprocessor, model.task)
        self.window = getattr(model.sr, 'window_size', 1)
        self.outputs = None
        if part != 'sr':
            self.task, self.image_space = model.task, model.image_space
            self.divisor, self.pad_value = test_padding(model.task)
            self.outputs = task_outputs(model.task, part)
            self.resize = model.task_resize

    def forward(self, lr: Tensor) -> dict[str, Tensor]:
        """Compute the outputs by name from (N, C, h, w), [0, 1], RGB if C is 3."""
        sr = self.super_resolve(lr)
        if self.outputs is None:
            return dict(sr=sr)
        if self.resize is not None:
            sr = self.resize.image(sr)
        inputs = self.image_space.normalise(sr)
        if self.divisor == 1:
            return self.outputs(self.task, inputs)
        height, width = sr.shape[-2:]
        inputs = F.pad(
            inputs,
            (
                0,
                _up(width, self.divisor) - width,
                0,
                _up(height, self.divisor) - height,
            ),
            value=self.pad_value,
        )
        outputs = self.outputs(self.task, inputs)
        if getattr(outputs.get('logits'), 'ndim', 0) == 4:  # a segmentor's
            outputs['logits'] = crop(outputs['logits'], height, width)
        return outputs

    def super_resolve(self, lr: Tensor) -> Tensor:
        """Restore as :meth:`SR4IR.super_resolve`, without a branch on the size.

        Args:
            lr: (N, C, h, w), [0, 1], RGB if C is 3.

        Returns:
            Tensor: (N, C, h * scale, w * scale), [0, 1] except for overshoots.
        """
        if self.window == 1:
            return self.sr(lr * self.sr_range) / self.sr_range
        height, width = lr.shape[-2:]
        sr = self.sr(whole_windows(lr, self.window) * self.sr_range) / self.sr_range
        return crop(sr, height * self.scale, width * self.scale)


def _up(length: int, multiple: int) -> int:
    return (length + multiple - 1) // multiple * multiple


def whole_windows(images: Tensor, window: int) -> Tensor:
    """Fill (N, C, H, W) up to whole windows.

    The images are mirrored at their edge, as SwinIR itself does it; one that is smaller
    than a window repeats its edge, as in :meth:`SR4IR.super_resolve`.
    """
    for dim in (2, 3):
        length = torch.full((), images.shape[dim], device=images.device)
        index = torch.arange(_up(images.shape[dim], window), device=images.device)
        beyond = torch.where(length < window, length - 1, 2 * (length - 1) - index)
        images = images.index_select(dim, torch.where(index < length, index, beyond))
    return images


def crop(images: Tensor, height: int, width: int) -> Tensor:
    """Cut (N, C, H, W) to its first rows and columns, in pixels.

    A slice would tie the graph to "some are cut off".
    """
    for dim, length in ((2, height), (3, width)):
        images = images.index_select(dim, torch.arange(length, device=images.device))
    return images


def test_padding(task: BaseModel) -> tuple[int, float]:
    """Return how the preprocessor of a task network pads images in tests.

    Returns:
        tuple: What height and width become a multiple of, in pixels, and the value that
        the normalised image is padded with.

    Raises:
        ExportError: If the preprocessor pads to a fixed size.
    """
    preprocessor = task.data_preprocessor
    if hasattr(preprocessor, 'pad_size_divisor'):
        return preprocessor.pad_size_divisor, preprocessor.pad_value
    test_cfg = getattr(preprocessor, 'test_cfg', None) or {}  # mmseg's
    if test_cfg.get('size'):
        raise ExportError(
            "the task's data_preprocessor.test_cfg pads to one size; set its size to "
            'None, or export the SR network alone (--part sr)'
        )
    return test_cfg.get('size_divisor') or 1, getattr(preprocessor, 'pad_val', 0)


def task_outputs(task: BaseModel, part: str) -> TaskFunction:
    """Return the function from a task network and its input to a part's outputs.

    Args:
        task: The task network.
        part: ``'pipeline'`` or ``'dense'``, see :class:`ExportPart`.

    Raises:
        ExportError: If the task network has no such part.
    """
    name = type(task).__name__
    library = getattr(task, 'library', None)  # of torchvision's networks
    is_detector = (
        library == 'mmdet' or hasattr(task, 'bbox_head') or hasattr(task, 'roi_head')
    )
    if part == 'dense':
        if not is_detector:
            raise ExportError(
                f'--part dense is for detectors; {name} is none: use --part pipeline'
            )
        return dense_outputs(task)
    if is_detector:
        rest = '' if library else '--part dense exports all that comes before, '
        raise ExportError(
            f'the boxes of a detector ({name}) cannot be exported: NMS, and RoIAlign '
            'on the boxes that it leaves, are operations that no ONNX operator '
            f'stands for, and the number of boxes depends on the image. {rest}'
            '--part sr exports the SR network'
        )
    if library:
        return tensor_logits
    if hasattr(task, 'encode_decode'):
        if task.test_cfg.get('mode', 'whole') != 'whole':
            raise ExportError(
                "the segmentor's test_cfg.mode is 'slide', which has as many steps as "
                'the image has windows; set model.task.test_cfg.mode=whole if its '
                'predictions on whole images are good enough'
            )
        return segmentor_logits
    if hasattr(task, 'head'):
        return tensor_logits
    raise ExportError(
        f'{name} is no classifier, segmentor or detector that this tool '
        'knows; --part sr exports the SR network'
    )


def dense_outputs(task: BaseModel) -> TaskFunction:
    """Return the function to what a detector computes before it selects boxes.

    Raises:
        ExportError: If the detector has no head that needs nothing but features.
    """
    from mmdet.models import SingleStageDetector, TwoStageDetector

    if isinstance(task, TwoStageDetector) and task.with_rpn:
        head = task.rpn_head
    elif isinstance(task, SingleStageDetector):
        head = task.bbox_head
    else:
        raise ExportError(
            f'{type(task).__name__} has no RPN or dense head that needs nothing but '
            'features; --part sr exports the SR network'
        )

    def outputs(task: BaseModel, inputs: Tensor) -> dict[str, Tensor]:
        features = tuple(task.extract_feat(inputs))
        named = {f'feature_{i}': feature for i, feature in enumerate(features)}
        for kind, levels in enumerate(head(features)):
            named |= {f'head_{kind}_{i}': level for i, level in enumerate(levels)}
        return named

    return outputs


def tensor_logits(task: BaseModel, inputs: Tensor) -> dict[str, Tensor]:
    """Run a classifier of mmpretrain or a network of torchvision.

    (N, 3, H, W), normalised, becomes (N, classes); of a segmentor (N, classes, H, W).
    """
    return dict(logits=task(inputs, mode='tensor'))


def segmentor_logits(task: BaseModel, inputs: Tensor) -> dict[str, Tensor]:
    """Run a segmentor of mmseg: (N, 3, H, W), normalised, to (N, classes, H, W)."""
    size = image_size(inputs)
    metainfo = dict(img_shape=size, pad_shape=size, ori_shape=size)
    # One for all, since len(inputs) would fix the batch.
    return dict(logits=task.encode_decode(inputs, [metainfo]))


def trace(
    part: ExportPart, shape: tuple[int, int], static: bool = False
) -> ExportedProgram:
    """Make a graph.

    Args:
        part: What to export.
        shape: (height, width) of the LR image that it is traced with, in pixels.
        static: Only for one image of this size; else for every batch and size.

    Raises:
        ExportError: If the networks cannot be traced, for every size or for this one.
    """
    if (
        not static
        and part.outputs is not None
        and part.resize is not None
        and (not part.resize.any_size())
    ):
        raise ExportError(
            'the task network resizes each image by a rule (model.task_resize) that no '
            'graph for any size can follow: --static exports it for one size, --part '
            'sr the SR network for any'
        )
    height, width = shape
    dims = None if static else ({i: Dim.DYNAMIC for i in (0, 2, 3)},)
    # Equal or single lengths would be taken for a rule.
    lr = (
        torch.rand(1, part.channels, height, width)
        if static
        else torch.rand(2, part.channels, height, width + (height == width))
    )
    try:
        with torch.no_grad(), any_size(part):
            program = torch.export.export(part, (lr,), dynamic_shapes=dims)
    except Exception as error:  # torch raises nearly anything here
        reason = ' '.join(str(error).split())[:400]
        what, hint = (
            ('one image of one size', '')
            if static
            else (
                'any batch and size',
                '; --static exports it for one image of one size',
            )
        )
        raise ExportError(
            f'no graph for {what} can be made of it{hint} '
            f'({type(error).__name__}: {reason})'
        ) from error
    if not static:
        check_other_sizes(program, (part.channels, 2 * height + 1, 2 * width + 3))
    return program


@torch.no_grad()
def check_other_sizes(program: ExportedProgram, shape: tuple[int, int, int]) -> None:
    """Check that a graph holds for another batch and size than it was traced with.

    If a network branches on the size of its input (is it that of the training? is it
    one pixel?), torch traces one branch. The graph of torch.export records the
    condition of that branch; an ONNX file does not.

    Raises:
        ExportError: If the graph refuses the other batch or size.
    """
    try:
        program.module()(torch.rand(3, *shape))
    except AssertionError as error:
        raise ExportError(
            'the graph that was traced only holds for some sizes: give a larger or '
            f'another --shape, or --static ({error})'
        ) from error


@torch.no_grad()
def output_names(part: ExportPart, shape: tuple[int, int]) -> list[str]:
    """Return the names of the outputs, in their order."""
    return list(part(torch.rand(1, part.channels, *shape)))


def check_onnx_packages() -> None:
    """Check that what ONNX needs is installed.

    Raises:
        ExportError: If a package that ONNX files need is not installed.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ExportError(
            f'{", ".join(missing)} not installed, which ONNX files need: '
            'pip install "mmsr4ir[export]"'
        )


def save_onnx(
    program: ExportedProgram,
    names: list[str],
    metadata: dict[str, str],
    path: Path,
    opset: int | None = None,
) -> None:
    """Write a graph as one ONNX file.

    Args:
        program: The graph.
        names: Its outputs.
        metadata: Stored in the file, for whoever uses it.
        path: File to write.
        opset: Version of ONNX's operators; torch's choice by default.

    Raises:
        ExportError: If torch cannot write the graph in that version.
    """
    onnx_program = torch.onnx.export(
        program,
        (),
        opset_version=opset,
        input_names=[INPUT],
        output_names=names,
        dynamic_shapes=({0: 'batch', 2: 'height', 3: 'width'},),
        verbose=False,
    )
    assert onnx_program is not None  # of the exporter without torch.export alone
    written = onnx_program.model.opset_imports['']
    if opset not in (None, written):  # torch only logs it
        raise ExportError(
            f'--opset {opset}: torch has no such form of the graph; it offers {written}'
        )
    onnx_program.model.metadata_props.update(metadata)
    onnx_program.save(path, external_data=False)


def load_onnx(path: Path) -> Callable[[Tensor], dict[str, Tensor]]:
    """Load an ONNX file as a function from LR images to the outputs, on the CPU.

    The images are (N, C, h, w), [0, 1], RGB if C is 3.
    """
    from onnxruntime import InferenceSession

    session = InferenceSession(path, providers=['CPUExecutionProvider'])
    names = [output.name for output in session.get_outputs()]
    return lambda lr: dict(
        zip(
            names,
            map(torch.from_numpy, session.run(None, {INPUT: lr.numpy()})),
            strict=True,
        )
    )


def save_program(
    program: ExportedProgram, metadata: dict[str, str], path: Path
) -> None:
    """Write a graph as a file of ``torch.export``, with ``metadata.json`` inside."""
    content = io.BytesIO()  # at a full disk, torch's own writing ends the process
    torch.export.save(
        program, content, extra_files={'metadata.json': json.dumps(metadata)}
    )
    path.write_bytes(content.getvalue())


def load_program(path: Path) -> Callable[[Tensor], dict[str, Tensor]]:
    """Load a file of ``torch.export`` as a function, see :func:`load_onnx`."""
    return torch.export.load(path).module()


@torch.no_grad()
def difference(
    part: ExportPart,
    exported: Callable[[Tensor], dict[str, Tensor]],
    shape: tuple[int, int, int],
) -> float:
    """Measure the largest difference between an exported graph and PyTorch on noise.

    Args:
        part: What was exported.
        exported: The graph, as a function.
        shape: Batch, height and width of the LR images.

    Returns:
        float: Of all outputs, relative to the largest value of each; NaN if PyTorch's
        outputs are not finite.

    Raises:
        ExportError: If the graph has other outputs, or outputs of other shapes, or
            refuses the image (one of ``torch.export`` whose conditions exclude it).
    """
    batch, height, width = shape
    lr = torch.rand(batch, part.channels, height, width)
    try:
        want, got = part(lr), exported(lr)
    except AssertionError as error:
        raise ExportError(
            f'the graph refuses a batch of {batch} at {height} x {width} '
            f'({error}); try ONNX, or --static'
        ) from error
    shapes = [
        {name: tuple(value.shape) for name, value in outputs.items()}
        for outputs in (want, got)
    ]
    if shapes[0] != shapes[1]:
        raise ExportError(
            f'on {shape} the graph gives {shapes[1]}, PyTorch {shapes[0]}'
        )
    # Of a stack, since its maximum is NaN where one is.
    return (
        torch.stack(
            [
                (got[name] - value).abs().max() / value.abs().max().clamp(min=1e-12)
                for name, value in want.items()
            ]
        )
        .max()
        .item()
    )
