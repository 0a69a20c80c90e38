"""Networks and data of a config without a Runner, for tools that only look at them."""

import copy
import os
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from torch.utils.data import DataLoader

from mmsr4ir.compat.checkpoint import load_from_local
from mmsr4ir.datasets.checks.sets import NOT_READ
from mmsr4ir.datasets.move_resize import move_resize
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.configs import config_values, read_config
from mmsr4ir.utils.errors import ConfigError

from .resume import last_checkpoint
from .runner import SR4IRRunner
from .zoo_checks import check_zoo


def build_model(cfg: Config, checkpoint: str | None = None) -> SR4IR:
    """Build both networks in eval mode, as the Runner does.

    Args:
        cfg: The whole config.
        checkpoint: File of a training. Without one the weights are random, and no
            file that ``init_cfg`` names is looked for.

    Returns:
        SR4IR: Its ``dataset_meta`` is what the checkpoint says of classes and colours,
        or None.

    Raises:
        ConfigError: If the model of the config is no SR4IR or cannot be built, or if
            the checkpoint does not fit it, or a package that the config asks for is
            missing.
    """
    check_zoo(cfg)
    move_resize(cfg)
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    model_cfg = ConfigDict(cfg.get('model') or {})
    if cfg.get('data_preprocessor') is not None:
        model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        model = MODELS.build(model_cfg) if model_cfg.get('type') else None
    except (ImportError, KeyError, TypeError) as error:
        raise ConfigError(f'the model cannot be built: {error.args[0]}') from error
    if not isinstance(model, SR4IR):
        raise ConfigError(
            f'the config has no mmsr4ir.SR4IR as its model but {model_cfg.get("type")}'
        )
    model.dataset_meta = None
    if checkpoint is not None:
        try:
            content = load_checkpoint(
                model, checkpoint, map_location='cpu', strict=True
            )
        except RuntimeError as error:
            raise ConfigError(
                f'{checkpoint} does not fit the config: {error}'
            ) from error
        model.dataset_meta = content.get('meta', {}).get('dataset_meta')
    return model.eval()


def find_run(
    model: Path, weights: str | Path | None
) -> tuple[Config, str | Path | None]:
    """Read a config and find its checkpoint.

    Args:
        model: A config file; or a work directory, of which the newest ``best_*.pth`` is
            taken, else what ``last_checkpoint`` names. The config is the one that the
            checkpoint was saved with (a test leaves its own in the folder); the newest
            in the folder where it holds none, or one that is more than values.
        weights: The checkpoint; None to take that of the work directory.

    Returns:
        tuple: The config, and the checkpoint or None.

    Raises:
        ConfigError: If ``model`` is neither a config nor a folder that holds one.
    """
    if model.is_file():
        return read_config(str(model)), weights
    configs = newest(model, '*.py')
    if not configs:
        raise ConfigError(
            f'{model} is neither a config nor a work directory with one (*.py)'
        )
    if weights is None:
        named: str | Path | None = last_checkpoint(model) or None
        # A work directory that was moved or copied: the file lies beside.
        if named:
            beside = model / Path(named).name
            if os.path.isfile(beside) or not os.path.isfile(named):
                named = beside
        weights = next(iter(newest(model, 'best_*.pth')), named)
    return saved_config(weights, configs[0]) or read_config(str(configs[0])), weights


def saved_config(weights: str | Path | None, name: Path) -> Config | None:
    """Return the config that a checkpoint was saved with, read as data.

    Args:
        weights: The checkpoint.
        name: Becomes the config's ``filename``.

    Returns:
        Config | None: None where the checkpoint holds none, or one that is code.
    """
    if weights is None or not os.path.isfile(weights):
        return None
    text = load_from_local(str(weights)).get('meta', {}).get('cfg')
    try:
        return Config(config_values(text), text, str(name)) if text else None
    except ValueError:
        return None  # it is code, which is not run


def newest(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder that match, the newest first."""
    return sorted(
        folder.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True
    )


def build_loader(
    cfg: Config, split: str, batch_size: int | None = None, workers: bool = False
) -> DataLoader:
    """Build a dataloader.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``.
        batch_size: Another one than the config's.
        workers: Whether to have the config's worker processes or none.

    Raises:
        ConfigError: If the config has no such dataloader, or its data cannot be read.
    """
    move_resize(cfg)
    options = cfg.get(f'{split}_dataloader')
    if options is None:
        raise ConfigError(f'the config has no {split}_dataloader')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    options = ConfigDict(options)
    if not workers:
        options.num_workers = 0
    if batch_size is not None:
        options.pop('batch_sampler', None)
        options.batch_size = batch_size
    try:
        return SR4IRRunner.build_dataloader(options, seed=0)
    except NOT_READ as error:
        raise ConfigError(f'{split}_dataloader: {error}') from error


def first_batch(cfg: Config, split: str) -> dict:
    """Load the first image of a split, as a batch of one.

    Args:
        cfg: The whole config.
        split: ``'train'``, ``'val'`` or ``'test'``.

    Raises:
        ConfigError: If the config has no such dataloader, or its first image cannot be
            read.
    """
    try:
        return next(iter(build_loader(copy.deepcopy(cfg), split, batch_size=1)))
    except (*NOT_READ, StopIteration) as error:
        raise ConfigError(
            f'the first image of {split}_dataloader cannot be read, so give the size '
            f'of the images (--shape HEIGHT WIDTH): {error}'
        ) from error
