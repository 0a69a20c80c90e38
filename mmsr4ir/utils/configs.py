"""Configs as data: read, changed by settings, their text, and what they name."""

import ast
import difflib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner

from .errors import ConfigError

#: The folder of the configs that come with the package.
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
if not CONFIGS.is_dir():  # installed from a wheel
    CONFIGS = Path(__file__).resolve().parents[1] / '.mim' / 'configs'

#: What is taken from a config without being an argument of MMEngine's Runner.
_READ_FROM_CONFIG = (
    'activation_checkpointing',
    'comparison',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'sync_bn',
    'tta_model',
    'tta_pipeline',
)


def read_config(path: str, options: Mapping | None = None) -> Config:
    """Read a config file on this machine; nothing is fetched, also no base of it.

    Args:
        path: The file.
        options: Settings to put into it, see :func:`merge_options`.

    Raises:
        ConfigError: If ``path`` is an address, or is no config file, or its code raises
            an error, or an option fits nowhere.
    """
    if '://' in path:
        raise ConfigError(
            f'config {path} is an address. A config is Python code that is run: fetch '
            'it, read it, and give the file'
        )
    if not os.path.isfile(path):
        raise ConfigError(f'config {path} does not exist')
    try:
        cfg = Config.fromfile(path)
    except (OSError, SyntaxError, ValueError, KeyError) as error:
        why = error.args[0] if isinstance(error, KeyError) else error  # as it is put
        raise ConfigError(f'config {path} cannot be read: {why}') from error
    except Exception as error:  # a config is code, and code can raise anything
        why = f'{type(error).__name__}: {error}'
        raise ConfigError(f'config {path} cannot be read: {why}') from error
    merge_options(cfg, options)
    return cfg


def merge_options(
    cfg: Config, options: Mapping | None, source: str = '--cfg-options'
) -> None:
    """Put settings, such as those of ``--cfg-options``, into a config in place.

    Args:
        cfg: The whole config.
        options: Values by dotted key.
        source: Where the settings come from, for messages.

    Raises:
        ConfigError: If a setting fits nowhere, or if nothing reads a setting because
            its first name is misspelt.
    """
    known = {*cfg, *inspect.signature(Runner).parameters, *_READ_FROM_CONFIG}
    for key in options or ():
        name = key.partition('.')[0]
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f'; did you mean {close[0]!r}?' if close else ''
            raise ConfigError(f'{source} {key}: nothing reads {name!r}{hint}')
    try:
        cfg.merge_from_dict(dict(options or {}))
    except (KeyError, TypeError) as error:
        raise ConfigError(f'{source}: {error.args[0]}') from error


class _DictCalls(ast.NodeTransformer):
    """Turns ``dict(a=1)``, as MMEngine writes configs, into ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802
        self.generic_visit(node)
        if (
            getattr(node.func, 'id', '') != 'dict'
            or node.args
            or any(keyword.arg is None for keyword in node.keywords)
        ):
            return node  # literal_eval refuses it
        return ast.Dict(
            [ast.Constant(keyword.arg) for keyword in node.keywords],
            [keyword.value for keyword in node.keywords],
        )


def config_values(text: str) -> dict:
    """Read a config that MMEngine wrote, as in a checkpoint, without running it.

    MMEngine would run it as Python; a file that is only handed on may come from
    anywhere.

    Raises:
        ConfigError: If the config holds anything else than values.
    """
    config = {}
    try:
        for line in ast.parse(text).body:
            match line:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    config[name] = ast.literal_eval(_DictCalls().visit(value))
                case _:
                    raise ValueError(f'line {line.lineno} does not set one name')
    except (
        SyntaxError,
        ValueError,
        AttributeError,
        TypeError,
        RecursionError,
        MemoryError,
    ) as error:  # the last two: nested beyond measure
        raise ConfigError(
            f'its config is more than values ({error}), and is not run'
        ) from error
    return config


def type_name(cfg: Mapping) -> str:
    """Return the class name in ``type``, a class or a name, without its scope."""
    kind = cfg.get('type')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2]


def as_list(value) -> list:
    """Return what a config gives as one dict, as a list of dicts or not, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def batch_augments(cfg: Mapping, model: Mapping) -> list[str]:
    """List the names of the augmentations that work on a whole batch.

    Args:
        cfg: The whole config.
        model: The config of :class:`~mmsr4ir.models.SR4IR` in it.
    """
    task = model.get('task') or {}
    train_cfg = task.get('train_cfg')  # of mmpretrain's classifiers
    found = [train_cfg.get('augments')] if isinstance(train_cfg, Mapping) else []
    for owner in (cfg, model, task):
        found.append((owner.get('data_preprocessor') or {}).get('batch_augments'))
    names = []
    for augments in found:
        if isinstance(augments, Mapping) and 'augments' in augments:
            augments = augments['augments']
        names += [
            type_name(one) for one in as_list(augments) if isinstance(one, Mapping)
        ]
    return names


def registered_class(registry: Registry, cfg: Mapping, scope: str) -> type | None:
    """Return the class that a config names, or None; ``scope`` is the default scope."""
    scope = cfg.get('_scope_') or scope
    kind = cfg.get('type')
    if not isinstance(kind, str):
        return kind
    return registry.get(kind if '.' in kind else f'{scope}.{kind}')
