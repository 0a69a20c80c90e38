"""What torch 2.6 to 2.15 has no public name for."""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_map_only

#: The base of every batch normalisation, those of other packages among them.
BatchNorm = _BatchNorm

_Module = TypeVar('_Module', bound=nn.Module)
_HALF = (torch.bfloat16, torch.float16)


def to_single(value: Any) -> Any:
    """Turn half precision into float32, also within lists, tuples and dicts."""
    return tree_map_only(Tensor, lambda x: x.float() if x.dtype in _HALF else x, value)


def give_single(module: nn.Module, args: tuple, outputs: Any) -> Any:
    """Turn a module's outputs into float32, as its forward hook."""
    return to_single(outputs)


def with_child(module: _Module, name: str, child: nn.Module) -> _Module:
    """Copy a module, whose children stay the same objects, except one.

    ``copy.copy`` shares the dict of children, so that ``setattr`` on the copy would
    change the original.

    Args:
        module: The original, which is left as it is.
        name: Of the child.
        child: Takes its place in the copy.
    """
    copied = copy.copy(module)
    copied._modules = dict(module._modules, **{name: child})
    return copied


def leave_group(wrapper: nn.Module) -> None:
    """Have the wrapper of a distributed network let go of its group of processes.

    Gloo's threads run as long as anything holds the group: the wrapper itself, and in
    C++ its reducer and its logger. The wrapper is of no use afterwards.
    """
    for name in ('process_group', 'reducer', 'logger'):
        wrapper.__dict__.pop(name, None)


def module_versions(state_dict: Mapping[str, Tensor]) -> dict[str, dict]:
    """Return the versions of the modules that made a state dict, by their names.

    Modules that changed between versions read old files by them.

    Returns:
        dict: Empty for a plain dict.
    """
    return getattr(state_dict, '_metadata', {})


def set_module_versions(
    state_dict: 'OrderedDict[str, Tensor]', versions: Mapping[str, dict]
) -> None:
    """Give a state dict the versions of its modules."""
    state_dict._metadata = OrderedDict(versions)  # type: ignore[attr-defined]
