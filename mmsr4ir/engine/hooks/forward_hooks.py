"""Run named parts of the networks in another way while training: faster, or smaller.

Only ``forward`` of a part is replaced, and only while the training lasts: the names in
checkpoints, the parameters and the optimizers stay what they are.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.recipes import NETWORKS
from mmsr4ir.models.roi_align import sparse_roi_align
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import HOOKS
from mmsr4ir.utils.errors import ConfigError


class _ForwardHook(Hook):
    """What the hooks share."""

    forwards: Sequence[tuple[nn.Module, Callable]] = ()

    def find(self, model: SR4IR) -> list[nn.Module]:
        """Find the modules whose ``forward`` is replaced."""
        raise NotImplementedError

    def wrap(self, module: nn.Module) -> Callable:
        """Make what stands in the place of the module's ``forward``."""
        raise NotImplementedError

    def before_train(self, runner: Runner) -> None:
        """Replace ``forward`` of the modules.

        Raises:
            ConfigError: If a module is unknown or cannot be replaced, or there is none.
        """
        self.forwards = [
            (module, self.wrap(module)) for module in self.find(unwrap(runner.model))
        ]
        self.after_val(runner)

    def before_val(self, runner: Runner) -> None:
        """Put ``forward`` back: images of many sizes would be compiled one by one."""
        for module, _ in self.forwards:
            vars(module).pop('forward', None)

    def after_val(self, runner: Runner) -> None:
        """Replace ``forward`` again."""
        for module, forward in self.forwards:
            module.forward = forward

    def after_train(self, runner: Runner) -> None:
        """Put everything back."""
        self.before_val(runner)
        self.forwards = []


class _NamedPartsHook(_ForwardHook):
    """Replace ``forward`` in parts that are named.

    Args:
        modules: Dotted names of parts of the model, as ``'sr'`` or ``'task.backbone'``.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        if isinstance(modules, str) or not modules:
            raise ConfigError(
                f'{type(self).__name__}: modules must be a list of names, '
                f"as ['sr', 'task.backbone'], got {modules!r}"
            )
        self.names = tuple(modules)

    def find(self, model: SR4IR) -> list[nn.Module]:
        """Find the modules that the names stand for.

        Raises:
            ConfigError: If the model has no such part, or the TDP loss takes its
                features from inside of one.
        """
        return [
            module
            for name in self.names
            for module in self.parts(find_part(model, name))
        ]

    def parts(self, module: nn.Module) -> list[nn.Module]:
        """List what a named module stands for: a ``ModuleList`` for its layers.

        Such a list has no ``forward`` of its own; its layers may be lists again, as the
        stages of a transformer are.
        """
        if not isinstance(module, nn.ModuleList):
            return [module]
        return [part for layer in module for part in self.parts(layer)]


def find_part(model: SR4IR, name: str) -> nn.Module:
    """Find a part of a network by its dotted name, distributed or not.

    Raises:
        ConfigError: If the model has no such part, or the layer of the TDP loss lies
            inside of it, where the forward pass is left by force.
    """
    network, _, inner = name.partition('.')
    try:
        if network not in NETWORKS:
            raise AttributeError(f'it is in none of {list(NETWORKS)}')
        part = unwrap(model.get_submodule(network)).get_submodule(inner)
    except AttributeError as error:
        raise ConfigError(f'modules: the model has no {name!r}: {error}') from error
    inside = [module for module in part.modules() if module is not part]
    if model.judges and any(
        module is model.judges.task_tap.module for module in inside
    ):
        raise ConfigError(
            f'modules: {name!r} holds the layer of the TDP loss '
            f'({model.judges.task_tap.layer!r}), at which its forward pass is cut off; '
            'name the parts beside that layer'
        )
    return part


@HOOKS.register_module()
class CompileHook(_NamedPartsHook):
    """Compile parts of the networks with ``torch.compile`` while training.

    The first iterations take longer, and again where a phase runs a part in another way
    (frozen or not) or images have another size.

    Args:
        modules: Dotted names, as ``['sr', 'task.backbone', 'task.neck']``. The last two
            make the features of the task network, so the TDP loss gains as well.
        kwargs: Those of ``torch.compile``: ``mode``, ``dynamic``, ``backend``.

    Raises:
        ConfigError: If ``kwargs`` ask for CUDA graphs. A graph writes each output over
            the one before, but features of HR are kept while SR runs.
    """

    def __init__(self, modules: Sequence[str], **kwargs) -> None:
        super().__init__(modules)
        if (
            kwargs.get('mode') in ('reduce-overhead', 'max-autotune')
            or kwargs.get('backend') == 'cudagraphs'
            or (kwargs.get('options') or {}).get('triton.cudagraphs')
        ):
            raise ConfigError(
                f'CompileHook: {kwargs} makes CUDA graphs, which write features of SR '
                'over those of HR that the losses compare them with: set '
                "mode='max-autotune-no-cudagraphs', or leave mode out"
            )
        self.options = kwargs

    def wrap(self, module: nn.Module) -> Callable:
        """Compile ``forward``."""
        return torch.compile(module.forward, **self.options)


@HOOKS.register_module()
class ActivationCheckpointHook(_NamedPartsHook):
    """Keep only the inputs of parts of the networks, and compute the rest again.

    This needs less memory and more time, and gives the same numbers: batch statistics
    count each batch once. MMEngine's ``activation_checkpointing`` counts each batch
    twice, and does not find a network that is distributed.

    Args:
        modules: Dotted names, as ``['sr.body']``. A list of layers (``Sequential``,
            ``ModuleList``) stands for each of its layers.
    """

    def find(self, model: SR4IR) -> list[nn.Module]:
        """Find the modules that the names stand for.

        Raises:
            ConfigError: If the model has no such part, or the TDP loss takes its
                features from inside of one, or the task network is frozen for the TDP
                loss and thawed before the part is run again.
        """
        thawed = any(
            'task' in phase.update and term.name == 'tdp'
            for phase in model.recipe
            for term in phase.losses
        )
        for name in self.names:
            if thawed and name.startswith('task'):
                raise ConfigError(
                    f'modules: {name!r} cannot be run again where a phase that updates '
                    'the task network has the loss tdp; leave it out, or use '
                    'tdp_teacher'
                )
        return super().find(model)

    def parts(self, module: nn.Module) -> list[nn.Module]:
        """List what a named module stands for: a ``Sequential`` too for its layers."""
        layers = module if isinstance(module, nn.Sequential) else [module]
        plain = super().parts
        return [part for layer in layers for part in plain(layer)]

    def wrap(self, module: nn.Module) -> Callable:
        """Run ``forward`` again for the backward pass."""
        # Inside of a part that is compiled, torch.compile takes no such contexts.
        return torch.compiler.disable(
            partial(
                checkpoint,
                module.forward,
                use_reentrant=False,
                context_fn=lambda: (nullcontext(), _as_before(module)),
            )
        )


def _as_before(module: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which a module has its present, not its later buffers.

    Otherwise batch statistics would count a batch twice.
    """
    before = [
        (owner, name, buffer.clone())
        for owner in module.modules()
        for name, buffer in owner.named_buffers(recurse=False)
    ]

    @contextmanager
    def swapped() -> Iterator[None]:
        then = [(owner, name, getattr(owner, name)) for owner, name, _ in before]
        try:
            for owner, name, buffer in before:
                setattr(owner, name, buffer)
            yield
        finally:
            for owner, name, buffer in then:
                setattr(owner, name, buffer)

    return swapped()


