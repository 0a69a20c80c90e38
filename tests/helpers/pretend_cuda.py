"""A GPU on a machine without one: CPU tensors that say that they are CUDA's.

Inside :func:`pretend_cuda` a tensor that is put on ``cuda`` stays where it is, and its
storage gets a tag. Each operator hands the tag from its inputs to its outputs, and two
faults are counted that only a GPU would show: an operator that gets tensors of both
devices (``mixes``, an error there), and one that lets the CPU wait for the GPU
(``waits``). Both have the function that called torch: ``aten::add at toys.py:forward``.
"""

import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import mmengine.device.utils
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU, CPU = torch.device('cuda', 0), torch.device('cpu')
_ROOTS = (f'{Path(torch.__file__).parents[1]}/', f'{Path(__file__).parents[2]}/')
_COPIES = ('aten::_to_copy', 'aten::copy_', 'aten::set_')
# torch copies indices of the CPU to the GPU, and counts what a mask chooses.
_INDEXING = ('index', 'index_put', 'index_put_', '_index_put_impl_', '_unsafe_index')
# The size of what these return, or a Python value, depends on what the GPU computes.
_COUNTING = ('_local_scalar_dense', 'equal', 'nonzero', 'masked_select', 'bincount')
_COUNTING += ('_unique2', 'unique_dim', 'unique_consecutive', 'nms')
_FUNCTIONS = dict(is_available=True, device_count=1, get_device_name='pretended')
_FUNCTIONS |= dict(is_current_stream_capturing=False, max_memory_allocated=0)
_FUNCTIONS |= dict(reset_peak_memory_stats=None, synchronize=None, empty_cache=None)
_GETTERS = {
    Tensor.device.__get__: lambda there: GPU if there else CPU,
    Tensor.is_cuda.__get__: lambda there: there,
    Tensor.is_cpu.__get__: lambda there: not there,
    Tensor.get_device: lambda there: 0 if there else -1,
}
_MOVES = (Tensor.to, Tensor.cuda, Tensor.cpu, Tensor.type_as)
# They fill a tensor with values of Python, which come from the CPU.
_FILLED = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
_NUMPY = (Tensor.numpy, Tensor.__array__)
_SPECIAL = {*_GETTERS, *_MOVES, *_FILLED, *_NUMPY, Tensor.tolist, Tensor.__deepcopy__}


