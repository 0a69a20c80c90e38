"""Weights of one network from a file, checked: S->T and T->S start from another run.

MMEngine's ``init_cfg=dict(type='Pretrained', ...)`` loads what fits and only warns of
the rest, so that a wrong file starts a training from scratch. For the networks as a
whole (``model.sr.init_cfg``, ``model.task.init_cfg``) this module is stricter.
"""

import os
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmsr4ir.utils.errors import ConfigError, SR4IRError

_KEYS = {'type', 'checkpoint', 'prefix', 'source', 'strict', 'map_location', '_scope_'}


class WeightsError(SR4IRError, ValueError):
    """Weights cannot be used; the message names the file, the reason and the fix."""


def take_init_cfg(cfg: dict) -> tuple[dict, dict | None]:
    """Separate a network's config from where its weights come from.

    Args:
        cfg: Config of a network; ``init_cfg`` of another type than ``'Pretrained'``
            stays in it.

    Returns:
        tuple: A copy of the config without it, and the ``init_cfg`` or None.

    Raises:
        ConfigError: If the ``init_cfg`` has an unknown key or no ``checkpoint``.
    """
    init_cfg = cfg.get('init_cfg')
    if init_cfg is None and 'init_cfg' in cfg:  # by model.sr.init_cfg=None
        return {k: v for k, v in cfg.items() if k != 'init_cfg'}, None
    if not isinstance(init_cfg, Mapping) or init_cfg.get('type') != 'Pretrained':
        return cfg, None
    unknown = set(init_cfg) - _KEYS
    if unknown or not init_cfg.get('checkpoint'):
        raise ConfigError(
            f'init_cfg {dict(init_cfg)}: '
            + (f'unknown keys {sorted(unknown)}; ' if unknown else '')
            + "give dict(type='Pretrained', checkpoint=...) and, where the file needs "
            'it, prefix=...; source=... may say where the file comes from'
        )
    return {k: v for k, v in cfg.items() if k != 'init_cfg'}, dict(init_cfg)


def load_weights(part: str, network: nn.Module, init_cfg: Mapping) -> None:
    """Load all of a network's weights from a checkpoint.

    Args:
        part: Its name in the config: ``'sr'``, ``'task'`` or ``'teacher'``.
        network: The network.
        init_cfg: ``checkpoint`` is a file, or any address that MMEngine loads;
            ``prefix`` selects the names that start with it, as ``'generator.'`` in
            mmagic's files. The checkpoint of a whole :class:`SR4IR` needs no prefix:
            its part of the same name is loaded, its ``task`` for a teacher. Error
            messages quote ``source`` to a user who lacks the file. With
            ``strict=False`` the tensors that fit by name and shape are loaded, and the
            others, such as the layers for other classes, stay as initialised.

    Raises:
        WeightsError: If the file is missing, cannot be read or holds another network;
            with ``strict=False``, if nothing of it fits.
    """
    path = init_cfg['checkpoint']
    where = f'model.{part}.init_cfg.checkpoint {path}'
    hint = f' {init_cfg["source"]}' if init_cfg.get('source') else ''
    if '://' not in path and not os.path.isfile(os.path.expanduser(path)):
        raise WeightsError(
            f'{where} does not exist.'
            f'{hint or " Set it to the checkpoint of the run that trains this part."}'
        )
    try:
        checkpoint = CheckpointLoader.load_checkpoint(path, map_location='cpu')
    except RuntimeError as error:
        raise WeightsError(f'{where}: {error}{hint}') from error
    state_dict = checkpoint
    if isinstance(checkpoint, Mapping):
        state_dict = checkpoint.get('state_dict', checkpoint)
    if not isinstance(state_dict, Mapping) or not all(
        isinstance(name, str) for name in state_dict
    ):
        raise WeightsError(
            f'{where} holds no tensors by name: give the checkpoint of '
            f'a training, or a file with a state_dict.{hint}'
        )
    prefix = init_cfg.get('prefix')
    if prefix is None:
        starts = {name.split('.')[0] for name in state_dict}
        own_name = 'task' if part == 'teacher' else part
        prefix = f'{own_name}.' if starts <= {'sr', 'task', 'teacher'} else ''
    loaded = {
        name.removeprefix(prefix): value
        for name, value in state_dict.items()
        if name.startswith(prefix)
        # Older files hold the means of the preprocessor, which come from its config.
        and not name.removeprefix(prefix).startswith('data_preprocessor.')
    }
    own = network.state_dict()
    odd = [name for name in own if not isinstance(loaded.get(name, own[name]), Tensor)]
    if odd:
        raise WeightsError(f'{where}: {odd[0]} is no tensor.{hint}')
    found = mismatch(own, loaded)
    fits = {
        name: value
        for name, value in loaded.items()
        if name in own and value.shape == own[name].shape
    }
    if found and fits and not init_cfg.get('strict', True):
        network.load_state_dict(fits, strict=False)
        left = [name for name in own if name not in fits]
        more = f' and {len(left) - 6} more' if len(left) > 6 else ''
        print_log(
            f'{part}: {len(fits)} of {len(own)} tensors loaded from {path}; as '
            f'initialised: {", ".join(left[:6]) or "none"}{more}; not used: '
            f'{len(loaded) - len(fits)}',
            'current',
        )
        return
    if found:
        parents = sorted({name.split('.')[0] + '.' for name in state_dict})[:6]
        raise WeightsError(
            f'{where} holds another network than {type(network).__name__}: tensors '
            f'{found}. Use the file that belongs to this config, or select a part of '
            f'it by init_cfg.prefix (its names begin with {", ".join(parents)}).'
            + (
                ' To start from what fits, as for other classes, set '
                'init_cfg.strict=False.'
                if init_cfg.get('strict', True)
                else ''
            )
            + hint
        )
    network.load_state_dict(loaded)
    print_log(f'{part}: all {len(own)} tensors loaded from {path}', 'current')


def mismatch(own: Mapping, loaded: Mapping) -> str:
    """Say how a state dict differs from the one wanted, in names and shapes.

    Returns:
        str: Such as ``'2 missing, such as a.weight; 1 unknown, such as b.bias'``;
        empty where nothing differs.
    """
    missing = [name for name in own if name not in loaded]
    foreign = [name for name in loaded if name not in own]
    shapes = [
        f'{name} {tuple(loaded[name].shape)} instead of {tuple(own[name].shape)}'
        for name in own
        if name in loaded and loaded[name].shape != own[name].shape
    ]
    return '; '.join(
        f'{len(names)} {what}, such as {names[0]}'
        for names, what in (
            (missing, 'missing'),
            (foreign, 'unknown'),
            (shapes, 'of another shape'),
        )
        if names
    )


def drop_prefix(module: nn.Module, state_dict: dict, prefix: str, *more: Any) -> None:
    """Leave ``network.`` out of the names of a module's tensors.

    This is a hook of a module. It keeps the names that files of the other package's
    network have.
    """
    inner = f'{prefix}network.'
    for name in [name for name in state_dict if name.startswith(inner)]:
        state_dict[prefix + name.removeprefix(inner)] = state_dict.pop(name)


def add_prefix(module: nn.Module, state_dict: dict, prefix: str, *more: Any) -> None:
    """Undo :func:`drop_prefix` before a state dict is loaded."""
    for name in [name for name in state_dict if name.startswith(prefix)]:
        state_dict[f'{prefix}network.{name.removeprefix(prefix)}'] = state_dict.pop(
            name
        )
