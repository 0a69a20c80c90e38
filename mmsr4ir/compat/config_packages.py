"""``mmsr4ir::sr4ir/...`` as a base of configs, as ``mmdet::...`` is.

MMEngine 0.10 has a fixed list of the packages whose configs it finds this way, and
looks for them in site-packages, where an editable install (``pip install -e``) has
none. It asks ``pkg_resources`` for them, which setuptools 82 and later do not have.
Here Python's own import system is asked.
"""

from importlib.util import find_spec
from pathlib import Path

from mmengine import utils
from mmengine.config import config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import hub
from mmengine.utils import package_utils

_NAME = 'mmsr4ir'


def installed_path(package: str) -> str:
    """Return where a package is, by its own name or by that of its distribution.

    Raises:
        RuntimeError: If the package is not installed.
    """
    path = _path(package)
    if path is None:
        raise RuntimeError(f'{package} is not installed')
    return path


def is_installed(package: str) -> bool:
    """Return whether a package is installed, by its own name or its distribution's."""
    return _path(package) is not None


def _path(package: str) -> str | None:
    module = next(
        (
            module
            for module, distribution in MODULE2PACKAGE.items()
            if distribution == package
        ),
        package,
    )
    spec = find_spec(module)
    return str(Path(spec.origin).parent) if spec and spec.origin else None


def install() -> None:
    """Put this package on MMEngine's list, and have packages found."""
    MODULE2PACKAGE.setdefault(_NAME, _NAME)
    for module in (config, hub, package_utils, utils):
        for name, function in (
            ('get_installed_path', installed_path),
            ('is_installed', is_installed),
        ):
            if hasattr(module, name):
                setattr(module, name, function)
