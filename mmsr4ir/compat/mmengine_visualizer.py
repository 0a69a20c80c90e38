"""Visualizers that draw in every process of a distributed run.

MMEngine 0.10 decorates what a visualizer draws with ``master_only``, so that it returns
None in all processes except the first. MMEngine has no switch for that, so this module
calls the function behind the decorator.
"""

import inspect
import types
from functools import cache
from typing import Any

from mmengine.dist import master_only

# What every function that ``master_only`` has decorated runs.
_RESTRICTED = master_only(print).__code__


@cache
def in_every_process(visualizer: type) -> type:
    """Make a subclass of a visualizer whose methods and properties run everywhere."""
    freed: dict[str, Any] = {}
    for name in dir(visualizer):
        member = inspect.getattr_static(visualizer, name)
        if isinstance(member, property):
            freed[name] = property(_free(member.fget), _free(member.fset))
        elif isinstance(member, staticmethod):
            freed[name] = staticmethod(_free(member.__func__))
        elif _free(member) is not member:
            freed[name] = _free(member)
    return types.new_class(
        visualizer.__name__, (visualizer,), exec_body=lambda body: body.update(freed)
    )


def _free(function: Any) -> Any:
    """Return the function behind ``master_only``; anything else as it is."""
    restricted = getattr(function, '__code__', None) is _RESTRICTED
    return function.__wrapped__ if restricted else function
