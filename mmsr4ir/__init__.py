"""Train a super-resolution network for what recognition needs (SR4IR, CVPR 2024).

Importing this package makes its registered modules known to MMEngine
(``custom_imports = dict(imports=['mmsr4ir'])`` in a config) and prepares the
dependencies (see :mod:`mmsr4ir.compat`). It imports no task library: mmdet, mmseg,
mmpretrain and mmagic are loaded only when a config names something of theirs.
"""

import sys
import warnings

from .version import __version__

try:
    from . import compat, registry
except Exception as error:  # a package may be missing, broken or too old
    reason = (
        f'mmsr4ir cannot be used yet ({type(error).__name__}: {error}). '
        'Run `python -m mmsr4ir.check_env` for what to install.'
    )
    # That command must run all the same, to name the fix.
    if 'mmsr4ir.check_env' not in sys.orig_argv:
        raise ImportError(reason) from error
    warnings.warn(reason, stacklevel=2)
else:
    compat.install()

__all__ = ['__version__', 'compat', 'registry']
