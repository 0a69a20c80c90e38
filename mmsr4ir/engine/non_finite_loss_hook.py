"""Stop a training whose loss is no number any more."""
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner, find_latest_checkpoint

from mmsr4ir.registry import HOOKS


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stop at the first NaN or infinite loss, before a checkpoint can be written.

    The check waits for the device once an iteration, as MMEngine's own logging does.
    """

    def after_train_iter(self, runner: Runner, batch_idx: int,
                         data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Look at every loss of the iteration.

        Raises:
            FloatingPointError: A loss is NaN or infinite; it is named, with the
                iteration and the last good checkpoint.
        """
        losses = {k: v for k, v in (outputs or {}).items() if 'loss' in k}
        if not losses or torch.isfinite(
                torch.stack([v.float() for v in losses.values()])).all():
            return
        bad = {k: v.item() for k, v in losses.items() if not torch.isfinite(v)}
        last = find_latest_checkpoint(runner.work_dir)
        raise FloatingPointError(
            f'iteration {runner.iter + 1} (epoch {runner.epoch + 1}): {bad}. Training '
            'stopped and this state was not saved. '
            + (f'The last good checkpoint is {last}.' if last else
               'No checkpoint was written before.')
            + ' Lower the learning rate or set clip_grad in optim_wrapper, and look at '
            'the images of this iteration.')
