"""Let ``mmcv.ops`` work with mmcv-lite, without a compiler.

mmdet, mmseg and mmagic import ``mmcv.ops``, which needs the compiled module
``mmcv._ext``. mmcv-lite comes without it, and on a current torch the full mmcv neither
has a wheel nor builds. :func:`install` adds a finder that offers
:mod:`mmsr4ir.compat.torchvision_ext` under that name. It is the last finder asked, so a
real ``mmcv._ext`` is found before it: nothing is shadowed or replaced.
"""

import copy
import importlib
import importlib.util
import pkgutil
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch

NAME = 'mmcv._ext'
_SERVED_BY = 'mmsr4ir.compat.torchvision_ext'


class _ExtLoader(Loader):
    """Fills ``mmcv._ext`` with the functions that torchvision serves."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        ext = importlib.import_module(_SERVED_BY)
        vars(module).update(ext.SERVED, __getattr__=ext.missing_op, __doc__=ext.__doc__)


class _ExtFinder(MetaPathFinder):
    """Offers ``mmcv._ext`` when nobody else does."""

    def find_spec(self, fullname, path=None, target=None) -> ModuleSpec | None:
        if fullname == NAME:
            return ModuleSpec(NAME, _ExtLoader(), origin=_SERVED_BY)
        return None


def install() -> None:
    """Offer ``mmcv._ext``. Calling it again changes nothing."""
    if not any(isinstance(finder, _ExtFinder) for finder in sys.meta_path):
        sys.meta_path.append(_ExtFinder())
    # MMEngine 0.10 and mmcv 2.1 ask for it by a function that Python 3.14 lacks.
    if not hasattr(pkgutil, 'find_loader'):
        vars(pkgutil)['find_loader'] = importlib.util.find_spec


def backing() -> str:
    """Return what serves ``mmcv.ops``.

    Returns:
        str: ``'mmcv (compiled)'``, ``'torchvision'``, or ``'none'`` where there is no
        mmcv at all.
    """
    if importlib.util.find_spec('mmcv') is None:
        return 'none'
    spec = importlib.util.find_spec(NAME)
    if spec is None:
        return 'none'
    return 'torchvision' if spec.origin == _SERVED_BY else 'mmcv (compiled)'


def with_torch_sync_bn(cfg):
    """Copy a network's config, with torch's SyncBatchNorm in the place of mmcv's.

    mmcv's ``MMSyncBN`` is compiled, runs on CUDA only, and is for tensors without
    elements, which torch's layer takes, too. Like ``MMSyncBN`` with ``stats_mode='N'``,
    torch's layer weighs processes by their numbers of elements. The config stays as it
    is where a compiled mmcv and a GPU are at hand.

    Args:
        cfg: A config, or any part of one.
    """
    if backing() == 'mmcv (compiled)' and torch.cuda.is_available():
        return cfg
    if isinstance(cfg, list | tuple):
        return type(cfg)(map(with_torch_sync_bn, cfg))
    if not isinstance(cfg, dict):
        return cfg
    cfg = copy.copy(cfg)
    for key, value in list(cfg.items()):
        cfg[key] = with_torch_sync_bn(value)
    if str(cfg.get('type')).rpartition('.')[2] == 'MMSyncBN':
        cfg['type'] = 'SyncBN'
        cfg.pop('stats_mode', None)
    return cfg
