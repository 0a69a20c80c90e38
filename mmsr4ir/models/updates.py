"""The end of a phase: one optimizer step, or none where the loss is no number."""
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapper
from torch import Tensor, nn


def step(wrappers: Sequence[OptimWrapper], loss: Tensor) -> None:
    """Update with one backward pass, also where several optimizers share the loss.

    Raises:
        ValueError: The optimizers scale the loss differently (mixed precision in
            float16 can), so that one backward pass cannot serve them all.
    """
    lead, *others = wrappers
    if not others:
        lead.update_params(loss)
        return
    scalers = [getattr(wrapper, 'loss_scaler', None) for wrapper in wrappers]
    if len({scaler and scaler.get_scale() for scaler in scalers}) > 1:
        raise ValueError(
            'a phase that updates both networks needs the same loss scale for both: '
            'use bfloat16 with loss_scale=1.0 in both optim wrappers')
    lead.backward(lead.scale_loss(loss))
    for wrapper in others:
        # The gradient is there already; this counts the iteration for accumulation.
        wrapper.backward(loss.new_zeros((), requires_grad=True))
    for wrapper in wrappers:
        if wrapper.should_update():
            wrapper.step()
            wrapper.zero_grad()


def copy_buffers(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Each buffer (statistics of BatchNorm) with a copy of it."""
    return [(buffer, buffer.clone()) for buffer in network.buffers()]


@torch.no_grad()
def finite_everywhere(loss: Tensor) -> bool:
    """Whether a loss is a finite number on all processes."""
    finite = torch.isfinite(loss.detach()).float()
    all_reduce(finite, 'min')
    return bool(finite)
