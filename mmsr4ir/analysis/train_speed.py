"""Time a training iteration as the Runner does it, and the parts that it needs.

The parts follow from the recipe. Each is run alone, on the networks and batches of the
iterations, so that what an iteration takes beyond their sum is overhead.
"""

import itertools
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, redirect_stdout, suppress
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import Tensor, nn

from mmsr4ir.compat.mmengine_parts import accumulative_counts
from mmsr4ir.engine.exact_loops import use_exact_loops
from mmsr4ir.engine.runner import SR4IRRunner
from mmsr4ir.models.batch import Batch
from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.features import frozen
from mmsr4ir.models.recipes import NETWORKS, LossTerm, Phase
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.utils.errors import ConfigError

from .speed import Laps, PeakHook, endless

_NEVER = 10**9


class _ReadyError(Exception):
    """Raised to leave ``Runner.train`` when the first iteration would come."""


class Steps:
    """A Runner that is ready to train, and does an iteration when it is told to.

    Loop, optimizers, schedules and hooks are those of ``tools/train.py``; checkpoints
    and validation are off. Weights are random unless ``load_from`` names a checkpoint:
    no file that ``init_cfg`` names is looked for. What goes to the console in a
    training is written to a file.

    Args:
        cfg: The whole config; it is changed.
        folder: An empty work directory. Its name must be a new one.
        stage: Stage of the recipe, ``'warmup'`` or ``'main'``.

    Raises:
        ConfigError: If the config's loop is not one of MMEngine's two, or a part of
            the config does not take or lacks an argument.
    """

    def __init__(self, cfg: Config, folder: Path, stage: str = 'main') -> None:
        init_default_scope(cfg.get('default_scope') or 'mmengine')
        _only_train(cfg, folder, stage)
        with redirect_stdout(open(folder / 'console.txt', 'w')):  # noqa: SIM115
            try:
                self._start(cfg, stage)
            except (TypeError, KeyError) as error:
                raise ConfigError(f'the config cannot be built: {error}') from error
        self.loop = self.runner.train_loop
        self.runner.call_hook('before_train_epoch')
        self.loop.start()
        self.model.train()
        self.outputs: dict[str, Tensor] = {}
        self.done = 0

    def _start(self, cfg: Config, stage: str) -> None:
        """Build everything, up to where the first iteration would come."""
        self.runner = SR4IRRunner.from_cfg(cfg)
        # An instance's own attribute: the files of init_cfg are not looked for.
        self.model.init_weights = lambda: None  # type: ignore[method-assign]
        self.model.stage = stage
        self.runner.register_hook(_Watch(self))
        self.runner.register_hook(PeakHook())
        with suppress(_ReadyError):
            self.runner.train()

    @property
    def model(self) -> SR4IR:
        """Return the model without the wrappers of distributed training."""
        return unwrap(self.runner.model)

    def batches(self) -> Iterator[dict]:
        """Yield the loop's batches, epoch after epoch."""
        return endless(self.loop.dataloader)

    def hold(self) -> None:
        """Set the learning rates to 0 for one iteration: the work stays the same."""
        for wrapper in self.runner.optim_wrapper.values():
            for group in wrapper.optimizer.param_groups:
                group['lr'] = 0.0

    def iterate(self, data: dict) -> None:
        """Do an iteration of the training, with its hooks, on a batch."""
        place = () if isinstance(self.loop, IterBasedTrainLoop) else (self.done,)
        self.loop.run_iter(*place, data)
        self.done += 1

    def run_hooks(self, data: dict) -> None:
        """Do the last iteration again without its train step: hooks and logs alone."""
        where = dict(batch_idx=self.done - 1, data_batch=data)
        self.runner.call_hook('before_train_iter', **where)
        self.runner.call_hook('after_train_iter', **where, outputs=self.outputs)


class _Watch(Hook):
    """A hook that ends ``train`` before the first iteration, and keeps the outputs."""

    priority = 'LOWEST'

    def __init__(self, steps: Steps) -> None:
        self.steps = steps

    def before_train(self, runner: Runner) -> None:
        raise _ReadyError

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        self.steps.outputs = outputs or {}


def _only_train(cfg: Config, folder: Path, stage: str) -> None:
    """Remove everything from a config that is not part of an iteration."""
    use_exact_loops(cfg)
    if not cfg.train_cfg.type.startswith('mmsr4ir.Exact'):
        raise ConfigError(
            f'train_cfg.type {cfg.train_cfg.type!r}: only the loops of tools/train.py '
            '(EpochBasedTrainLoop, IterBasedTrainLoop) can be timed'
        )
    settings = {
        'work_dir': str(folder),
        'experiment_name': folder.name,
        'resume': False,
        'default_hooks.checkpoint': None,
        'randomness.seed': (cfg.get('randomness') or {}).get('seed') or 0,
    }
    for split in ('val', 'test'):
        for part in ('dataloader', 'cfg', 'evaluator'):
            settings[f'{split}_{part}'] = None
    if cfg.get('visualizer'):  # MMEngine keeps them by name, for the whole process
        settings['visualizer.name'] = folder.name
    if (cfg.get('default_hooks') or {}).get('alternate'):
        settings['default_hooks.alternate.warmup'] = 0 if stage == 'main' else _NEVER
    cfg.merge_from_dict(settings)