class PretendedGPU(TorchDispatchMode):
    """What is on the GPU, and the faults so far."""

    def __init__(self) -> None:
        super().__init__()
        self.mixes: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self._tags: dict[int, StorageWeakRef] = {}  # which keep addresses from reuse
        self._target: bool | None = None  # whether the result of a copy is there

    def has(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._tags

    def tag(self, storage: torch.UntypedStorage, *_) -> torch.UntypedStorage:
        self._tags[storage._cdata] = StorageWeakRef(storage)
        return storage

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func._schema.name
        tensors = _tensors(args, *kwargs.values())
        # In a backward pass torch itself makes zeros, on the device of a gradient.
        there = torch._C._current_graph_task_id() >= 0 and not tensors
        there, target = there or any(map(self.has, tensors)), self._target
        if there and target is None:
            self._look(name, tensors, args, kwargs)
        out = func(*args, **kwargs)
        # A copy into a tensor leaves that where it is; a value of Python is no tensor.
        if (there if target is None else target) and name != 'aten::copy_':
            for one in _tensors(out):
                self.tag(one.untyped_storage())
        return out

    def _look(self, name, tensors, args, kwargs) -> None:
        library, _, short = name.partition('::')
        indexing = short in _INDEXING and self.has(args[0])
        indices = _tensors(args[1]) if indexing else []
        here = [one for one in tensors if not self.has(one)]
        if name not in _COPIES and any(
            one.dim() and all(one is not index for index in indices) for one in here
        ):
            self.note(self.mixes, name)
        if (
            short in _COUNTING
            or any(one.dtype == torch.bool or not self.has(one) for one in indices)
            or (short == 'copy_' and here and not any(args[2:]))  # non_blocking
            or (short == 'repeat_interleave' and kwargs.get('output_size') is None)
        ):
            self.note(self.waits, name)

    def note(self, faults: Counter[str], name: str) -> None:
        """Count a fault at the innermost function that is none of torch's."""
        frame = sys._getframe(1)
        while frame.f_code.co_filename.startswith((f'{_ROOTS[0]}torch/', __file__)):
            frame = frame.f_back
        path = frame.f_code.co_filename
        for root in _ROOTS:
            path = path.removeprefix(root)
        faults[f'{name} at {path}:{frame.f_code.co_name}'] += 1

    def to(self, target: bool, func, *args, **kwargs):
        """Call a function whose result is on the GPU, or is not."""
        before, self._target = self._target, target
        try:
            out = func(*args, **kwargs)
        finally:
            self._target = before
        if target:
            self.tag(out.untyped_storage())
        return out


class _Calls(TorchFunctionMode):
    """Answers what would need a GPU before an operator is reached."""

    def __init__(self, gpu: PretendedGPU) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, gpu = kwargs or {}, self.gpu
        if 'device' not in kwargs and func not in _SPECIAL:
            return func(*args, **kwargs)
        me = args[0] if args and isinstance(args[0], Tensor) else None
        there = me is not None and me.layout == torch.strided and gpu.has(me)
        if func in _GETTERS:
            return _GETTERS[func](there)
        if func in _MOVES:
            return self._move(func.__name__, me, there, *args[1:], **kwargs)
        if there and func in (*_NUMPY, Tensor.tolist):
            gpu.note(gpu.mixes if func in _NUMPY else gpu.waits, func.__name__)
        device = kwargs.get('device')
        if not (there if device is None else torch.device(device).type == 'cuda'):
            return func(*args, **kwargs)
        if func in _FILLED and (me is None or func is Tensor.new_tensor):
            gpu.note(gpu.waits, func.__name__)
        if kwargs.get('generator') is not None:  # none of the GPU can be made here
            gpu.note(gpu.mixes, f"{func.__name__} with the CPU's generator")
        if device is not None:
            kwargs = dict(kwargs, device='cpu')
        elif func not in (Tensor.__deepcopy__, *_FILLED):
            return func(*args, **kwargs)
        return gpu.to(True, func, *args, **kwargs)

    def _move(self, name, me, there, *args, copy=False, non_blocking=False, **kwargs):
        if name in ('cuda', 'cpu'):
            args = (name,)
        if args and isinstance(args[0], Tensor):
            args = (GPU if self.gpu.has(args[0]) else CPU, args[0].dtype)
        device, dtype, early, layout = torch._C._nn._parse_to(*args, **kwargs)
        target = there if device is None else device.type == 'cuda'
        if target != there and not (early or non_blocking):
            self.gpu.note(self.gpu.waits, 'to the GPU' if target else 'to the CPU')
        copy |= target != there
        if not copy and dtype in (None, me.dtype) and layout is None:
            return me
        how = {} if layout is None else dict(memory_format=layout)
        return self.gpu.to(target, Tensor.to, me, dtype or me.dtype, copy=copy, **how)


def _tensors(*values) -> list[Tensor]:
    found = []
    for one in values:  # by hand, since torch's tree_leaves takes most of the time
        if isinstance(one, Tensor):
            found += [one] * (one.layout == torch.strided)
        elif isinstance(one, list | tuple):
            found += _tensors(*one)
    return found


@contextmanager
def pretend_cuda():
    """Let torch and MMEngine find a GPU; yield what watches it."""
    gpu, load = PretendedGPU(), torch.load

    def load_there(*args, map_location=None, **kwargs):
        there = str(map_location).startswith('cuda')
        return load(*args, map_location=gpu.tag if there else map_location, **kwargs)

    patches = [(torch.cuda, name, value) for name, value in _FUNCTIONS.items()]
    patches += [(torch.accelerator, 'is_available', False)]  # it asks the driver
    with ExitStack() as stack:
        for owner, name, value in patches:
            answer = mock.Mock(return_value=value)
            stack.enter_context(mock.patch.object(owner, name, answer))
        stack.enter_context(mock.patch.object(mmengine.device.utils, 'DEVICE', 'cuda'))
        stack.enter_context(mock.patch.object(torch, 'load', load_there))
        stack.enter_context(_Calls(gpu))
        yield stack.enter_context(gpu)
