"""Refuse a checkpoint of another architecture."""
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmsr4ir.models.sr4ir import unwrap
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
        model = unwrap(runner.model).state_dict()
        model = {k: v.shape for k, v in model.items()}
        loaded = checkpoint.get('state_dict', checkpoint)
        loaded = {k.removeprefix('module.'): tuple(v.shape) for k, v in loaded.items()}
        missing = [k for k in model if k not in loaded]
        foreign = [k for k in loaded if k not in model]
        shapes = [
            f'{k} {loaded[k]} instead of {tuple(model[k])}' for k in model
            if k in loaded and loaded[k] != tuple(model[k])
        ]
        found = [
            f'{len(names)} {what}, such as {names[0]}' for names, what in (
                (missing, 'missing'), (foreign, 'unknown'),
                (shapes, 'of another shape')) if names
        ]
        if found:
            raise ValueError(
                'the checkpoint holds another architecture than the config: tensors '
                + '; '.join(found) + '. Use the config it was trained with; to load '
                'only one network, set model.sr.init_cfg or model.task.init_cfg; to '
                'load what fits, set default_hooks.checkpoint_match.strict=False.')
