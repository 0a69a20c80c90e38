"""Build the two networks and check that they fit before any training starts."""

import copy
import difflib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

import torch
from mmengine.model import ImgDataPreprocessor, revert_sync_batchnorm
from mmengine.registry import DefaultScope
from torch import nn

from mmsr4ir.compat.mmagic_parts import registered_names
from mmsr4ir.compat.mmcv_ops import with_torch_sync_bn
from mmsr4ir.compat.mmdet_parts import complete_heads
from mmsr4ir.compat.mmengine_parts import copy_without_waiting, set_statistics
from mmsr4ir.compat.swinir import keep_masks
from mmsr4ir.compat.torch_parts import BatchNorm
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError

from .image_space import first_channels, image_channels
from .recipes import Phase
from .sr_checks import check_whole

#: Parts of task networks whose classes are not those of the data set's labels: the
#: semantic heads of HTC and SCNet have those of the stuff maps.
OTHER_CLASSES = ('semantic_head',)
_NORMALISE = ('mean', 'std')
_PACKAGES = ('mmagic', 'mmdet', 'mmpretrain', 'mmseg')


def build_network(part: str, cfg: dict) -> nn.Module:
    """Build a network and name the config key in whatever goes wrong.

    Args:
        part: ``'sr'`` or ``'task'``.
        cfg: The network's config. Without a GPU its SyncBatchNorm layers, which exist
            for CUDA only, become BatchNorm layers.

    Raises:
        ImportError: If the package of the ``type`` is not installed.
        ConfigError: If no network has the config's ``type`` (close names are listed),
            an SR network has a scale that is no whole number, or the channels of a task
            network and of its preprocessor differ.
    """
    statistics = None
    cfg = with_torch_sync_bn(cfg)
    if part == 'sr':
        check_whole(cfg)
    else:
        cfg, statistics = _take_statistics(cfg)
    package = str(cfg.get('type')).partition('.')[0]
    try:
        # Networks of mmagic build their parts by names without a package.
        with DefaultScope.overwrite_default_scope(
            package if package == 'mmagic' else None
        ):
            network = MODELS.build(cfg)
    except KeyError as error:
        if package in _PACKAGES and find_spec(package) is None:
            raise ImportError(
                f'model.{part}.type {cfg["type"]!r}: {package} is not installed; '
                '`python -m mmsr4ir.check_env` prints the command that installs it'
            ) from error
        raise ConfigError(_explain_unknown(part, cfg, error)) from error
    if part == 'sr':
        keep_masks(network)
    else:
        if statistics:
            set_statistics(network.data_preprocessor, *statistics)
        copy_without_waiting(network)
        complete_heads(network)
        _check_channels(part, network, cfg.get('data_preprocessor') or {})
    return network if torch.cuda.is_available() else revert_sync_batchnorm(network)


def _take_statistics(cfg: dict) -> tuple[dict, tuple | None]:
    """Take mean and std of a count of channels that MMEngine refuses from a config."""
    preprocessor = cfg.get('data_preprocessor')
    if not isinstance(preprocessor, Mapping):
        return cfg, None
    mean, std = preprocessor.get('mean'), preprocessor.get('std')
    if not (isinstance(mean, list | tuple) and isinstance(std, list | tuple)):
        return cfg, None
    if len(mean) in (1, 3):
        return cfg, None
    if len(std) not in (1, len(mean)):
        raise ConfigError(
            f'model.task.data_preprocessor: {len(mean)} values of mean and {len(std)} '
            'of std; give one of each for each channel'
        )
    rest = {key: value for key, value in preprocessor.items() if key not in _NORMALISE}
    return dict(cfg, data_preprocessor=rest), (mean, std)


def _check_channels(part: str, task: nn.Module, cfg: Mapping) -> None:
    """Check that a task network and its preprocessor are for the same images."""
    preprocessor = getattr(task, 'data_preprocessor', None)
    if preprocessor is None:
        return
    channels, taken = image_channels(preprocessor, task), first_channels(task)
    if taken in (1, 3) and taken != channels:
        raise ConfigError(
            f'model.{part} takes {taken} channels ({type(task).__name__}), but its '
            f'data_preprocessor has mean and std of {channels}: give as many, or set '
            f'in_channels={channels} in its backbone'
        )
    turned = [key for key in ('bgr_to_rgb', 'rgb_to_bgr') if cfg.get(key)]
    if channels != 3 and turned and isinstance(preprocessor, ImgDataPreprocessor):
        raise ConfigError(
            f'model.{part}.data_preprocessor.{turned[0]}=True is for 3 channels, and '
            f'the images have {channels}: set it to False'
        )


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
        ConfigError: If a part tells things from stuff, or has weights that differ by
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
                    raise ConfigError(
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
        raise ConfigError(
            f'model.num_classes={after}: the task network has class_weight='
            f'{list(weights)} for its {before} classes; give it those of the '
            f'{after} classes, or class_weight=None'
        )
    return [weights[0]] * after + list(weights[before:])


def check_updates(recipe: tuple[Phase, ...], networks: dict[str, nn.Module]) -> None:
    """Check that every phase has parameters to update.

    Raises:
        ConfigError: If a network that a phase updates has no trainable parameter.
    """
    for phase in recipe:
        for name in phase.update:
            if not any(p.requires_grad for p in networks[name].parameters()):
                raise ConfigError(
                    f'recipe phase {phase.name!r} updates nothing: {name} '
                    f'({type(networks[name]).__name__}) has no trainable parameter; '
                    f'take {name!r} out of its `update`'
                )


def check_batched(recipe: tuple[Phase, ...], task: nn.Module) -> None:
    """Check that a task network may take several images of a recipe in one batch.

    Raises:
        ConfigError: If the task network normalises over the batch, so that SR, HR and
            mix would share their statistics.
    """
    wanted = [
        (phase.name, term.name)
        for phase in recipe
        for term in phase.losses
        if len(term.images) > 1 and not term.is_divided  # as published for the latter
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
        raise ConfigError(
            f'recipe phase {phase!r}, loss {loss!r}: {type(task).__name__} has batch '
            f'statistics ({layers[0]} and {len(layers) - 1} more), which would be '
            'those of the images together; fix them (norm_eval=True in its backbone), '
            'take a norm without any, or give the losses one by one'
        )
