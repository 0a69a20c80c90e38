"""How a command line ends if it cannot do its work."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mmsr4ir.utils.errors import SR4IRError

_Args = ParamSpec('_Args')
_Result = TypeVar('_Result')


def command(main: Callable[_Args, _Result]) -> Callable[_Args, _Result]:
    """Decorate the ``main`` of a command line.

    An error that the user can fix, of this package or of the operating system (a
    missing file, a full disk), is printed as ``error: <message>`` and ends the
    process with exit code 1. Any other is a bug and keeps its traceback.
    """

    @functools.wraps(main)
    def run(*args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        try:
            return main(*args, **kwargs)
        except (SR4IRError, OSError) as error:
            sys.exit(f'error: {error}')

    return run
