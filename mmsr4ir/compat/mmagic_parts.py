"""Import one part of mmagic without the rest of it.

The ``__init__`` files of mmagic 1.2 import all of mmagic, and with it diffusers 0.24,
transformers, mediapipe and sixty packages more, none of which an SR network or a metric
of image quality needs. :func:`install` has these files read instead of run:

- a name that an ``__init__`` imports is imported at its first use (:pep:`562`);
- a registry of mmagic knows from the source which module registers a name, and imports
  that module when the name is asked for.

So the assertion of ``mmagic/__init__.py`` that mmcv is older than 2.2 does not run, and
a part that needs a package which is missing fails alone, when it is asked for.

``lazy_loader`` (Scientific Python) does the first of the two for packages that call it,
but not for ``import *`` nor for a function that is called like its module.

mmagic 1.2 names ``np.bool8`` in one module, which numpy 2 no longer has.

Where mmagic was imported before this package, it stays as it is.
"""

import ast
import re
from functools import lru_cache
from importlib import import_module
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from mmengine.registry import Registry

from .loaders import load_by

_ROOT = 'mmagic'
# Their __init__ defines classes, which no other file has; it is run.
_RUN = ('mmagic.apis.inferencers', 'mmagic.models.diffusion_schedulers')
# `@MODELS.register_module('Name')`, more decorators, then the class or function; or
# `MODELS.register_module('Name', module=...)`.
_REGISTERED = re.compile(
    r'^@(?P<registry>[A-Z_]+)\.register_module\((?:name=)?(?P<quote>[\'"]?)'
    r'(?P<name>[\w-]*)(?P=quote)\)(?=.*\n(?:@.*\n)*(?:class|def) (?P<own>\w+))'
    r'|^(?P<registry2>[A-Z_]+)\.register_module\(\'(?P<name2>\w+)\', module=',
    re.MULTILINE,
)


class _Package(ModuleType):
    """A package whose ``__init__`` was read: ``_sources`` is ``{name: module}``."""

    _sources: dict[str, str]

    def __getattr__(self, name: str) -> Any:
        if name in self._sources:
            value = getattr(import_module(self._sources[name]), name)
            setattr(self, name, value)
            return value
        submodule = f'{self.__name__}.{name}'
        if name.startswith('_') or find_spec(submodule) is None:
            raise AttributeError(f'module {self.__name__!r} has no attribute {name!r}')
        return import_module(submodule)  # the __init__ imports from it

    def __setattr__(self, name: str, value: Any) -> None:
        # Python sets each imported submodule as an attribute of its package. Where the
        # __init__ imports a function of that name, as `niqe`, the function is meant.
        if not (isinstance(value, ModuleType) and name in self._sources):
            super().__setattr__(name, value)


def _sources(path: Path, package: str) -> dict[str, str]:
    """Return which module each name comes from that an ``__init__`` imports."""
    found = {}
    for node in ast.parse(path.read_bytes()).body:
        if not (isinstance(node, ast.ImportFrom) and node.level == 1 and node.module):
            continue  # submodules (`from . import x`) are found without it
        module = f'{package}.{node.module}'
        for alias in node.names:
            init = path.parent / node.module.replace('.', '/') / '__init__.py'
            if alias.name != '*':
                found[alias.name] = module
            elif init.exists():
                found |= _sources(init, module)
    return found


class _InitReader(SourceFileLoader):
    """Loads a package by reading its ``__init__``."""

    def exec_module(self, module: ModuleType) -> None:
        names = _sources(Path(self.path), module.__name__)
        vars(module).update(_sources=names, __all__=list(names))
        module.__class__ = _Package


@lru_cache(maxsize=1)
def registered_names() -> dict[str, dict[str, set[str]]]:
    """Return which modules of mmagic register a name.

    Returns:
        dict: ``{registry: {name: modules}}``; a registry by its variable, as
        ``'MODELS'``.
    """
    spec = find_spec(_ROOT)
    assert spec and spec.origin  # a registry of mmagic asks
    root = Path(spec.origin).parent
    names: dict[str, dict[str, set[str]]] = {}
    for path in root.rglob('*.py'):
        module = '.'.join([_ROOT, *path.relative_to(root).with_suffix('').parts])
        for found in _REGISTERED.finditer(path.read_text(encoding='utf-8')):
            registry = found['registry'] or found['registry2']
            name = found['name'] or found['name2'] or found['own']
            names.setdefault(registry, {}).setdefault(name, set()).add(module)
    return names


class _Registry(Registry):
    """A registry of mmagic that imports the module which registers a name."""

    _variable: str

    def get(self, key: str) -> type | None:
        """Return the class of a name, as MMEngine's ``Registry.get``.

        Raises:
            ModuleNotFoundError: If the class needs a package that is not installed.
        """
        scope, name = self.split_scope_key(key)
        if scope in (None, self._scope):
            for module in registered_names().get(self._variable, {}).get(name, ()):
                try:
                    import_module(module)
                except ModuleNotFoundError as error:
                    raise ModuleNotFoundError(
                        f'mmagic.{name} needs the package {error.name}, which mmsr4ir '
                        'does not install: install a version that mmagic 1.2 works '
                        'with, or take another network',
                        name=error.name,
                    ) from error
        return super().get(key)


class _RegistriesLoader(SourceFileLoader):
    """Loads ``mmagic.registry``, with registries that import part by part."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        for variable, value in vars(module).items():
            if isinstance(value, Registry) and value.scope == _ROOT:
                value.__class__, value._variable = _Registry, variable


class _Bool8Loader(SourceFileLoader):
    """Runs a module that names ``np.bool8`` with numpy 2."""

    def exec_module(self, module: ModuleType) -> None:
        if hasattr(np, 'bool8'):
            super().exec_module(module)
            return
        vars(np)['bool8'] = np.bool_
        try:
            super().exec_module(module)
        finally:
            del vars(np)['bool8']


_LOADERS = {
    'mmagic.registry': _RegistriesLoader,
    'mmagic.utils.trans_utils': _Bool8Loader,
}


def _choose(spec: ModuleSpec) -> type[SourceFileLoader] | None:
    if spec.submodule_search_locations:
        return None if spec.name in _RUN else _InitReader
    return _LOADERS.get(spec.name)


def install() -> None:
    """Have mmagic imported part by part. Calling it again changes nothing."""
    load_by(_ROOT, _choose)
