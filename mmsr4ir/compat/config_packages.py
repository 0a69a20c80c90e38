"""``mmsr4ir::sr4ir/...`` as a base of configs, as ``mmdet::...`` is.

MMEngine 0.10 has a fixed list of the packages whose configs it finds this way.
"""
from mmengine.config.utils import MODULE2PACKAGE


def install() -> None:
    """Put this package on MMEngine's list."""
    MODULE2PACKAGE.setdefault('mmsr4ir', 'mmsr4ir')
