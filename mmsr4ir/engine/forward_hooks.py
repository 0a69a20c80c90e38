"""Run named parts of the networks in another way while training: faster, or smaller.

Only ``forward`` of a part is replaced, and only while the training lasts: the names in
checkpoints, the parameters and the optimizers stay what they are.
"""
from collections.abc import Callable, Sequence
from functools import partial

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmsr4ir.models.recipes import NETWORKS
from mmsr4ir.models.sr4ir import SR4IR, unwrap
from mmsr4ir.registry import HOOKS


class _ForwardHook(Hook):
    """What both hooks share.

    Args:
        modules: Dotted names of parts of the model, as ``'sr'`` or ``'task.backbone'``.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        if isinstance(modules, str) or not modules:
            raise ValueError(f'{type(self).__name__}: modules must be a list of names, '
                             f"as ['sr', 'task.backbone'], got {modules!r}")
        self.names = tuple(modules)
        self.forwards: list[tuple[nn.Module, Callable]] = []

    def wrap(self, forward: Callable) -> Callable:
        """What stands in the place of ``forward``."""
        raise NotImplementedError

    def parts(self, module: nn.Module) -> list[nn.Module]:
        """The modules that a named one stands for."""
        return [module]

    def before_train(self, runner: Runner) -> None:
        """Replace ``forward``.

        Raises:
            ValueError: The model has no such part, or the TDP loss takes its features
                from inside of one.
        """
        model = unwrap(runner.model)
        self.forwards = [
            (module, self.wrap(module.forward)) for name in self.names
            for module in self.parts(find_part(model, name))]
        self.after_val(runner)

    def before_val(self, runner: Runner) -> None:
        """Validate as ever: images of many sizes would be compiled one by one."""
        for module, _ in self.forwards:
            vars(module).pop('forward', None)

    def after_val(self, runner: Runner) -> None:
        """Go on training in the other way."""
        for module, forward in self.forwards:
            module.forward = forward

    def after_train(self, runner: Runner) -> None:
        """Put everything back."""
        self.before_val(runner)
        self.forwards = []


def find_part(model: SR4IR, name: str) -> nn.Module:
    """A part of S or T by its dotted name, whether they are distributed or not.

    Raises:
        ValueError: There is none, or the layer of the TDP loss lies inside of it, where
            the forward pass is left by force.
    """
    network, _, inner = name.partition('.')
    try:
        if network not in NETWORKS:
            raise AttributeError(f'it is in none of {list(NETWORKS)}')
        part = unwrap(model._modules[network]).get_submodule(inner)
    except AttributeError as error:
        raise ValueError(f'modules: the model has no {name!r}: {error}') from error
    tapped = model.features and model.features.module
    if any(module is tapped for module in part.modules() if module is not part):
        raise ValueError(
            f'modules: {name!r} holds the layer of the TDP loss ({model.tdp.layer!r}), '
            'at which its forward pass is cut off; name the parts beside that layer')
    return part


@HOOKS.register_module()
class CompileHook(_ForwardHook):
    """Compile parts of the networks with ``torch.compile`` while training.

    The first iterations take longer, and again where a phase runs a part in another way
    (frozen or not) or images have another size.

    Args:
        modules: Dotted names, as ``['sr', 'task.backbone', 'task.neck']``; T's features
            are what these two make, so that the TDP loss gains as well.
        kwargs: Those of ``torch.compile``: ``mode``, ``dynamic``, ``backend``.
    """

    def __init__(self, modules: Sequence[str], **kwargs) -> None:
        super().__init__(modules)
        self.options = kwargs

    def parts(self, module: nn.Module) -> list[nn.Module]:
        """The layers of a list that has no ``forward`` of its own."""
        return list(module) if isinstance(module, nn.ModuleList) else [module]

    def wrap(self, forward: Callable) -> Callable:
        """Compile ``forward``."""
        return torch.compile(forward, **self.options)


@HOOKS.register_module()
class ActivationCheckpointHook(_ForwardHook):
    """Keep only the inputs of parts of the networks, and compute the rest again.

    Less memory for more time, and the same numbers. MMEngine's
    ``activation_checkpointing`` finds no network once it is distributed.

    Args:
        modules: Dotted names, as ``['sr.body']``. A list of layers (``Sequential``,
            ``ModuleList``) stands for each of its layers.
    """

    def before_train(self, runner: Runner) -> None:
        """Replace ``forward``.

        Raises:
            ValueError: As for :class:`CompileHook`; a part has batch statistics, which
                would count every batch twice; or T is frozen for the TDP loss and
                thawed before the part is run again.
        """
        model = unwrap(runner.model).train()
        thawed = model.tdp and not model.tdp.teacher and any(
            'task' in phase.update and term.name == 'tdp'
            for phase in model.recipe for term in phase.losses)
        for name in self.names:
            if thawed and name.startswith('task'):
                raise ValueError(
                    f'modules: {name!r} cannot be run again where a phase that updates '
                    'T has the TDP loss; leave it out, or give tdp a teacher')
            for inner, module in find_part(model, name).named_modules():
                if isinstance(module, _BatchNorm) and module.training:
                    raise ValueError(
                        f'modules: {name!r} has batch statistics ({inner}), which '
                        'would be counted again when it is run again; fix them '
                        '(norm_eval=True) or leave the part out')
        super().before_train(runner)

    def parts(self, module: nn.Module) -> list[nn.Module]:
        """The layers of a list of layers."""
        return list(module) if isinstance(
            module, nn.Sequential | nn.ModuleList) else [module]

    def wrap(self, forward: Callable) -> Callable:
        """Run ``forward`` again for the backward pass."""
        return partial(checkpoint, forward, use_reentrant=False)
