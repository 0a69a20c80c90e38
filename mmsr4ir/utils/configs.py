"""Configs as data: their text, and what they name."""
import ast
from collections.abc import Mapping
from pathlib import Path

from mmengine.registry import Registry

#: The folder of the configs that come with the package.
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
if not CONFIGS.is_dir():  # installed from a wheel
    CONFIGS = Path(__file__).resolve().parents[1] / '.mim' / 'configs'


class _DictCalls(ast.NodeTransformer):
    """Turns ``dict(a=1)``, as MMEngine writes configs, into ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.AST:  # noqa: N802
        self.generic_visit(node)
        if getattr(node.func, 'id', '') != 'dict' or node.args or any(
                keyword.arg is None for keyword in node.keywords):
            return node  # literal_eval refuses it
        return ast.Dict([ast.Constant(keyword.arg) for keyword in node.keywords],
                        [keyword.value for keyword in node.keywords])


def config_values(text: str) -> dict:
    """Read a config that MMEngine wrote, as in a checkpoint, without running it.

    MMEngine would run it as Python; a file that is only handed on may come from
    anywhere.

    Raises:
        ValueError: If the config holds anything else than values.
    """
    config = {}
    try:
        for line in ast.parse(text).body:
            match line:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    config[name] = ast.literal_eval(_DictCalls().visit(value))
                case _:
                    raise ValueError(f'line {line.lineno} does not set one name')
    except (SyntaxError, ValueError, AttributeError, TypeError, RecursionError,
            MemoryError) as error:  # the last two: nested beyond measure
        raise ValueError(
            f'its config is more than values ({error}), and is not run') from error
    return config


def type_name(cfg: Mapping) -> str:
    """Return the class name in ``type``, a class or a name, without its scope."""
    kind = cfg.get('type')
    return getattr(kind, '__name__', str(kind)).rpartition('.')[2]


def as_list(value) -> list:
    """Return what a config gives as one dict, as a list of dicts or not, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value] if value else []


def registered_class(registry: Registry, cfg: Mapping, scope: str) -> type | None:
    """Return the class that a config names, or None; ``scope`` is the default scope."""
    scope = cfg.get('_scope_') or scope
    kind = cfg.get('type')
    if not isinstance(kind, str):
        return kind
    return registry.get(kind if '.' in kind else f'{scope}.{kind}')
