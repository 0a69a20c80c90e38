"""How a command line ends if it cannot do its work."""

import functools
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mmengine.registry import build_from_cfg
from mmengine.runner import Runner

from mmsr4ir.utils.errors import SR4IRError

_Args = ParamSpec('_Args')
_Result = TypeVar('_Result')


#: Where MMEngine calls a class with the arguments that a config gives.
_BUILDERS = (build_from_cfg.__code__, Runner.build_dataloader.__code__)


def command(main: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
    """Decorate the ``main`` of a command line.

    An error that the user can fix is printed as ``error: <message>`` and ends the
    process with exit code 1: one of this package or of the operating system (a missing
    file, a full disk), or a part of the config with an unknown ``type`` or with an
    argument that its class refuses. Any other is a bug and keeps its traceback.
    """

    @functools.wraps(main)
    def run(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        try:
            return main(*args, **kwargs)
        except (SR4IRError, OSError) as error:
            sys.exit(f'error: {error}')
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            if not is_of_config(error):
                raise
            sys.exit(f'error: the config: {error.args[0] if error.args else error!r}')

    return run


def is_of_config(error: Exception) -> bool:
    """Return whether a part of the config has no class, or one that refuses it.

    MMEngine's registries raise the one themselves. The other comes from the call of
    the class, or from its ``__init__``, that of a base class, or what they build in
    turn. The classes of this package raise a ``ConfigError`` for what they refuse.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    is_ours = frames[-1].f_globals.get('__name__', '').startswith('mmsr4ir')
    while not is_ours and frames[-1].f_code.co_name == '__init__':
        frames.pop()
    return frames[-1].f_code in _BUILDERS
