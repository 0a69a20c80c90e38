"""Build the two networks and check that they fit before any training starts."""

import copy
import difflib
from collections.abc import Sequence
from importlib.util import find_spec
from logging import ERROR

import torch
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from torch import nn

from mmsr4ir.compat.mmagic_parts import registered_names
from mmsr4ir.compat.torch_parts import BatchNorm
from mmsr4ir.registry import MODELS

from .features import FeatureTap, NotReachedError, frozen
from .losses import TDPLoss
from .recipes import Phase
from .spandrel_network import Spandrel

#: Parts of task networks whose classes are not those of the data set's labels: the
#: semantic heads of HTC and SCNet have those of the stuff maps.
OTHER_CLASSES = ('semantic_head',)
_PACKAGES = ('mmagic', 'mmdet', 'mmpretrain', 'mmseg')
# Divisible by the windows and strides that networks ask for. The smallest image that
# a task network takes is the first of the sizes that it does not refuse.
_PROBE_LR, _PROBE_HR = 16, [(size, size) for size in (64, 224, 384, 512)]


def build_network(part: str, cfg: dict) -> nn.Module:
    """Build a network and name the config key in whatever goes wrong.

    Args:
        part: ``'sr'`` or ``'task'``.
        cfg: The network's config. Without a GPU its SyncBatchNorm layers, which exist
            for CUDA only, become BatchNorm layers.

    Raises:
        KeyError: If no network has the config's ``type``; close names are listed.
        ImportError: If the package of the ``type`` is not installed.
    """
    try:
        network = MODELS.build(cfg)
    except KeyError as error:
        package = str(cfg.get('type')).partition('.')[0]
        if package in _PACKAGES and find_spec(package) is None:
            raise ImportError(
                f'model.{part}.type {cfg["type"]!r}: {package} is not installed; '
                '`python -m mmsr4ir.check_env` prints the command that installs it'
            ) from error
        raise KeyError(_explain_unknown(part, cfg, error)) from error
    return network if torch.cuda.is_available() else revert_sync_batchnorm(network)


def _explain_unknown(part: str, cfg: dict, error: KeyError) -> str:
    name = str(cfg.get('type'))
    scope, _, key = name.rpartition('.')
    scope = scope or cfg.get('_scope_') or ''
    names = set(MODELS.parent.children.get(scope, MODELS.parent).module_dict)
    if scope == 'mmagic':  # its registry has only what was asked for
        names |= set(registered_names()['MODELS'])
    if key in names:  # something inside the network is unknown
        return f'model.{part} ({name}): {error.args[0]}'
    close = difflib.get_close_matches(key, names, n=3)
    hint = (
        f'Did you mean {", ".join(close)}?'
        if close
        else ("Give it as '<package>.<name>', such as 'mmagic.EDSRNet'.")
    )
    return f'model.{part}.type: no network is called {name!r}. {hint}'


def set_num_classes(task: dict, num_classes: int | None) -> dict:
    """Copy a task config, with every count of classes in it set (None: as it is).

    Besides ``num_classes`` these are mask transformers' ``num_things_classes``, and the
    lengths of the ``class_weight`` beside a count. The parts in :data:`OTHER_CLASSES`
    stay as they are.

    Raises:
        ValueError: If a part tells things from stuff, or has weights that differ by
            class.
    """
    task = copy.deepcopy(task)
    if num_classes is None:
        return task

    def walk(node, before: int | None = None) -> None:
        if isinstance(node, dict):
            # mmseg's STDC has an auxiliary head whose two classes are boundary or not.
            if 'num_classes' in node and 'boundary_threshold' not in node:
                before, node['num_classes'] = node['num_classes'], num_classes
            if 'num_things_classes' in node:
                if node.get('num_stuff_classes'):
                    raise ValueError(
                        f'model.num_classes: {node.get("type")} tells things from '
                        'stuff; set its num_things_classes and num_stuff_classes, '
                        'and leave model.num_classes out'
                    )
                before, node['num_things_classes'] = (
                    node['num_things_classes'],
                    num_classes,
                )
            if before and isinstance(node.get('class_weight'), list | tuple):
                node['class_weight'] = _class_weights(
                    node['class_weight'], before, num_classes
                )
            for name, value in node.items():
                if name not in OTHER_CLASSES:
                    walk(value, before)
        elif isinstance(node, list | tuple):
            for value in node:
                walk(value, before)

    walk(task)
    return task


def _class_weights(weights: Sequence[float], before: int, after: int) -> list[float]:
    """Return weights for another count of classes; one more is the background's."""
    if len(weights) - after in (0, 1) or len(weights) - before not in (0, 1):
        return list(weights)
    if len(set(weights[:before])) > 1:
        raise ValueError(
            f'model.num_classes={after}: the task network has class_weight='
            f'{list(weights)} for its {before} classes; give it those of the '
            f'{after} classes, or class_weight=None'
        )
    return [weights[0]] * after + list(weights[before:])


