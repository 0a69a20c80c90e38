"""A progress bar in the terminal."""

import atexit
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mmsr4ir.engine.log_processor import number, phase_losses, stage_text
from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.recipes import active_phases
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import HOOKS


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Draw a progress bar below the log lines.

    It shows the epoch (or iteration), the stage, each phase's loss, smoothed as in the
    log lines, and the time left until the end of the training; in a validation or test
    the time left of that. It is off unless a config has

    .. code-block:: python

        default_hooks = dict(progress_bar=dict(type='mmsr4ir.ProgressBarHook'))

    or ``tools/train.py`` is called with ``--progress-bar``. Only the first process
    draws, and only in a terminal: a file gets the log lines alone.

    Args:
        interval: Seconds between two drawings, at least.
    """

    priority = 'LOW'  # after the losses and times are known

    def __init__(self, interval: float = 0.1) -> None:
        self.interval = interval
        self._progress: Progress | None = None
        self._drawn = 0.0
        self._undo = ExitStack()

    def before_run(self, runner: Runner) -> None:
        """Begin, if this is the first process and there is a terminal."""
        if not is_main_process():
            return
        console = Console()
        # Rich takes a file for a terminal where FORCE_COLOR is set.
        if not sys.stdout.isatty() or not console.is_interactive:
            print_log('No progress bar: the output is no terminal', 'current')
            return
        # No thread that draws: a worker process that is forked while such a thread
        # writes would wait for it forever.
        progress = Progress(
            TextColumn('{task.description}', markup=False),
            BarColumn(20),
            MofNCompleteColumn(),
            TextColumn('{task.fields[text]}', markup=False),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),
        )
        progress.add_task('', text='')
        self._progress = progress
        terminal = sys.stdout
        atexit.register(self._undo.close)  # after an error there is no after_run
        self._undo.callback(atexit.unregister, self._undo.close)
        self._undo.callback(progress.stop)
        progress.start()
        console.show_cursor()  # which a process that is killed would leave hidden
        # What is printed from here on goes above the bar. The logger holds the terminal
        # itself.
        for handler in runner.logger.handlers:
            if getattr(handler, 'stream', None) is terminal:
                self._undo.callback(handler.setStream, terminal)
                handler.setStream(sys.stdout)

    def after_run(self, runner: Runner) -> None:
        """Take the bar away."""
        self._undo.close()
        self._progress = None

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Show the iteration and its losses."""
        total = len(runner.train_dataloader)
        title, done = f'epoch {runner.epoch + 1}/{runner.max_epochs}', batch_idx + 1
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            title, done, total = 'iteration', runner.iter + 1, runner.max_iters
        if not self._is_due(done, total):
            return
        model: SR4IR = unwrap(runner.model)
        window = runner.log_processor.window_size
        losses = {
            key: runner.message_hub.get_scalar(f'train/{key}').mean(window)
            for key in outputs or {}
        }
        facts = [stage_text(model.recipe, model.stage)]
        for phase in active_phases(model.recipe, model.stage):
            if f'{phase.name}/loss' not in losses:
                continue  # a phase before it was skipped
            loss = sum(phase_losses(phase, model.stage, losses).values())
            facts.append(f'{phase.name} {number(loss)}')
        self._draw(runner, title, done, total, facts)

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | dict | None = None,
        mode: str = 'train',
    ) -> None:
        """Show the batch of a validation or test."""
        loader = runner.val_dataloader if mode == 'val' else runner.test_dataloader
        done, total = batch_idx + 1, len(loader)
        if self._is_due(done, total):
            title = 'validation' if mode == 'val' else 'test'
            self._draw(runner, title, done, total, [])

    def _is_due(self, done: int, total: int) -> bool:
        return self._progress is not None and (
            done == total or time.monotonic() - self._drawn >= self.interval
        )

    def _draw(
        self, runner: Runner, title: str, done: int, total: int, facts: list[str]
    ) -> None:
        self._drawn = time.monotonic()
        eta = runner.message_hub.runtime_info.get('eta')
        if eta is not None:  # it is there with IterTimerHook
            facts = [*facts, f'{timedelta(seconds=int(eta))} left']
        assert self._progress is not None  # _is_due
        (bar,) = self._progress.task_ids
        self._progress.update(
            bar,
            description=title,
            completed=done,
            total=total,
            text=' | '.join(filter(None, facts)),
            refresh=True,
        )
