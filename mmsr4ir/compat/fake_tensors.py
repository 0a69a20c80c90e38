"""Tensors without values, of torch 2.6 to 2.15, which has no public name for them.

``FakeTensorMode`` is what ``torch.compile`` and ``torch.export`` find shapes with. Its
module is private, and three things keep a train step from running in it:

- A deep copy of a fake tensor copies the mode too, and two modes do not mix.
- ``item()`` and ``if tensor`` ask for a value. Here they get 1 and False.
- An index that is a mask has an unknown number of hits.

``torch.distributed._tools.mem_tracker.MemTracker`` (torch 2.4 to 2.15), which follows
the bytes of such tensors, registers a hook on every parameter of a module that runs,
and so stops at a frozen network: ``cannot register a hook on a tensor that doesn't
require gradient``.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeCopyMode,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ['TorchDispatchMode', 'fake_tensors', 'tree_leaves']
_Copied = TypeVar('_Copied')


@contextmanager
def fake_tensors(real: _Copied, full_masks: float = 0) -> Iterator[_Copied]:
    """Make tensors without values and memory.

    Args:
        real: Anything that holds tensors, such as a network or a list of data samples.
        full_masks: An index that is a mask of at most so many values hits everywhere.
            A larger one raises torch's ``DynamicOutputShapeException``, as ``nonzero``
            and NMS always do.

    Yields:
        The same: A deep copy, in which every tensor is without values.
    """
    mode = _FakeTensors()
    with FakeCopyMode(mode):
        copied = copy.deepcopy(real)
    with warnings.catch_warnings():
        # Of Tensor.__deepcopy__, which looks at the address of its data.
        warnings.filterwarnings('ignore', 'Accessing the data pointer of FakeTensor')
        with mode, _Answers(full_masks):
            yield copied


class _FakeTensors(FakeTensorMode):
    def __deepcopy__(self, memo: dict) -> '_FakeTensors':
        return self


class _Answers(TorchDispatchMode):
    """Answer what fake tensors cannot."""

    def __init__(self, full_masks: float) -> None:
        super().__init__()
        self.full_masks = full_masks

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        aten = torch.ops.aten
        if func is aten.index.Tensor:
            args = (args[0], [part for one in args[1] for part in self._places(one)])
        try:
            return func(*args, **(kwargs or {}))
        except DataDependentOutputException:
            if func is not aten._local_scalar_dense.default:
                raise
            return False if args[0].dtype == torch.bool else 1

    def _places(self, index: Tensor | None) -> Sequence[Tensor | None]:
        """Return an index; in place of a mask all of its places, by dimension."""
        if index is None or index.dtype not in (torch.bool, torch.uint8):
            return [index]
        if index.numel() > self.full_masks:
            return [index]
        return [index.new_zeros(index.numel(), dtype=torch.long)] * index.dim()