def time_input(
    steps: Steps, batches: Iterator[dict], iterations: int, warmup: int
) -> dict[str, float]:
    """Time how long the training waits for its batches.

    Args:
        steps: The training.
        batches: Its batches.
        iterations: Counted ones.
        warmup: Iterations before them.

    Returns:
        dict: ``waiting`` for data, and ``iteration`` without the waiting. These are
        means in seconds a batch, because workers deliver in bursts.
    """
    laps = Laps(warmup)
    for _ in range(warmup + iterations):
        laps.start()
        data = next(batches)
        laps.lap('waiting')
        steps.hold()
        laps.skip()
        steps.iterate(data)
        laps.lap('iteration')
        laps.finish(len(data['inputs']))
    return {name: statistics.fmean(seconds) for name, seconds in laps.seconds.items()}


def time_parts(steps: Steps, batches: Iterator[dict], iterations: int) -> Laps:
    """Time iterations and parts in turns, so that a drift of the machine hits both.

    The learning rates are 0: an update costs the same, and the work stays the same.

    Args:
        steps: The training, after its warm-up.
        batches: Its batches.
        iterations: How many batches are worked on.

    Returns:
        Laps: ``iteration``, without waiting for data, and each part on the same batch.
    """
    laps = Laps()
    run_each_part(steps, next(batches), Laps())  # their warm-up
    for data in itertools.islice(batches, iterations):
        steps.hold()
        laps.start()
        steps.iterate(data)
        laps.lap('iteration')
        run_each_part(steps, data, laps)
        laps.finish(len(data['inputs']))
    return laps


def ratios(laps: Laps, steps: Steps, waiting: float) -> list[float]:
    """Compute how many times as long as its parts each iteration takes.

    Waiting for data counts as overhead where workers load beside the iteration, and as
    a part of it without workers.

    Args:
        laps: See :func:`time_parts`.
        steps: The training.
        waiting: For data, in seconds an iteration.
    """
    needed = 0.0 if steps.loop.dataloader.num_workers else waiting
    rounds = zip(*laps.seconds.values(), strict=True)
    return [(whole + waiting) / (sum(parts) + needed) for whole, *parts in rounds]


def run_each_part(steps: Steps, data: dict, laps: Laps) -> None:
    """Run each part of an iteration alone.

    Networks are frozen and gradients dropped outside of the time of the parts. Each
    loss of the recipe is a part, the pixel loss together with the SR network.

    Raises:
        ConfigError: If gradients are accumulated, so that not every iteration has
            updates.
    """
    model, wrappers = steps.model, steps.runner.optim_wrapper
    if any(accumulative_counts(wrapper) > 1 for wrapper in wrappers.values()):
        raise ConfigError(
            'the parts of an iteration are timed with an update in each: '
            'set accumulative_counts=1 in optim_wrapper.sr and .task'
        )
    steps.hold()
    laps.start()
    data = model.data_preprocessor(data, True)
    batch = model.prepare(data['inputs'], data['data_samples'])
    laps.lap('HR and LR images')
    for phase in model.recipe:
        if phase.during in ('all', model.stage):
            seen = batch.first(phase.share)
            _Parts(steps, phase, seen, laps).run()
            batch.sr = seen.sr
    laps.skip()
    steps.run_hooks(data)
    laps.lap('logging and other hooks')


class _Parts:
    """The parts of one phase."""

    def __init__(self, steps: Steps, phase: Phase, batch: Batch, laps: Laps) -> None:
        self.model, self.wrappers = steps.model, steps.runner.optim_wrapper
        self.phase, self.batch, self.laps = phase, batch, laps
        self.terms = phase.active_losses(self.model.stage)
        self.teaches_sr = 'sr' in phase.update

    def run(self) -> None:
        with ExitStack() as stack:
            for name in set(NETWORKS) - set(self.phase.update):
                keep_mode = name == 'sr' and self.phase.sr_in_train_mode
                stack.enter_context(frozen(getattr(self.model, name), keep_mode))
            if any(term.needs_sr for term in self.terms):
                self.super_resolve()
            for term in self.terms:
                if term.name != 'pixel':  # it is timed with the SR network
                    self.learn(term)
            for name in self.phase.update:
                self.laps.skip()
                self.wrappers[name].step()
                self.wrappers[name].zero_grad()
                self.lap(f'optimizer of {name}')

    def super_resolve(self) -> None:
        """Run the SR network, backward too where it learns; keep SR as a leaf."""
        if self.phase.reuse_sr:
            return
        self.drop_gradients(self.model.sr)
        with self.precision(), torch.set_grad_enabled(self.teaches_sr):
            self.batch.sr = sr = self.model.super_resolve_batch(self.batch)
            loss = self.model.compare_pixels(self.batch) if self.teaches_sr else None
        if loss is not None:
            loss.backward()
        self.lap('S forward, pixel loss, backward' if self.teaches_sr else 'S forward')
        self.batch.sr = sr.detach().requires_grad_(self.teaches_sr)

    def learn(self, term: LossTerm) -> None:
        """Compute a loss, backward to the weights of the task network or to SR."""
        self.drop_gradients(self.model.task)
        with self.precision():
            parts = self.model.term_losses(term, self.batch)
            loss = torch.stack([v for name, v in parts.items() if 'loss' in name]).sum()
        loss.backward()
        self.lap(f'{term.name}, forward and backward')

    def precision(self) -> ExitStack:
        """Enter what the phase's optimizers want around a forward pass (AMP)."""
        with ExitStack() as contexts:
            for name in self.phase.update:
                contexts.enter_context(
                    self.wrappers[name].optim_context(getattr(self.model, name))
                )
            return contexts.pop_all()

    def drop_gradients(self, network: nn.Module) -> None:
        for parameter in network.parameters():
            parameter.grad = None
        self.laps.skip()

    def lap(self, name: str) -> None:
        self.laps.lap(f'{self.phase.name}: {name}')
