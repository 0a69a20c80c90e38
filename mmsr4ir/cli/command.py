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


# Where MMEngine calls classes with the arguments that a config gives: the file of its
# registries' functions, and the method that makes a DataLoader; and what lies between
# there and an error in an argument.
_BUILDERS = [
    (inspect.getfile(build_from_cfg), None),
    (inspect.getfile(Runner), 'build_dataloader'),
]
_CONSTRUCTORS = ('__init__', 'build_iter_from_epoch')


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
    """Explain an error that a part of the config causes: no class, or one that refuses.

    MMEngine's registries raise the one themselves. The other comes from the call of
    the class, or from its ``__init__``, that of a base class, or what they build in
    turn. The classes of this package raise a ``ConfigError`` for a value that they
    refuse, so from their ``__init__`` comes only what a base class does not take.

    Returns:
        str | None: The error's own words, after the name of a class that does not say
        its name itself; None if the error is another one.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    is_ours = frames[-1].f_globals.get('__name__', '').startswith('mmsr4ir')
    names_itself = '__init__() ' in str(error)
    if is_ours and not names_itself:
        return None
    said = str(error.args[0]) if error.args else type(error).__name__
    built = ''
    while (code := frames[-1].f_code).co_name in _CONSTRUCTORS:
        if not names_itself:
            built = f'{type(frames[-1].f_locals.get("self")).__name__}: '
        frames.pop()
    is_built = any(
        code.co_filename == file and name in (None, code.co_name)
        for file, name in _BUILDERS
    )
    return built + said if is_built else None
