"""What a checkpoint must hold so that a training can continue from it."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.optim import OptimWrapperDict
from mmengine.runner import Runner

from mmsr4ir.compat.mmengine_parts import loaded_from
from mmsr4ir.utils.configs import config_values
from mmsr4ir.utils.errors import ConfigError

#: Parts of a config that a training depends on.
_COMPARED = (
    'model',
    'optim_wrapper',
    'param_scheduler',
    'train_cfg',
    'train_dataloader',
)
#: Settings of a loader that change nothing but its speed.
_SPEED = {'num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor'}


def check_state(runner: Runner, checkpoint: Mapping) -> None:
    """Check that a checkpoint is that of a training with the same recipe.

    Raises:
        ConfigError: If the checkpoint has weights alone, is of a training that updates
            other networks, or has averaged weights that nothing would take up.
    """
    path = loaded_from(runner)
    start = (
        f'To start from its weights: --cfg-options load_from={path}, without --resume'
    )
    meta = checkpoint.get('meta')
    parts = dict(
        epoch=isinstance(meta, Mapping) and 'epoch' in meta,
        iter=isinstance(meta, Mapping) and 'iter' in meta,
        **{
            key: key in checkpoint
            for key in ('message_hub', 'optimizer', 'param_schedulers')
        },
    )
    if runner.param_schedulers is None:
        del parts['param_schedulers']
    missing = [key for key, there in parts.items() if not there]
    if missing:
        raise ConfigError(
            f'checkpoint {path} is not that of a training to go on with: '
            f'it lacks {missing}, as a best_*.pth does and what was published. {start}'
        )
    if isinstance(runner.optim_wrapper, OptimWrapperDict):
        found, own = set(checkpoint['optimizer']), set(runner.optim_wrapper.keys())
        if found != own:
            raise ConfigError(
                f'checkpoint {path} is of a training that updates '
                f'{sorted(found)}, and the recipe of the config updates {sorted(own)}. '
                f'{start}'
            )
    if 'ema_state_dict' in checkpoint and not any(
        isinstance(hook, EMAHook) for hook in runner.hooks
    ):
        raise ConfigError(
            f'the weights of checkpoint {path} are averages (EMAHook), '
            'which a training without that hook would go on from: put the hook back '
            f'into the config. {start}'
        )


def config_changes(runner: Runner, checkpoint: Mapping) -> list[str]:
    """List how the config differs from the one that a checkpoint was trained with.

    Returns:
        list[str]: Such as ``'train_cfg.max_epochs: 4 -> 8'``; of the parts that a
        training depends on.
    """
    text = checkpoint.get('meta', {}).get('cfg')
    if not isinstance(text, str):
        return []
    try:
        before, now = config_values(text), config_values(runner.cfg.pretty_text)
    except ValueError:  # a config need not be all values; it just is not compared
        return []
    before, now = (
        dict(_leaves({key: cfg.get(key) for key in _COMPARED})) for cfg in (before, now)
    )
    return [
        f'{key}: {before.get(key, "not set")} -> {now.get(key, "not set")}'
        for key in {**before, **now}
        if before.get(key, _leaves) != now.get(key, _leaves)
        and key.rpartition('.')[2] not in _SPEED
    ]


def _leaves(value: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the values in a nested config by their dotted names."""
    items = (
        value.items()
        if isinstance(value, Mapping)
        else (enumerate(value) if isinstance(value, list | tuple) else ())
    )
    if not items or not len(value):
        yield name, value
    for key, inner in items:
        yield from _leaves(inner, f'{name}.{key}' if name else str(key))


def keep_to_own_best(runner: Runner, checkpoint: Mapping) -> None:
    """Leave the best checkpoint of another run alone.

    When there is a better checkpoint, MMEngine's ``CheckpointHook`` removes the best
    one so far, whose path is stored in the resumed checkpoint. If a run continues in
    another folder, this path names a file of the original run. A copy in the run's own
    folder takes its place; without a copy, the search for the best begins again.
    """
    info = checkpoint['message_hub'].get('runtime_info', {})
    hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    folder = runner.work_dir
    if hooks and hooks[0].out_dir not in (None, folder):
        folder = os.path.join(hooks[0].out_dir, os.path.basename(folder.rstrip(os.sep)))
    for key in [key for key in info if key.startswith('best_ckpt')]:
        name = os.path.basename(str(info[key]))
        own = os.path.join(folder, name)
        if os.path.realpath(str(info[key])) == os.path.realpath(own):
            continue
        if os.path.isfile(own):
            info[key] = own
        else:
            del info[key]
            info.pop(key.replace('best_ckpt', 'best_score', 1), None)
