"""Both networks in several processes."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.dist import all_reduce_params
from mmengine.model import (
    BaseTTAModel,
    MMSeparateDistributedDataParallel,
    is_model_wrapper,
)
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from mmsr4ir.compat.torch_parts import BatchNorm
from mmsr4ir.registry import MODEL_WRAPPERS


@MODEL_WRAPPERS.register_module()
class SeparateDistributedDataParallel(MMSeparateDistributedDataParallel):
    """Wrap each network separately, as MMEngine does, and keep all processes equal.

    After each train step, the running statistics of BatchNorm become their means over
    the processes. The TDP loss and validations use them; a checkpoint holds those of
    one process only, with which a resumed training would not go on exactly.

    MMEngine's ``EMAHook`` finds its averages in a checkpoint, which has no wrappers'
    names.

    Args:
        module: The model.
        kwargs: As for MMEngine's wrapper.
    """

    def __init__(self, module: nn.Module, **kwargs) -> None:
        super().__init__(module, **kwargs)
        for network in module.children():
            if is_model_wrapper(network):
                network.register_load_state_dict_pre_hook(_add_wrapper)

    def train_step(
        self, data: dict, optim_wrapper: OptimWrapperDict
    ) -> dict[str, Tensor]:
        """Run one iteration of the model, see :meth:`SR4IR.train_step`."""
        logs = super().train_step(data, optim_wrapper)
        all_reduce_params(running_statistics(self.module), op='mean')
        return logs


def running_statistics(network: nn.Module) -> Iterator[Tensor]:
    """Yield the running means and variances that a training changes."""
    for module in network.modules():
        if isinstance(module, BatchNorm) and module.training:
            yield from (
                buffer for buffer in module.buffers() if torch.is_floating_point(buffer)
            )


def drop_wrappers(
    model: nn.Module, state_dict: dict, prefix: str, metadata: dict
) -> None:
    """Give a checkpoint the same names whether the networks were distributed or not.

    MMEngine saves what ``state_dict`` returns, with the ``module.`` of each wrapped
    network, and then loads by the names without it, so that nothing would fit.
    """
    for name, network in model.named_children():
        if is_model_wrapper(network):
            wrapped = f'{prefix}{name}.module.'
            for key in [key for key in state_dict if key.startswith(wrapped)]:
                bare = f'{prefix}{name}.{key.removeprefix(wrapped)}'
                state_dict[bare] = state_dict.pop(key)


def _add_wrapper(wrapper: nn.Module, state_dict: dict, prefix: str, *args) -> None:
    """Rename a network's tensors as its wrapper has them.

    MMEngine's own loading passes over wrappers and does not come here; torch's does.
    """
    for key in [key for key in state_dict if key.startswith(prefix)]:
        state_dict[f'{prefix}module.{key.removeprefix(prefix)}'] = state_dict.pop(key)


def unwrap(network: nn.Module) -> Any:
    """Return a network without the wrappers of distributed training and of TTA.

    Returns:
        nn.Module: Of the class that is inside, which the caller knows.
    """
    while is_model_wrapper(network) or isinstance(network, BaseTTAModel):
        network = network.get_submodule('module')
    return network
