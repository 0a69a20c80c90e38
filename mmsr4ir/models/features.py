"""Run a network up to a named module, and freeze a network for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from mmengine.model import BaseModel
from torch import Tensor, nn

from mmsr4ir.utils.errors import ConfigError, SR4IRError


class _ReachedError(Exception):
    """Raised to leave a forward pass as soon as the wanted output is there."""

    def __init__(self, output) -> None:
        super().__init__()
        self.output = output


class NotReachedError(SR4IRError, RuntimeError):
    """The forward pass for the features does not come through the wanted module."""


class FeatureTap:
    """The features of a task network at one of its modules.

    What comes after the module is not run: a detector's heads, proposals and NMS cost
    nothing when only its neck is asked for.

    Args:
        task: The task network; its ``extract_feat`` must pass through ``layer``.
        layer: Dotted name of a module in it.

    Raises:
        ConfigError: If the task network has no module called ``layer``.
    """

    def __init__(self, task: BaseModel, layer: str) -> None:
        self.task = task
        self.layer = layer
        modules = dict(task.named_modules())
        if layer not in modules or not layer:
            children = [name for name, _ in task.named_children()]
            raise ConfigError(
                f'tdp.layer {layer!r}: {type(task).__name__} has no such module; its '
                f'parts are {children} and what they hold'
            )
        self.module = modules[layer]

    def __call__(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Compute the module's outputs.

        Args:
            inputs: (N, C, H, W), normalised as the task network wants it.

        Returns:
            tuple[Tensor, ...]: The outputs, level by level.

        Raises:
            NotReachedError: If ``extract_feat`` of the task network does not call the
                module.
        """

        def stop(module, args, output):
            raise _ReachedError(output)

        handle = self.module.register_forward_hook(stop)
        try:
            self.task.extract_feat(inputs)
        except _ReachedError as reached:
            output = reached.output
        else:
            raise self.not_reached('feature extraction')
        finally:
            handle.remove()
        return _levels(output)

    def not_reached(self, where: str) -> NotReachedError:
        """Make the error that a pass of the task network does not call the module."""
        return NotReachedError(
            f'tdp.layer {self.layer!r} is not part of the {where} of '
            f'{type(self.task).__name__}: name a module of its backbone or neck'
        )

    @contextmanager
    def watch(self) -> Iterator[list[tuple[Tensor, ...]]]:
        """Keep the module's outputs of a pass that goes on, such as that of a loss.

        Yields:
            list: Empty; after a pass of the task network it holds the outputs, level by
            level, with their gradients.
        """
        seen: list[tuple[Tensor, ...]] = []

        def keep(module, args, output):
            # Copies, since what comes next may work in place.
            seen.append(tuple(level.clone() for level in _levels(output)))

        handle = self.module.register_forward_hook(keep)
        try:
            yield seen
        finally:
            handle.remove()


def _levels(output) -> tuple[Tensor, ...]:
    """Return a module's outputs level by level, whatever holds them.

    Conformer and SAN's CLIP have lists of features in each level; each counts as a
    level of its own.
    """
    if isinstance(output, Mapping):  # of torchvision
        output = tuple(output.values())
    if not isinstance(output, list | tuple):
        return (output,)
    return tuple(level for part in output for level in _levels(part))


@contextmanager
def frozen(network: nn.Module, keep_mode: bool = False) -> Iterator[None]:
    """Put a network in eval mode without gradients, and back to what it was.

    Args:
        network: The network.
        keep_mode: Whether its mode stays as it is.

    Every parameter's ``requires_grad`` and every module's mode are restored one by
    one, also after an exception, so that a backbone's frozen stages stay frozen.
    """
    grads = [(p, p.requires_grad) for p in network.parameters()]
    modes = [(m, m.training) for m in network.modules()]
    try:
        if not keep_mode:
            network.eval()
        for parameter, _ in grads:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, requires_grad in grads:
            parameter.requires_grad_(requires_grad)
        for module, training in modes:
            module.training = training
