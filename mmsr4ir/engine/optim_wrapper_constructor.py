"""One optimizer for each network."""

import difflib

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, all_reduce_params, get_world_size
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import OPTIMIZERS
from torch import nn

from mmsr4ir.compat.mmengine_parts import set_inner_count
from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmsr4ir.utils.errors import ConfigError


class AccumulatingOptimWrappers(OptimWrapperDict):
    """MMEngine's ``OptimWrapperDict``, which also saves what is only accumulated yet.

    With ``accumulative_counts`` above 1, a checkpoint may be written between two
    updates. Each state then has ``accumulated``: the gradients, and the number of
    iterations that they come from (``count``). The iteration number does not determine
    this count if a recipe trains a network for a time only, or if a batch was skipped.
    """

    def state_dict(self) -> dict:
        """Return the state of each optimizer, with gradients where there are any."""
        states = super().state_dict()
        for name, wrapper in self.items():
            gradients = [parameter.grad for parameter in _parameters(wrapper)]
            if any(gradient is not None for gradient in gradients):
                states[name]['accumulated'] = dict(
                    count=wrapper.inner_count, gradients=gradients
                )
        return states

    def load_state_dict(self, state_dict: dict) -> None:
        """Take up the states, and the gradients that are in them."""
        for name, state in state_dict.items():
            accumulated = state.pop('accumulated', None)
            if accumulated:
                wrapper = self[name]
                set_inner_count(wrapper, accumulated['count'])
                for parameter, gradient in zip(
                    _parameters(wrapper), accumulated['gradients'], strict=True
                ):
                    parameter.grad = (
                        None
                        if gradient is None
                        else gradient.to(parameter.device, copy=True)
                    )
        super().load_state_dict(state_dict)

    def average_accumulated(self) -> None:
        """Give every process the mean of what the processes have accumulated.

        MMEngine saves only in the first process, and each process has its own sum until
        the update. The update uses the mean in the end, so its result stays the same.
        """
        if get_world_size() == 1:
            return
        for wrapper in self.values():
            parameters = _parameters(wrapper)
            # One process may have no gradient where another has one.
            present = torch.tensor([float(p.grad is not None) for p in parameters])
            present = present.to(parameters[0].device)
            all_reduce(present, 'max')
            gradients = []
            for parameter, there in zip(parameters, present.tolist(), strict=True):
                if there:
                    if parameter.grad is None:
                        parameter.grad = torch.zeros_like(parameter)
                    gradients.append(parameter.grad)
            all_reduce_params(gradients, bucket_size_mb=_BUCKET_MB, op='mean')


def _parameters(wrapper: OptimWrapper) -> list[nn.Parameter]:
    return [
        parameter
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    ]


# What processes average at once, in MiB.
_BUCKET_MB = 25
# Settings of mixed precision.
_SHARED = ('type', 'loss_scale', 'dtype')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PerNetworkOptimWrapperConstructor:
    """Build one optimizer for each named child of the model.

    Each entry is a full ``optim_wrapper`` config, taken as it stands in the task
    library's own config: with ``paramwise_cfg``, ``clip_grad`` and a ``constructor``
    of its own, such as layer-wise decay. A network that the model's recipe never
    updates gets no optimizer, so that one config serves every recipe. ``type``,
    ``loss_scale`` and ``dtype`` beside the networks are for each of them; the type
    ``OptimWrapper`` there replaces none.

    Args:
        optim_wrapper_cfg: Config by the name of the network.
        paramwise_cfg: Not supported here; belongs into an entry.

    Raises:
        ConfigError: If ``paramwise_cfg`` is given, the model has no such network, or an
            optimizer is unknown.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        if paramwise_cfg:
            raise ConfigError(
                'paramwise_cfg stands beside the networks: put it into the entry of '
                f'the network that it is for ({list(optim_wrapper_cfg)})'
            )
        # OpenMMLab's tools set these beside the networks for --amp: they are for each.
        self.cfg = dict(optim_wrapper_cfg)
        self.defaults: dict[str, str] = {}
        self.shared = {key: self.cfg.pop(key) for key in _SHARED if key in self.cfg}
        if self.shared.get('type') == 'AmpOptimWrapper':
            self.shared['type'] = 'mmsr4ir.AmpOptimWrapper'
            if get_device() != 'cpu':  # as tools/train.py, and MMEngine, choose
                self.defaults['dtype'] = 'float16'
        elif self.shared.get('type') == 'OptimWrapper':
            del self.shared['type']  # the default; an entry may have another one

    def __call__(self, model: nn.Module) -> AccumulatingOptimWrappers:
        """Build the optimizers of a model, wrapped for distribution or not."""
        bare: SR4IR = unwrap(model)
        children = dict(bare.named_children())
        missing = set(self.cfg) - set(children)
        if missing:
            raise ConfigError(
                f'optim_wrapper has {sorted(missing)}, but the networks are '
                f'{[name for name in ("sr", "task") if name in children]}: settings '
                'are those of one network (optim_wrapper.task.optimizer.lr); a config '
                'whose base has another optim_wrapper needs _delete_=True in it'
            )
        for name, cfg in self.cfg.items():
            check_optimizer(f'optim_wrapper.{name}.optimizer', cfg.get('optimizer'))
        updated = {name for phase in bare.recipe for name in phase.update}
        wrappers = AccumulatingOptimWrappers(
            **{
                name: build_optim_wrapper(
                    unwrap(children[name]), {**self.defaults, **cfg, **self.shared}
                )
                for name, cfg in self.cfg.items()
                if name in updated
            }
        )
        for name, wrapper in wrappers.items():
            if wrapper.clip_grad_kwargs:  # else both would log under one name
                wrapper.grad_name = f'{wrapper.grad_name}_{name}'
        return wrappers


def check_optimizer(where: str, cfg: dict | None) -> None:
    """Check that the type of an optimizer is known; MMEngine's error does not say so.

    Args:
        where: Its key in the config.
        cfg: Its config.

    Raises:
        ConfigError: If it has no ``type``, or no optimizer is called so.
    """
    kind = (cfg or {}).get('type')
    with OPTIMIZERS.switch_scope_and_registry(None) as registry:
        is_known = kind and (not isinstance(kind, str) or registry.get(kind))
    if not is_known:
        close = difflib.get_close_matches(str(kind), OPTIMIZERS.module_dict, n=3)
        raise ConfigError(
            f'{where} has no type'
            if kind is None
            else f'{where}.type {kind!r}: no optimizer is called so'
            + (f'; did you mean {", ".join(close)}?' if close else '')
        )
