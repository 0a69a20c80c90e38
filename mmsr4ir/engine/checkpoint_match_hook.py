"""Refuse a checkpoint of another architecture."""
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsr4ir.models.sr4ir import unwrap
from mmsr4ir.models.weights import mismatch
from mmsr4ir.registry import HOOKS


@HOOKS.register_module()
class CheckpointMatchHook(Hook):
    """Compare a checkpoint with the model before it is loaded.

    MMEngine loads what fits and only warns of the rest, so that a test of the wrong
    file ends in a table of meaningless numbers.

    Args:
        strict: Whether every tensor must be there with the same shape. Set it to
            False to start from a part of a checkpoint, as when fine-tuning to other
            classes.
    """

    def __init__(self, strict: bool = True) -> None:
        self.strict = strict

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare the names and shapes of all tensors.

        Raises:
            ValueError: They differ.
        """
        if not self.strict:
            return
        loaded = checkpoint.get('state_dict', checkpoint)
        loaded = {k.removeprefix('module.'): v for k, v in loaded.items()}
        found = mismatch(unwrap(runner.model).state_dict(), loaded)
        if found:
            raise ValueError(
                'the checkpoint holds another architecture than the config: tensors '
                f'{found}. Use the config it was trained with; to load '
                'only one network, set model.sr.init_cfg or model.task.init_cfg; to '
                'load what fits, set default_hooks.checkpoint_match.strict=False.')