@HOOKS.register_module()
class SparseRoIAlignHook(_ForwardHook):
    """Train a detector with :func:`~mmsr4ir.models.roi_align.sparse_roi_align`.

    It takes the place of each of mmcv's ``RoIAlign`` layers: the same numbers to float
    rounding, for a CPU, where the usual way back to the features is one of the most
    expensive parts of training a detector (``docs/en/reports/2026-11-performance.md``
    says by how much). A subclass with a ``forward`` of its own is left alone.
    """

    def find(self, model: SR4IR) -> list[nn.Module]:
        """Find the RoIAlign layers of the task network.

        Raises:
            ConfigError: If the task network has no RoIAlign, or one that takes the
                maximum of its samples.
        """
        from mmcv.ops import RoIAlign  # all of mmcv.ops: not at the start of each tool

        layers = [
            module
            for module in model.task.modules()
            if isinstance(module, RoIAlign) and type(module).forward is RoIAlign.forward
        ]
        if not layers:
            raise ConfigError(
                'SparseRoIAlignHook: task has no RoIAlign layer; leave the hook out'
            )
        for layer in layers:
            if layer.pool_mode != 'avg':
                raise ConfigError(
                    f'SparseRoIAlignHook: RoIAlign with pool_mode={layer.pool_mode!r} '
                    "is no weighted sum; leave the hook out, or set pool_mode='avg'"
                )
        return layers

    def wrap(self, module: Any) -> Callable:
        """Make another ``forward`` with the settings of mmcv's ``RoIAlign``."""
        return partial(
            sparse_roi_align,
            output_size=module.output_size,
            spatial_scale=module.spatial_scale,
            sampling_ratio=module.sampling_ratio,
            aligned=module.aligned,
        )
