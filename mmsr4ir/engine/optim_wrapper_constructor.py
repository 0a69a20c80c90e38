"""One optimizer for each network."""
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from torch import nn

from mmsr4ir.models.sr4ir import unwrap
from mmsr4ir.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PerNetworkOptimWrapperConstructor:
    """Build an ``OptimWrapperDict`` with one entry for each named child of the model.

    Each entry is a full ``optim_wrapper`` config, taken as it stands in the task
    library's own config: with ``paramwise_cfg``, ``clip_grad`` and a ``constructor``
    of its own, such as layer-wise decay. A network that the model's recipe never
    updates gets no optimizer, so that one config serves every recipe.

    Args:
        optim_wrapper_cfg: Config by the name of the network.
        paramwise_cfg: Not supported here; belongs into an entry.

    Raises:
        ValueError: ``paramwise_cfg`` is given, or the model has no such network.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
                 ) -> None:
        if paramwise_cfg:
            raise ValueError(
                'paramwise_cfg stands beside the networks: put it into the entry of '
                f'the network that it is for ({list(optim_wrapper_cfg)})')
        self.cfg = optim_wrapper_cfg

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        """Build the optimizers of a model, wrapped for distribution or not."""
        model = unwrap(model)
        children = dict(model.named_children())
        missing = set(self.cfg) - set(children)
        if missing:
            raise ValueError(
                f'optim_wrapper has {sorted(missing)}, but the networks are '
                f"{[name for name in ('sr', 'task') if name in children]}")
        updated = {name for phase in model.recipe for name in phase.update}
        return OptimWrapperDict(**{
            name: build_optim_wrapper(unwrap(children[name]), cfg)
            for name, cfg in self.cfg.items() if name in updated
        })
