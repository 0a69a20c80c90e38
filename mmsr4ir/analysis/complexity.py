"""Parameters and FLOPs of the two networks, counted by MMEngine."""
import math
from functools import partial

import torch
from mmengine.analysis import FlopAnalyzer, parameter_count
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmsr4ir.engine.build import NO_DATA, build_loader, build_model
from mmsr4ir.models.sr4ir import SR4IR

_LEVEL = 30  # logging.WARNING
# Operations without multiply-adds worth a count may stay uncounted; these would make
# the sum wrong. Python functions (compiled ops of mmcv) are judged by their name.
_HEAVY = frozenset(
    f'aten::{name}' for name in (
        '_native_multi_head_attention', '_transformer_encoder_layer_fwd', 'addbmm',
        'addmv', 'bilinear', 'cdist', '_cdist_forward', 'dot', 'gru', 'inner', 'lstm',
        'mv', 'outer', 'rnn_relu', 'rnn_tanh', 'fft_fft', 'fft_fft2', 'fft_rfft',
        'fft_rfft2', 'fft_irfft', 'fft_irfft2', 'fft_ifft2'))
_LIGHT_FUNCTIONS = ('nms', 'roialign', 'roipool')


def complexity(cfg: Config, shape: tuple[int, int] | None = None
               ) -> dict[str, dict[str, float]]:
    """Count parameters and FLOPs of S, of T and of both for one test image.

    S is run on the LR image and T on the restored one, padded as in a test and up to
    the outputs of its heads (of a segmentor: without auxiliary heads, which only
    train). Parameters are all that the network has. The weights are random, which
    matters only to detectors with proposals: their second stage costs what their
    number of proposals costs.

    One multiply-add counts as one FLOP, so other tools may say twice as much. Counted
    are convolutions (deformable ones are not), matrix products, attention,
    normalisation layers, adaptive average pooling and interpolation; not counted are
    biases, activations, sums and products of elements, softmax, other pooling,
    RoIAlign and NMS.

    Args:
        cfg: The whole config.
        shape: (height, width) of the HR image in pixels, before padding. By default
            the first image of ``test_dataloader``.

    Returns:
        dict: ``params`` and ``flops`` for each of ``sr``, ``task`` and ``sum``. FLOPs
        that cannot be counted are NaN; the log says why.

    Raises:
        ValueError: The model is no SR4IR, or without ``shape`` there is no test image.
    """
    model = build_model(cfg)
    return count(model, *network_inputs(model, *sample_image(cfg, model, shape)))


def sample_image(cfg: Config, model: SR4IR, shape: tuple[int, int] | None = None
               ) -> tuple[Tensor, list]:
    """One preprocessed test image (1, 3, H, W) with its data sample.

    Raises:
        ValueError: Without ``shape``, there is none.
    """
    if shape is None:
        try:
            data = next(iter(build_loader(cfg, 'test', batch_size=1)))
        except (*NO_DATA, StopIteration) as error:
            raise ValueError(
                'the first image of test_dataloader cannot be read, so give the size '
                f'of the image (--shape HEIGHT WIDTH): {error}') from error
    else:
        if min(shape) < 1:
            raise ValueError(f'shape must be positive, got {tuple(shape)}')
        sample = BaseDataElement(metainfo=dict(
            img_shape=tuple(shape), ori_shape=tuple(shape), pad_shape=tuple(shape),
            scale_factor=(1.0, 1.0)))
        generator = torch.Generator().manual_seed(0)
        image = torch.randint(
            0, 256, (3, *shape), generator=generator, dtype=torch.uint8)
        data = dict(inputs=[image], data_samples=[sample])
    data = model.data_preprocessor(data, False)
    return data['inputs'], data['data_samples']


@torch.no_grad()
def network_inputs(model: SR4IR, inputs: Tensor, samples: list
                   ) -> tuple[Tensor, Tensor, list]:
    """What S gets (1, 3, h, w), and T (1, 3, H, W) with its data samples."""
    seen = []
    handle = model.sr.register_forward_pre_hook(
        lambda module, arguments: seen.append(arguments[0]))
    try:
        batch = model.prepare(inputs, samples)
        restored = model.super_resolve_batch(batch)
    finally:
        handle.remove()
    return seen[0], model.to_input(restored, batch), batch.samples


def count(model: SR4IR, sr_input: Tensor, task_input: Tensor, samples: list
          ) -> dict[str, dict[str, float]]:
    """Count both networks, see :func:`complexity` and :func:`network_inputs`."""
    result = dict(
        sr=_count_one('S', model.sr, sr_input),
        task=_count_one('T', model.task, task_input, data_samples=samples,
                        mode='tensor'))
    result['sum'] = {
        key: result['sr'][key] + result['task'][key] for key in ('params', 'flops')}
    return result


def _count_one(name: str, network: nn.Module, inputs: Tensor, **options
               ) -> dict[str, float]:
    flops, reason = math.nan, None
    analyzer = FlopAnalyzer(network, (inputs, ))
    analyzer.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    analyzer.tracer_warnings('none').set_op_handle(**_HANDLES)
    # The fused attention of an eval pass is one operation that cannot be looked into.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    network.forward = partial(network.forward, **options)
    try:
        with torch.no_grad():
            flops = float(analyzer.total())
    except Exception as error:  # whatever a network raises when it is traced
        reason = f'{type(error).__name__}: {error}'
    else:
        missing = sorted(op for op in analyzer.unsupported_ops() if _is_heavy(op))
        if missing:
            flops = math.nan
            reason = f'there is no count for {", ".join(missing)}'
        elif math.isnan(flops):
            reason = 'there is no count for a function that is scripted'
    finally:
        del network.forward
        torch.backends.mha.set_fastpath_enabled(fast)
    if reason:
        print_log(f'FLOPs of {name} ({type(network).__name__}) cannot be counted: '
                  f'{reason}', logger='current', level=_LEVEL)
    return dict(params=parameter_count(network)[''], flops=flops)


def _is_heavy(op: str) -> bool:
    """Whether a sum without this operation would be wrong."""
    space, _, name = op.partition('::')
    if space == 'aten':
        return op in _HEAVY
    return not any(light in name.lower().replace('_', '') for light in _LIGHT_FUNCTIONS)


def _sizes(value) -> list[int]:
    return value.type().sizes()


def _product(inputs: list, outputs: list, left: int = 0) -> int:
    """Of a matrix product, batches that are broadcast included."""
    return math.prod(_sizes(outputs[0])) * _sizes(inputs[left])[-1]


def _attention(inputs: list, outputs: list) -> int:
    """Queries (..., L, E) with keys (..., S, E), and these weights with the values."""
    query, key, value = (_sizes(one) for one in inputs[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _bicubic(inputs: list, outputs: list) -> int:
    return 16 * math.prod(_sizes(outputs[0]))


def _scripted(inputs: list, outputs: list) -> float:
    """0 for NMS, which torchvision scripts in a trace; what else it is, is unknown."""
    return 0 if 'nms' in inputs[0].node().s('name') else math.nan


# MMEngine's count of `matmul` takes the batches of the left matrix for all.
_HANDLES = {
    'aten::matmul': _product,
    'prim::CallFunction': _scripted,
    'aten::baddbmm': partial(_product, left=1),
    'aten::scaled_dot_product_attention': _attention,
    'aten::upsample_bicubic2d': _bicubic,
}
