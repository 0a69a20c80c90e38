"""Mixed precision on a GPU or on a CPU."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.optim import AmpOptimWrapper as _AmpOptimWrapper
from mmengine.optim import OptimWrapper
from torch import nn

from mmsr4ir.compat.mmengine_parts import init_amp_on_cpu
from mmsr4ir.registry import OPTIM_WRAPPERS
from mmsr4ir.utils.errors import ConfigError


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(_AmpOptimWrapper):
    """MMEngine's ``AmpOptimWrapper``, which also works without a GPU.

    No loss is scaled in bfloat16, which has the range of float32. float16 has its
    scaler on a CPU too, but most CPUs compute in it many times slower than in float32,
    and torch rounds other operations than on a GPU: use it to try out a training.

    Args:
        dtype: ``'bfloat16'`` or ``'float16'``.
        loss_scale: ``'dynamic'``, a number, or the arguments of torch's GradScaler; for
            float16.
        kwargs: Those of MMEngine's ``OptimWrapper``.

    Raises:
        ConfigError: If ``dtype`` is neither ``'bfloat16'`` nor ``'float16'``.
        ConfigError: If ``loss_scale`` is neither ``'dynamic'`` nor a number or a dict.
    """

    def __init__(
        self,
        dtype: str = 'bfloat16',
        loss_scale: str | float | dict = 'dynamic',
        **kwargs,
    ) -> None:
        if dtype not in ('bfloat16', 'float16'):
            raise ConfigError(f"dtype must be 'bfloat16' or 'float16', got {dtype!r}")
        if isinstance(loss_scale, int):
            loss_scale = float(loss_scale)  # MMEngine refuses it
        if loss_scale != 'dynamic' and not isinstance(loss_scale, (float, dict)):
            raise ConfigError(
                "loss_scale must be 'dynamic', a number or the arguments "
                f'of GradScaler, got {loss_scale!r}'
            )
        if dtype == 'bfloat16':
            loss_scale = dict(enabled=False)
        self.on_cpu = get_device() == 'cpu'
        if not self.on_cpu:
            super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
            return
        options: dict[str, Any] = dict(enabled=True)
        fixed_scale = None
        if isinstance(loss_scale, float):
            fixed_scale = options['init_scale'] = loss_scale
        elif isinstance(loss_scale, dict):
            options.update(loss_scale)
        if dtype == 'float16':
            warnings.warn(
                "float16 is slow on a CPU: dtype='bfloat16' is for training there",
                stacklevel=2,
            )
        init_amp_on_cpu(
            self,
            torch.amp.GradScaler('cpu', **options),
            getattr(torch, dtype),
            fixed_scale,
            **kwargs,
        )

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Compute in the type; MMEngine's autocast knows only bfloat16 on a CPU."""
        if not self.on_cpu:
            with super().optim_context(model):
                yield
            return
        with (
            OptimWrapper.optim_context(self, model),
            torch.autocast('cpu', self.cast_dtype),
        ):
            yield

    def load_state_dict(self, state_dict: dict) -> None:
        """Load a state as MMEngine does, also one that has no loss scale."""
        if not state_dict.get('loss_scaler'):
            state_dict.pop('loss_scaler', None)
        super().load_state_dict(state_dict)
