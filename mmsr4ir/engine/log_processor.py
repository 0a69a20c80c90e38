"""Log lines that a person can read at once.

MMEngine writes every logged value into one line, which is more than 500 characters long
with a detector as the task network. Here the losses are added up by phase and by loss,
as the recipe (:mod:`mmsr4ir.models.recipes`) names them.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta

import torch
from mmengine.dist import all_gather_object, all_reduce_dict, get_world_size
from mmengine.runner import LogProcessor, Runner

from mmsr4ir.compat.mmengine_parts import is_training
from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.recipes import Phase, active_phases
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import LOG_PROCESSORS

_TIMES = ('time', 'data_time')


@LOG_PROCESSORS.register_module()
class PhaseLogProcessor(LogProcessor):
    """One short line for each log interval, and one for each validation or test.

    .. code-block:: text

        Epoch 3/6 [20/30] | eta 0:01:43, 0.952 s/it (data 0.0154) | learning rate sr
        5.99e-04, task 5.99e-04 | main, TDP on | loss sr 0.9113 = pixel 0.05140 + tdp
        0.8599 | loss task 1.658 = sr 0.5581 + hr 0.5447 + mix 0.5552

        Val epoch 6/6 | coco/bbox_mAP: 0.1740  coco/bbox_mAP_50: 0.4060 | sr/PSNR: 22.49
        sr/SSIM: 0.5491 | 0.526 s/it (data 0.0170)

    (each of them is one line). A phase's losses are weighted, as they are optimised;
    only those of the stage that the training is in are shown. A task loss (``sr``,
    ``hr``, ``mix``) is the sum of all losses that the task network has on that image.
    Each is smoothed as by MMEngine, and the phase's loss is their sum: where the stage
    changes, it differs for one window from the smoothed sum (``sr/loss``) in
    ``scalars.json``, in which iterations of both stages are mixed.

    A training logs the mean over its processes, which exchange their values only at
    each log interval; times are those of the first process. If a window reaches back
    over a resumption, its values from before the resumption are of the first process.

    The visual backends still get every single loss and all other values. Other logged
    values, such as gradient norms or an entry of ``custom_cfg`` with its own name, are
    at the end of the line. Of the phases' values, the line has only the losses.

    Args:
        num_digits: Significant digits of losses and metrics.
        kwargs: As for MMEngine's ``LogProcessor``.
    """

    def get_log_after_iter(
        self, runner: Runner, batch_idx: int, mode: str
    ) -> tuple[dict, str]:
        """Collect values as MMEngine does; write a line of our own."""
        self._shorten_history(runner, mode)
        tag, _ = super().get_log_after_iter(runner, batch_idx, mode)
        values = {key.removeprefix(f'{mode}/'): value for key, value in tag.items()}
        by_iteration = mode == 'train' and not self.by_epoch
        done, of = (
            (runner.iter + 1, runner.max_iters)
            if by_iteration
            else (batch_idx + 1, self._get_dataloader_size(runner, mode))
        )
        head = 'Iter ' if by_iteration else f'{self._head(runner, mode)} ['
        parts = [head + progress_text(done, of) + ('' if by_iteration else ']')]
        eta = runner.message_hub.runtime_info.get('eta')
        parts.append(
            ', '.join(
                [
                    *([] if eta is None else [f'eta {timedelta(seconds=int(eta))}']),
                    *self._speed(values),
                ]
            )
        )
        if mode == 'train':
            parts += self._training(runner, values)
        return tag, ' | '.join(filter(None, parts))

    def get_log_after_epoch(
        self, runner: Runner, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict, str]:
        """Collect values as MMEngine does; put the task's metrics first in the line."""
        self._shorten_history(runner, mode)
        tag, _ = super().get_log_after_epoch(runner, batch_idx, mode, with_non_scalar)
        values = {
            key.removeprefix(f'{mode}/'): value
            for key, value in {**tag, **self._collect_non_scalars(runner, mode)}.items()
        }
        metrics = [key for key in values if key not in _TIMES]
        quality = [key for key in metrics if key.startswith('sr/')]
        task = [key for key in metrics if key not in quality]
        parts = [
            '  '.join(f'{key}: {self._number(values[key])}' for key in keys)
            for keys in (task, quality)
        ]
        return tag, ' | '.join(
            filter(None, [self._head(runner, mode), *parts, *self._speed(values)])
        )

    def _collect_scalars(
        self,
        custom_cfg: list[dict],
        runner: Runner,
        mode: str,
        reserve_prefix: bool = False,
    ) -> dict:
        """Collect scalars as MMEngine does; of a training, their mean over processes.

        A value that only some processes log, such as that of a hook of the first one,
        stays as it is, because a mean would wait forever for the other processes.
        """
        values = super()._collect_scalars(custom_cfg, runner, mode, reserve_prefix)
        if mode != 'train' or get_world_size() == 1:
            return values
        shared = {
            key: torch.tensor(value, dtype=torch.float64)
            for key, value in values.items()
            if not key.endswith('.lr') and key.removeprefix('train/') not in _TIMES
        }
        known = set.intersection(*map(set, all_gather_object(list(shared))))
        shared = {key: shared[key] for key in sorted(known)}
        all_reduce_dict(shared, 'mean')
        return values | {key: value.item() for key, value in shared.items()}

    def _shorten_history(self, runner: Runner, mode: str) -> None:
        """Keep as many of the last values as the longest window needs.

        MMEngine keeps a million of each, in memory and in every checkpoint, and copies
        them in every iteration.
        """
        windows = [cfg.get('window_size') for cfg in self.custom_cfg]
        if not all(isinstance(window, int) for window in windows):
            return  # one may reach back to the start
        longest = max(
            self.window_size, self._get_dataloader_size(runner, mode), *windows
        )
        for key, history in runner.message_hub.log_scalars.items():
            if key.startswith(f'{mode}/'):
                history.max_length = longest

    def _head(self, runner: Runner, mode: str) -> str:
        """Say what the line is about, and in a training when."""
        if mode == 'test':
            return 'Test'
        if mode == 'val' and not is_training(runner):
            return 'Val'  # not within a training
        at = (
            f'epoch {progress_text(self._get_epoch(runner, mode), runner.max_epochs)}'
            if self.by_epoch
            else f'iter {progress_text(runner.iter, runner.max_iters)}'
        )
        return at.capitalize() if mode == 'train' else f'Val {at}'

    def _training(self, runner: Runner, values: Mapping[str, float]) -> list[str]:
        """List learning rates, stage, losses and whatever else is logged."""
        model: SR4IR = unwrap(runner.model)
        rates = [key for key in values if key.endswith('.lr')]
        parts = (
            [
                'learning rate '
                + ', '.join(
                    f'{key.removesuffix(".lr")} {values[key]:.2e}' for key in rates
                )
            ]
            if rates
            else []
        )
        parts.append(stage_text(model.recipe, model.stage))
        named = {cfg['log_name'] for cfg in self.custom_cfg if 'log_name' in cfg}
        logged = {key: value for key, value in values.items() if key not in named}
        for phase in active_phases(model.recipe, model.stage):
            if not any(key.startswith(f'{phase.name}/') for key in logged):
                continue  # all batches so far were skipped before it
            losses = phase_losses(phase, model.stage, logged)
            terms = ' + '.join(
                name if len(losses) == 1 else f'{name} {self._number(value)}'
                for name, value in losses.items()
            )
            total = self._number(sum(losses.values()))
            parts.append(f'loss {phase.name} {total} = {terms}')
        known = {*rates, *_TIMES, 'epoch', 'iter', 'memory', 'loss'}
        phases = tuple(f'{phase.name}/' for phase in model.recipe)
        parts += [
            f'{key} {self._number(value)}'
            for key, value in values.items()
            if key in named or key not in known and not key.startswith(phases)
        ]
        if 'memory' in values:
            parts.append(f'memory {values["memory"]} MiB')
        return parts

    def _speed(self, values: Mapping[str, float]) -> list[str]:
        if not all(key in values for key in _TIMES):  # without IterTimerHook
            return []
        whole, data = (number(values[key], 3) for key in _TIMES)
        return [f'{whole} s/it (data {data})']

    def _number(self, value: object) -> str:
        return number(value, self.num_digits)