def check_parts(
    recipe: tuple[Phase, ...],
    sr: nn.Module,
    task: nn.Module,
    scale: int,
    sr_range: float,
    tdp: TDPLoss | None,
    features: FeatureTap | None,
) -> None:
    """Check that the parts of a model fit each other and its recipe.

    Args:
        recipe: The phases.
        sr: The SR network.
        task: The task network.
        scale: Of the degradation.
        sr_range: Factor on images before the SR network.
        tdp: The TDP loss, if the model has one.
        features: What computes the features for it.

    Raises:
        ValueError: If one of the checks below finds that the parts do not fit.
    """
    check_updates(recipe, dict(sr=sr, task=task))
    check_batched(recipe, task)
    check_scale(sr, scale, sr_range)
    check_tdp(recipe, tdp, features)


def check_updates(recipe: tuple[Phase, ...], networks: dict[str, nn.Module]) -> None:
    """Check that every phase has parameters to update.

    Raises:
        ValueError: If a network that a phase updates has no trainable parameter.
    """
    for phase in recipe:
        for name in phase.update:
            if not any(p.requires_grad for p in networks[name].parameters()):
                raise ValueError(
                    f'recipe phase {phase.name!r} updates nothing: {name} '
                    f'({type(networks[name]).__name__}) has no trainable parameter; '
                    f'take {name!r} out of its `update`'
                )


def check_batched(recipe: tuple[Phase, ...], task: nn.Module) -> None:
    """Check that a task network may take several images of a recipe in one batch.

    Raises:
        ValueError: If the task network normalises over the batch, so that SR, HR and
            mix would share their statistics.
    """
    wanted = [
        (phase.name, term.name)
        for phase in recipe
        for term in phase.losses
        if len(term.images) > 1
    ]
    if not wanted:
        return
    task.train()  # a network that keeps its statistics fixed does so here
    layers = [
        name
        for name, module in task.named_modules()
        if isinstance(module, BatchNorm) and module.training
    ]
    if layers:
        phase, loss = wanted[0]
        raise ValueError(
            f'recipe phase {phase!r}, loss {loss!r}: {type(task).__name__} has batch '
            f'statistics ({layers[0]} and {len(layers) - 1} more), which would be '
            'those of the images together; fix them (norm_eval=True in its backbone), '
            'take a norm without any, or give the losses one by one'
        )


@torch.no_grad()
def check_scale(sr: nn.Module, scale: int, sr_range: float) -> None:
    """Check that the SR network restores the size that the degradation takes away.

    Args:
        sr: The SR network.
        scale: Of the degradation.
        sr_range: Factor on images before the SR network.

    Raises:
        ValueError: If the network has another scale than the degradation, or if
            ``sr_range`` is set for a network of spandrel, which multiplies its images
            itself.
    """
    if isinstance(sr, Spandrel) and sr_range != 1:
        raise ValueError(
            f'model.sr_range={sr_range:g}: networks of mmsr4ir.Spandrel '
            'take images in [0, 1]; leave model.sr_range out'
        )
    device = next((p.device for p in sr.parameters()), torch.device('cpu'))
    lr = torch.zeros(1, 3, _PROBE_LR, _PROBE_LR, device=device)
    with frozen(sr):
        shape = tuple(sr(lr * sr_range).shape)
    want = _PROBE_LR * scale
    if shape != (1, 3, want, want):
        raise ValueError(
            f'model.sr makes {shape} of an LR image {tuple(lr.shape)}, a scale of '
            f'{shape[-1] / _PROBE_LR:g}, but model.degradation has scale '
            f'{scale}: set both to the same scale'
        )


@torch.no_grad()
def check_tdp(
    recipe: tuple[Phase, ...], tdp: TDPLoss | None, features: FeatureTap | None
) -> None:
    """Check that the task network has the features that the TDP loss compares.

    Args:
        recipe: The phases.
        tdp: The TDP loss, if the model has one.
        features: What computes the features for it; None where ``tdp`` is None.

    Raises:
        ValueError: If the recipe has the loss ``'tdp'`` and the model has none, or a
            level of it does not exist.
    """
    if tdp is None or features is None:
        for phase in recipe:
            if any(term.name == 'tdp' for term in phase.losses):
                raise ValueError(
                    f"recipe phase {phase.name!r} has the loss 'tdp': give the model "
                    "tdp=dict(type='mmsr4ir.TDPLoss', layer=..., levels=...)"
                )
        return
    device = next(features.task.parameters()).device
    sizes = [*_PROBE_HR, *_own_sizes(features.task)]
    with frozen(features.task):
        for size in sizes:
            try:
                outputs = features(torch.zeros(1, 3, *size, device=device))
                break
            except NotReachedError:
                raise
            # The image is smaller than a window of the network, or the network takes
            # images of one size only. Any other error is the same for all sizes.
            except (AssertionError, ValueError, RuntimeError):
                if size == sizes[-1]:
                    print_log(
                        f'{type(features.task).__name__} takes no image of 3 channels '
                        f'and {" or ".join(f"{h} x {w}" for h, w in sizes)} pixels for '
                        'the features of model.tdp, for the reason below. Some '
                        'networks cannot have model.channels_last',
                        'current',
                        ERROR,
                    )
                    raise
    tdp.check_levels(outputs)


def _own_sizes(task: nn.Module) -> list[tuple[int, int]]:
    """Return (height, width), in pixels, that parts of a network are made for."""
    found = (getattr(module, 'img_size', None) for module in task.modules())
    sizes = {
        (size, size) if isinstance(size, int) else tuple(size)
        for size in found
        if isinstance(size, int | list | tuple)
    }
    return sorted(size for size in sizes - {*_PROBE_HR} if len(size) == 2)
