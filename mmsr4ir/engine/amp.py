"""Mixed precision on a GPU or on a CPU."""
import torch
from mmengine.optim import AmpOptimWrapper as _AmpOptimWrapper
from mmengine.optim import OptimWrapper

from mmsr4ir.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AmpOptimWrapper(_AmpOptimWrapper):
    """MMEngine's ``AmpOptimWrapper``, which also works without a GPU.

    A CPU computes in bfloat16 only. That has the range of float32, so no loss needs to
    be scaled there; ``loss_scale`` is for float16 on a GPU.

    Args:
        dtype: ``'bfloat16'`` or ``'float16'``.
        loss_scale: ``'dynamic'``, a number, or the arguments of torch's GradScaler.
        kwargs: Those of MMEngine's ``OptimWrapper``.

    Raises:
        ValueError: Another ``dtype``, or float16 without a GPU.
    """

    def __init__(self, dtype: str = 'bfloat16',
                 loss_scale: str | float | dict = 'dynamic', **kwargs) -> None:
        if dtype not in ('bfloat16', 'float16'):
            raise ValueError(f"dtype must be 'bfloat16' or 'float16', got {dtype!r}")
        if torch.cuda.is_available():
            super().__init__(loss_scale=loss_scale, dtype=dtype, **kwargs)
            return
        if dtype == 'float16':
            raise ValueError(
                "mixed precision in float16 needs a GPU: use dtype='bfloat16' on a CPU")
        # MMEngine's own constructor refuses a CPU.
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.loss_scaler = torch.amp.GradScaler('cpu', enabled=False)
        self.cast_dtype = torch.bfloat16

    def load_state_dict(self, state_dict: dict) -> None:
        """As MMEngine's; a checkpoint of a CPU has no scale to take up."""
        if not state_dict.get('loss_scaler'):
            state_dict.pop('loss_scaler', None)
        super().load_state_dict(state_dict)