def number(value: object, digits: int = 4) -> str:
    """Write a number with so many significant digits; anything else as it is."""
    if not isinstance(value, float):
        return str(value)
    return f'{value:#.{digits}g}'.rstrip('.')


def progress_text(done: int, of: int) -> str:
    """Write how much is done, as ``' 20/300'``: as wide as it will be at the end."""
    return f'{done:{len(str(of))}}/{of}'


def stage_text(recipe: Sequence[Phase], stage: str) -> str:
    """Name the stage, and say whether the TDP loss is on; empty without either."""
    parts = []
    limits = {phase.during for phase in recipe}
    limits |= {term.during for phase in recipe for term in phase.losses}
    if limits != {'all'}:
        parts.append(stage)
    if any(term.name == 'tdp' for phase in recipe for term in phase.losses):
        on = any(
            term.name == 'tdp' and term.weight
            for phase in active_phases(recipe, stage)
            for term in phase.active_losses(stage)
        )
        parts.append(f'TDP {"on" if on else "off"}')
    return ', '.join(parts)


def phase_losses(
    phase: Phase, stage: str, values: Mapping[str, float]
) -> dict[str, float]:
    """Add up what is logged of a phase by its losses.

    Args:
        phase: The phase.
        stage: ``'warmup'`` or ``'main'``.
        values: What is logged, with the names that ``SR4IR.train_step`` gives.

    Returns:
        dict[str, float]: The weighted losses by name: as in the recipe, or the image
        alone (``hr`` for ``task_hr``) where the phase has no other losses; the feature
        matching apart, as ``'hr match'``.
    """
    terms = phase.active_losses(stage)
    only_task = all(term.is_task for term in terms)
    losses = {}
    for term in terms:
        if term.is_task:
            start = f'{phase.name}/{term.image}/'
            parts = {
                part: value
                for key, value in values.items()
                if key.startswith(start) and 'loss' in (part := key.removeprefix(start))
            }
            matching = parts.pop('loss_match', None)
            losses[term.image if only_task else term.name] = sum(parts.values())
            if term.match and matching is not None:
                losses[f'{term.image} match'] = matching
        else:
            losses[term.name] = values[f'{phase.name}/loss_{term.name}']
    return losses
