"""Hooks that only one process heeds; imported by a test's config."""

import os
import signal
import time
from pathlib import Path

from mmengine.dist import get_rank, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Die(Hook):
    """End process 1 once, before an iteration.

    Args:
        before: The iteration, from 0.
        how: ``'error'``; ``'kill'``, SIGKILL; or ``'launcher'``, which then gets it.
        mark: A file that says that it has been done.
    """

    def __init__(self, before: int, how: str, mark: str) -> None:
        self.before, self.how, self.mark = before, how, Path(mark)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if get_rank() != 1 or runner.iter != self.before or self.mark.exists():
            return
        self.mark.touch()
        if self.how == 'error':
            raise RuntimeError('process 1 has an error of its own')
        os.kill(os.getppid() if self.how == 'launcher' else os.getpid(), signal.SIGKILL)
        time.sleep(10)  # it is not to come so far


@HOOKS.register_module()
class LogAlone(Hook):
    """Log something that the other processes do not."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if is_main_process():
            runner.message_hub.update_scalar('train/mine', 7.0)
