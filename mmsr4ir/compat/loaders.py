"""Load modules of another package in our own way; its files stay as they are."""

import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader

#: From what Python found of a module to our loader of it, or None for Python's own.
Choice = Callable[[ModuleSpec], type[SourceFileLoader] | None]


class _Finder(MetaPathFinder):
    """Finds a package where the other finders do, and chooses how it is loaded."""

    def __init__(self, package: str, choose: Choice) -> None:
        self.package = package
        self.choose = choose

    def find_spec(self, fullname: str, path=None, target=None) -> ModuleSpec | None:
        if fullname.partition('.')[0] != self.package:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            loader = self.choose(spec)
            if loader is not None:
                spec.loader = loader(fullname, spec.loader.path)
        return spec


def load_by(package: str, choose: Choice) -> None:
    """Have a package's modules loaded by the loaders that a function chooses.

    Where the package is imported already, or has such loaders, nothing changes.
    """
    known = any(
        isinstance(finder, _Finder) and finder.package == package
        for finder in sys.meta_path
    )
    if not known and package not in sys.modules:
        sys.meta_path.insert(0, _Finder(package, choose))
