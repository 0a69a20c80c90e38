"""Refuse a checkpoint of another architecture, or of another training."""

from logging import WARNING

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmsr4ir.compat.mmengine_parts import is_resumed
from mmsr4ir.engine.exact_loops import ExactEpochLoop, ExactIterLoop
from mmsr4ir.engine.resumed_state import check_state, config_changes, keep_to_own_best
from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.weights import mismatch
from mmsr4ir.registry import HOOKS
from mmsr4ir.utils.errors import ConfigError


@HOOKS.register_module()
class CheckpointMatchHook(Hook):
    """Compare a checkpoint with the model before it is loaded.

    MMEngine loads what fits and only warns of the rest, so that a test of the wrong
    file ends in a table of meaningless numbers. A checkpoint that a training goes on
    from must also hold all of its state, see :mod:`~mmsr4ir.engine.resumed_state`.

    Args:
        strict: Whether every tensor must be there with the same shape. Set it to
            False to start from a part of a checkpoint, as when fine-tuning to other
            classes.
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the names and shapes of all tensors, and what else is resumed.

        Raises:
            ConfigError: If a tensor differs; if not ``strict``, if no tensor fits. Or
                if a training cannot go on from the checkpoint.
        """
        if not isinstance(checkpoint, dict):
            raise ConfigError(
                f'the file holds a {type(checkpoint).__name__} and is no checkpoint'
            )
        if is_resumed(runner):
            check_state(runner, checkpoint)
            keep_to_own_best(runner, checkpoint)
            loop = runner.train_loop
            if not isinstance(loop, ExactEpochLoop | ExactIterLoop):
                print_log(
                    f'{type(loop).__name__} goes on with other random numbers than an '
                    'uninterrupted training would: the two differ. They are equal with '
                    "runner_type = 'mmsr4ir.SR4IRRunner' in the config",
                    'current',
                    WARNING,
                )
            changes = config_changes(runner, checkpoint)
            if changes:
                more = f' and {len(changes) - 8} more' if len(changes) > 8 else ''
                print_log(
                    'The config differs from that of the checkpoint to go on from: '
                    f'{"; ".join(changes[:8])}{more}. Optimizers with their learning '
                    'rates and schedules go on with the settings of the checkpoint, '
                    'all else with those of the config',
                    'current',
                    WARNING,
                )
        loaded = checkpoint.get('state_dict', checkpoint)
        loaded = {k.removeprefix('module.'): v for k, v in loaded.items()}
        own = unwrap(runner.model).state_dict()
        if not self.strict:
            if not any(
                name in loaded and loaded[name].shape == value.shape
                for name, value in own.items()
            ):
                raise ConfigError(
                    'no tensor of the checkpoint fits the model, although '
                    'checkpoint_match.strict=False: its names begin with '
                    f'{sorted({name.split(".")[0] for name in loaded})[:5]}. The file '
                    'of one network belongs into model.sr.init_cfg or '
                    'model.task.init_cfg'
                )
            return
        found = mismatch(own, loaded)
        if found:
            raise ConfigError(
                'the checkpoint holds another architecture than the config: tensors '
                f'{found}. Use the config it was trained with; to load '
                'only one network, set model.sr.init_cfg or model.task.init_cfg; to '
                'load what fits, set default_hooks.checkpoint_match.strict=False.'
            )
