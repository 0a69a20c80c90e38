"""Networks and data of a config without a Runner, for tools that only look at them."""
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner, load_checkpoint
from torch.utils.data import DataLoader

from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import MODELS

# What the datasets of the task libraries raise when their files are not as expected.
NO_DATA = (OSError, ValueError, KeyError, AssertionError, RuntimeError)


def build_model(cfg: Config, checkpoint: str | None = None) -> SR4IR:
    """Build both networks in eval mode, as the Runner does.

    Args:
        cfg: The whole config.
        checkpoint: File of a training. Without one the weights are random, and no
            file that ``init_cfg`` names is looked for.

    Raises:
        ValueError: The config's model is no SR4IR, or the checkpoint is of another.
    """
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model_cfg = ConfigDict(cfg.get('model') or {})
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(model_cfg) if model_cfg.get('type') else None
    if not isinstance(model, SR4IR):
        raise ValueError(
            f'the config has no mmsr4ir.SR4IR as its model but {model_cfg.get("type")}')
    if checkpoint is not None:
        try:
            load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
        except RuntimeError as error:
            raise ValueError(
                f'{checkpoint} does not fit the config: {error}') from error
    return model.eval()


def build_loader(cfg: Config, split: str, batch_size: int | None = None,
                 workers: bool = False) -> DataLoader:
    """Build a dataloader.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``.
        batch_size: Another one than the config's.
        workers: Whether to have the config's worker processes or none.

    Raises:
        ValueError: The config has no such dataloader, or its data cannot be read.
    """
    options = cfg.get(f'{split}_dataloader')
    if options is None:
        raise ValueError(f'the config has no {split}_dataloader')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    options = ConfigDict(options)
    if not workers:
        options.update(num_workers=0, persistent_workers=False)
        options.pop('prefetch_factor', None)
    if batch_size is not None:
        options.pop('batch_sampler', None)
        options.batch_size = batch_size
    try:
        return Runner.build_dataloader(options, seed=0)
    except NO_DATA as error:
        raise ValueError(f'{split}_dataloader: {error}') from error
