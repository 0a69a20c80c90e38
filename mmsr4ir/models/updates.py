"""One phase's update: gradients of its losses, then one step of its optimizers."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import torch
from mmengine.dist import all_reduce
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmsr4ir.utils.errors import ConfigError

from .distributed import unwrap
from .features import frozen
from .recipes import NETWORKS, LossTerm, Phase


class PhaseUpdate:
    """Update the networks of a phase; inside the block the other network is frozen.

    .. code-block:: python

        with PhaseUpdate(phase, networks, optim_wrapper) as update:
            for term in update.each(terms):
                update.add(losses_of(term))  # by a forward pass
            update.step()

    If the phase updates the task network alone, :meth:`add` makes the backward pass of
    each loss at once, and memory holds the graph of one loss at a time. If the phase
    updates the SR network, all losses look at the same SR images, so :meth:`step` makes
    one backward pass of their sum.

    Args:
        phase: The phase of the recipe.
        networks: Both networks by name, in their wrappers of distributed training.
        optim_wrapper: One optimizer for each network, by name.
        skip_non_finite: If a loss is NaN or infinite on any process, skip this update
            on all processes: parameters, buffers and accumulated gradients stay as
            before.

    Attributes:
        logs (dict[str, Tensor]): The losses that were added, weighted, as
            ``<phase>/<loss>``; and after :meth:`step` ``<phase>/loss``, their sum: NaN
            on all processes if the update was skipped. Scalars without gradients.
        skipped (bool): Whether :meth:`step` skipped the update.
    """

    def __init__(
        self,
        phase: Phase,
        networks: dict[str, nn.Module],
        optim_wrapper: OptimWrapperDict,
        skip_non_finite: bool = False,
    ) -> None:
        self.phase = phase
        self.networks = networks
        self.wrappers = {name: optim_wrapper[name] for name in phase.update}
        self.one_by_one = 'sr' not in phase.update
        self.skip_non_finite = skip_non_finite
        self.skipped = False
        self._early = False  # whether the backward pass of a loss is made at once
        self.logs: dict[str, Tensor] = {}
        self._total: Tensor | None = None
        self._frozen, self._forward = ExitStack(), ExitStack()

    def __enter__(self) -> 'PhaseUpdate':
        # Only these can change before the loss is known to be finite.
        names = [*self.phase.update, *['sr'] * self.phase.sr_in_train_mode]
        self._saved = [
            saved_state(self.networks[name], self.one_by_one)
            for name in (names if self.skip_non_finite else ())
        ]
        for name in set(NETWORKS) - set(self.phase.update):
            self._frozen.enter_context(
                frozen(
                    unwrap(self.networks[name]),
                    keep_mode=name == 'sr' and self.phase.sr_in_train_mode,
                )
            )
        for name, wrapper in self.wrappers.items():  # mixed precision, accumulation
            self._forward.enter_context(wrapper.optim_context(self.networks[name]))
        return self

    def __exit__(self, *error) -> None:
        self._forward.close()
        self._frozen.close()

    def each(self, terms: Sequence[LossTerm]) -> Iterator[LossTerm]:
        """Yield the losses of the phase, each to be computed and given to :meth:`add`.

        Processes average the gradients of all losses together, with the last one.
        """
        task = self.networks['task']
        for term in terms:
            self._early = self.one_by_one and term is not terms[-1]
            with ExitStack() as local:
                if self._early and isinstance(task, DistributedDataParallel):
                    local.enter_context(task.no_sync())
                yield term

    def add(self, losses: dict[str, Tensor]) -> None:
        """Add one loss of the recipe, within the loop over :meth:`each`.

        Args:
            losses: Its parts, scalars, weighted. A part without "loss" in its name,
                such as an accuracy, is only logged.

        Raises:
            ConfigError: If no part has "loss" in its name.
        """
        parts = [value for name, value in losses.items() if 'loss' in name]
        if not parts:
            raise ConfigError(
                f'recipe phase {self.phase.name!r}: no part of a loss has "loss" '
                f'in its name: {sorted(losses)}'
            )
        for name, value in losses.items():
            self.logs[f'{self.phase.name}/{name}'] = value.detach()
        total = sum(parts[1:], parts[0])
        if self._early:
            accumulate(self.wrappers['task'], total)
            total = total.detach()
        self._total = total if self._total is None else self._total + total

    def step(self) -> None:
        """Make the update: the backward pass that is left, and the optimizers' step."""
        self._forward.close()  # backward passes are not under autocast
        loss = self._total
        assert loss is not None  # parse_recipe refuses a phase without losses
        self.logs[f'{self.phase.name}/loss'] = loss.detach()
        if self.skip_non_finite and not finite_everywhere(loss):
            self.skipped = True
            self.logs[f'{self.phase.name}/loss'] = torch.full_like(loss, torch.nan)
            for restore in self._saved:
                restore()
        else:
            update_all(list(self.wrappers.values()), loss)


def update_all(wrappers: Sequence[OptimWrapper], loss: Tensor) -> None:
    """Update with one backward pass, also where several optimizers share the loss.

    Args:
        wrappers: The optimizers of the networks that the phase updates. Several have
            the same ``accumulative_counts``; AlternateTrainingHook checks that.
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
            for group in wrapper.optimizer.param_groups:
                for parameter in group['params']:
                    if parameter.grad is not None:
                        parameter.grad.mul_(own / scale)
    for wrapper in wrappers:
        wrapper.step()
        wrapper.zero_grad()


def accumulate(wrapper: OptimWrapper, loss: Tensor) -> None:
    """Add the gradients of a loss, a scalar, to those of the step that comes later."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    scaled = wrapper.scale_loss(loss)
    with torch.autocast(loss.device.type, enabled=False):
        (scaler.scale(scaled) if scaler else scaled).backward()


def loss_scale(wrapper: OptimWrapper) -> float:
    """Return the factor on an optimizer's losses: 1 except in mixed precision."""
    scaler = getattr(wrapper, 'loss_scaler', None)
    return scaler.get_scale() if scaler else 1.0


def on_cpu(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copy scalars to the CPU, all at once.

    Whoever reads them one by one, such as MMEngine's log, would otherwise wait for a
    GPU as many times.

    Args:
        values: Scalars without gradients, ``loss`` among them.

    Returns:
        dict[str, Tensor]: The same numbers, all in the widest of their types.
    """
    device = values['loss'].device  # a part without gradients may be elsewhere
    parts = [value.to(device, non_blocking=True) for value in values.values()]
    return dict(zip(values, torch.stack(parts).cpu(), strict=True))


def saved_state(network: nn.Module, with_gradients: bool) -> Callable[[], None]:
    """Copy what a forward and a backward pass change in a network.

    Args:
        network: The network.
        with_gradients: Whether to copy gradients too, which hold those of earlier
            iterations in accumulation.

    Returns:
        Callable: A function that restores the buffers (statistics of BatchNorm) and
        the gradients.
    """
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    gradients = [
        (parameter, None if parameter.grad is None else parameter.grad.clone())
        for parameter in (network.parameters() if with_gradients else ())
    ]

    def restore() -> None:
        for buffer, before in buffers:
            buffer.copy_(before)
        for parameter, gradient in gradients:
            parameter.grad = gradient

    return restore


@torch.no_grad()
def finite_everywhere(loss: Tensor) -> bool:
    """Return whether a loss, a scalar, is a finite number on all processes."""
    finite = torch.isfinite(loss.detach()).float()
    all_reduce(finite, 'min')
    return bool(finite)
