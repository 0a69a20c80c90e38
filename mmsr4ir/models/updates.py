"""The end of a phase: one optimizer step, or none where the loss is no number."""
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from mmengine.dist import all_reduce
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from torch import Tensor, nn


def step(wrappers: Sequence[OptimWrapper], loss: Tensor) -> None:
    """Update with one backward pass, also where several optimizers share the loss.

    Args:
        wrappers: The optimizers of the networks that the phase updates. Several have
            the same ``accumulative_counts``; AlternateTrainingHook sees to it.
        loss: A scalar.
    """
    lead, *others = wrappers
    if not others:
        lead.update_params(loss)
        return
    lead.backward(lead.scale_loss(loss))
    for wrapper in others:
        # The gradient is there already; this counts the iteration for accumulation.
        wrapper.backward(loss.new_zeros((), requires_grad=True))
    if not lead.should_update():
        return
    scale = loss_scale(lead)
    for wrapper in wrappers:
        # All gradients have the scale of the lead; each scaler takes its own off.
        own = loss_scale(wrapper)
        if own != scale:
            torch._foreach_mul_([
                parameter.grad for group in wrapper.optimizer.param_groups
                for parameter in group['params'] if parameter.grad is not None],
                own / scale)
    for wrapper in wrappers:
        wrapper.step()
        wrapper.zero_grad()


def backward(wrapper: OptimWrapper, loss: Tensor) -> Tensor:
    """Add to the gradients of a step that comes later; returns the loss, detached."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    scaled = wrapper.scale_loss(loss)
    with torch.autocast(loss.device.type, enabled=False):
        (scaler.scale(scaled) if scaler else scaled).backward()
    return loss.detach()


def no_sync(network: nn.Module) -> AbstractContextManager:
    """Keep gradients from being averaged over the processes yet."""
    return network.no_sync() if is_model_wrapper(network) else nullcontext()


def loss_scale(wrapper: OptimWrapper) -> float:
    """What an optimizer's losses are multiplied by: 1 but in mixed precision."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    return scaler.get_scale() if scaler else 1.0


def copy_buffers(network: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Each buffer (statistics of BatchNorm) with a copy of it."""
    return [(buffer, buffer.clone()) for buffer in network.buffers()]


@torch.no_grad()
def finite_everywhere(loss: Tensor) -> bool:
    """Whether a loss is a finite number on all processes."""
    finite = torch.isfinite(loss.detach()).float()
    all_reduce(finite, 'min')
    return bool(finite)
