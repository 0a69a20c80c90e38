"""``mmsr4ir::sr4ir/...`` as a base of configs, as ``mmdet::...`` is.

MMEngine 0.10 has a fixed list of the packages whose configs it finds this way, and
looks for them in site-packages, where an editable install (``pip install -e``) has
none.
"""
from pathlib import Path

from mmengine.config import config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.hub import hub

_NAME = 'mmsr4ir'
_installed_path = config.get_installed_path


def installed_path(package: str) -> str:
    """Where a package is; MMEngine's own function for all others but this one."""
    if package == _NAME:
        return str(Path(__file__).parents[1])
    return _installed_path(package)


def install() -> None:
    """Put this package on MMEngine's list, with its place."""
    MODULE2PACKAGE.setdefault(_NAME, _NAME)
    config.get_installed_path = hub.get_installed_path = installed_path
