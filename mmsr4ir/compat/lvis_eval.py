"""LVIS's evaluation with today's NumPy.

lvis 0.5.3, the newest, names ``np.float`` where it sums up the matches, which NumPy has
not had since 1.24: ``LVISMetric`` would fail after the whole test. Where lvis was
imported before this package, nothing changes.
"""

from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

import numpy as np

from .loaders import load_by

_NAME = 'lvis.eval'


class _NumPy(ModuleType):
    """NumPy as this one module sees it."""

    float = float

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


class _Loader(SourceFileLoader):
    """Gives the module a NumPy that has ``float``."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if not hasattr(np, 'float'):
            vars(module)['np'] = _NumPy('numpy')


def _choose(spec: ModuleSpec) -> type[SourceFileLoader] | None:
    return _Loader if spec.name == _NAME else None


def install() -> None:
    """Have the module loaded so. Calling it again changes nothing."""
    load_by('lvis', _choose)
