"""Parameters and FLOPs of the two networks, counted by torch."""

import logging
import math
from collections.abc import Callable

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from mmsr4ir.engine.build import build_model, first_batch
from mmsr4ir.models.image_space import image_channels
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.utils.errors import ConfigError


def complexity(cfg: Config, shape: tuple[int, int] | None = None) -> dict[str, dict]:
    """Count parameters and FLOPs of both networks for one test image.

    The weights are random, which matters only to detectors with proposals: their
    second stage costs what their number of proposals costs.

    Args:
        cfg: The whole config.
        shape: (height, width) of the HR image in pixels, before padding. By default
            the first image of ``test_dataloader``.

    Returns:
        dict: See :func:`count`.

    Raises:
        ConfigError: If the model is no SR4IR, or if there is no test image and no
            ``shape``.
    """
    model = build_model(cfg)
    return count_networks(model, *sample_image(cfg, model, shape))


def sample_image(
    cfg: Config, model: SR4IR, shape: tuple[int, int] | None = None
) -> tuple[Tensor, list]:
    """Return one preprocessed test image (1, C, H', W') with its data sample.

    Raises:
        ConfigError: If there is no test image and no ``shape``, or if ``shape`` is not
            positive.
    """
    if shape is None:
        data = first_batch(cfg, 'test')
    else:
        if min(shape) < 1:
            raise ConfigError(f'shape must be positive, got {tuple(shape)}')
        sample = BaseDataElement(
            metainfo=dict(
                img_shape=tuple(shape),
                ori_shape=tuple(shape),
                pad_shape=tuple(shape),
                scale_factor=(1.0, 1.0),
            )
        )
        channels = image_channels(model.data_preprocessor, model.task)
        generator = torch.Generator().manual_seed(0)
        image = torch.randint(
            0, 256, (channels, *shape), generator=generator, dtype=torch.uint8
        )
        data = dict(inputs=[image], data_samples=[sample])
    data = model.data_preprocessor(data, False)
    return data['inputs'], data['data_samples']


@torch.no_grad()
def count_networks(model: SR4IR, inputs: Tensor, samples: list) -> dict[str, dict]:
    """Count both networks, padded as in a test.

    The SR network is run on the LR image, the task network on the restored one, up to
    the outputs of its heads (of a segmentor without auxiliary heads, which only train).

    Args:
        model: The model, in eval mode.
        inputs: (1, C, H', W'), normalised as the task network expects.
        samples: The data sample of the image.

    Returns:
        dict: ``params`` and ``flops`` for each of ``sr``, ``task`` and ``sum``, see
        :func:`count_flops`; NaN, with a warning in the log, for a network that cannot
        be run like this. Of ``sr`` and ``task`` also ``pixels``: (height, width) of
        what the network gets.
    """
    batch = model.prepare(inputs, samples)
    seen = []
    handle = model.sr.register_forward_pre_hook(
        lambda module, arguments: seen.append(arguments[0])
    )
    try:
        restored = model.super_resolve_batch(batch)
    finally:
        handle.remove()
    given = model.to_input(restored, batch)
    result = dict(
        sr=_count_one('the SR network', model.sr, seen[0]),
        task=_count_one(
            'the task network',
            model.task,
            given,
            data_samples=batch.samples,
            mode='tensor',
        ),
    )
    result['sum'] = {
        key: result['sr'][key] + result['task'][key] for key in ('params', 'flops')
    }
    return result


def _count_one(name: str, network: nn.Module, inputs: Tensor, **options) -> dict:
    try:
        flops = float(count_flops(lambda: network(inputs, **options)))
    except Exception as error:  # whatever a network raises without post-processing
        flops = math.nan
        print_log(
            f'FLOPs of {name} ({type(network).__name__}) cannot be counted: '
            f'{type(error).__name__}: {error}',
            'current',
            logging.WARNING,
        )
    return dict(
        params=sum(one.numel() for one in network.parameters()),
        flops=flops,
        pixels=tuple(inputs.shape[-2:]),
    )


def count_flops(run: Callable[[], object]) -> int:
    """Count the FLOPs of all that is run, two for each multiply-add.

    Counted are convolutions, matrix products and attention, forward and backward;
    everything else (normalisation, activations, interpolation, RoIAlign, NMS) is not.
    torch counts the gradient of a grouped convolution's weights as if it had one group.

    Args:
        run: Called once.
    """
    counter = FlopCounterMode(
        display=False,
        custom_mapping={torch.ops.torchvision.deform_conv2d: _deform_conv_flops},
    )
    # The fused attention of an eval pass is one operation that torch does not count.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops()


def _deform_conv_flops(
    inputs: torch.Size, weight: torch.Size, *args, out_shape: torch.Size, **options
) -> int:
    return conv_flop_count(list(inputs), list(weight), list(out_shape))
