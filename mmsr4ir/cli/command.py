"""How a command line ends if it cannot do its work."""

import functools
import inspect
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mmengine.registry import build_from_cfg
from mmengine.runner import Runner

from mmsr4ir.utils.errors import SR4IRError

_Args = ParamSpec('_Args')
_Result = TypeVar('_Result')


# Files of MMEngine that call a class or a function with what a config says.
_CALLERS = {inspect.getfile(build_from_cfg), inspect.getfile(Runner)}
# What lies between such a call and the line that refuses an argument; the last two are
# of MMEngine's schedulers and of its visualizer.
_PASSED_THROUGH = ('__init__', 'build_iter_from_epoch', 'get_instance')


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
            said = what_a_config_did(error)
            if said is None:
                raise
            sys.exit(f'error: the config: {said}')

    return run


def what_a_config_did(error: Exception) -> str | None:
    """Explain an unknown ``type`` in a config, or an argument that a class refuses.

    MMEngine's registries raise the error of an unknown ``type``. The error of an
    argument comes from the call of the class, from its ``__init__``, or from what this
    builds in turn. A class of this package raises a ``ConfigError`` for a value that it
    refuses; of its other errors only that of an argument which it hands on to a base
    class is the config's.

    Returns:
        str | None: The error's own words, after the name of a class that does not say
        its name itself; None if the error is another one.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    refused_by, names_itself, _ = str(error).partition('.__init__() ')
    made = frames[-1].f_locals.get('self')
    if frames[-1].f_globals.get('__name__', '').startswith('mmsr4ir') and (
        not names_itself
        or refused_by not in [base.__qualname__ for base in type(made).__mro__]
    ):
        return None
    said = str(error.args[0]) if error.args else type(error).__name__
    built = ''
    while (code := frames[-1].f_code).co_name in _PASSED_THROUGH:
        made = frames.pop().f_locals.get('self')
        if not names_itself and made is not None:
            built = f'{type(made).__name__}: '
    return built + said if code.co_filename in _CALLERS else None
