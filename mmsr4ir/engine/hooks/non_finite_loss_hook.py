"""Stop a training whose loss is NaN or infinite, or skip a few such batches."""

import logging

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner, find_latest_checkpoint

from mmsr4ir.compat.mmengine_parts import is_resumed, leave_out_of_log, loaded_from
from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import HOOKS
from mmsr4ir.utils.errors import ConfigError


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stop at the first NaN or infinite loss, before a checkpoint can be written.

    The check waits for nothing: ``SR4IR.train_step`` has copied the losses to the CPU,
    all at once, for this hook and MMEngine's log.

    Args:
        max_skipped: How many batches with such a loss a whole training may skip; one
            more stops the training. A phase with such a loss updates nothing and leaves
            the buffers as before, and the phases after it do not run in that iteration.
            If the number is above 0, each phase waits for the device once.
    """

    def __init__(self, max_skipped: int = 0) -> None:
        if max_skipped < 0:
            raise ConfigError(f'max_skipped cannot be negative, got {max_skipped}')
        self.max_skipped = max_skipped

    def before_train(self, runner: Runner) -> None:
        """Tell the model whether to look at a loss before it updates."""
        model: SR4IR = unwrap(runner.model)
        model.skip_non_finite = self.max_skipped > 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at every loss of the iteration.

        Raises:
            FloatingPointError: If a loss is NaN or infinite and no more batches may be
                skipped. The message names the loss, the iteration and the last good
                checkpoint.
        """
        outputs = outputs or {}
        losses = {k: v for k, v in outputs.items() if 'loss' in k}
        finite = (
            not losses
            or torch.isfinite(torch.stack([v.float() for v in losses.values()])).all()
        )
        # If one process has such a loss, all skip: the model reports NaN on each.
        if finite:
            return
        bad = {k: v.item() for k, v in losses.items() if not torch.isfinite(v)}
        where = f'iteration {runner.iter + 1} (epoch {runner.epoch + 1}): {bad}'
        # It is in the message hub to go with the checkpoints.
        skipped = runner.message_hub.runtime_info.get('skipped_batches', 0) + 1
        runner.message_hub.update_info('skipped_batches', skipped)
        if skipped <= self.max_skipped:
            leave_out_of_log(runner.message_hub, bad)
            print_log(
                f'{where}. Skipped, {skipped} of at most {self.max_skipped}.',
                'current',
                logging.WARNING,
            )
            return
        last = find_latest_checkpoint(runner.work_dir)
        if last is None and is_resumed(runner):  # into another folder
            last = loaded_from(runner)
        raise FloatingPointError(
            f'{where}. Training stopped and this state was not saved. '
            + (
                f'The last good checkpoint is {last}.'
                if last
                else 'No checkpoint was written before.'
            )
            + ' Lower the learning rate or set clip_grad in optim_wrapper, and look at '
            'the images of this iteration. To skip a few such batches, set '
            'default_hooks.non_finite_loss.max_skipped.'
        )
