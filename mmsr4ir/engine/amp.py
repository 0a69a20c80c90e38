"""Mixed precision on a GPU or on a CPU."""
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper as _AmpOptimWrapper
from mmengine.optim import OptimWrapper
from torch import nn

from mmsr4ir.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(_AmpOptimWrapper):
    """MMEngine's ``AmpOptimWrapper``, which also works without a GPU.

    On a CPU bfloat16 has the range of float32, so no loss is scaled there. float16
    works too, with the same scaler as on a GPU, but most CPUs compute in it many times
    slower than in float32: it is for trying out what will run on a GPU.

    Args:
        dtype: ``'bfloat16'`` or ``'float16'``.
        loss_scale: ``'dynamic'``, a number, or the arguments of torch's GradScaler.
        kwargs: Those of MMEngine's ``OptimWrapper``.

    Raises:
        ValueError: Another ``dtype``.
    """

    def __init__(self, dtype: str = 'bfloat16',
                 loss_scale: str | float | dict = 'dynamic', **kwargs) -> None:
        if dtype not in ('bfloat16', 'float16'):
            raise ValueError(f"dtype must be 'bfloat16' or 'float16', got {dtype!r}")
        self.on_cpu = not torch.cuda.is_available()
        if not self.on_cpu:
            super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
            return
        # MMEngine's own constructor refuses a CPU.
        OptimWrapper.__init__(self, **kwargs)
        if dtype == 'float16':
            print_log('float16 on a CPU is slow; bfloat16 is faster than float32 on '
                      'many', 'current', logging.WARNING)
        fixed = isinstance(loss_scale, (int, float))
        self._scale_update_param = float(loss_scale) if fixed else None
        if fixed or loss_scale == 'dynamic':
            loss_scale = dict(init_scale=float(loss_scale)) if fixed else {}
        self.loss_scaler = torch.amp.GradScaler(
            'cpu', enabled=dtype == 'float16', **loss_scale)
        self.cast_dtype = getattr(torch, dtype)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """As MMEngine's, whose autocast knows only bfloat16 on a CPU."""
        if not self.on_cpu:
            with super().optim_context(model):
                yield
            return
        with OptimWrapper.optim_context(self, model), torch.autocast(
                'cpu', self.cast_dtype):
            yield

    def load_state_dict(self, state_dict: dict) -> None:
        """As MMEngine's; a checkpoint without a scale has none to take up."""
        if not state_dict.get('loss_scaler'):
            state_dict.pop('loss_scaler', None)
        super().load_state_dict(state_dict)
