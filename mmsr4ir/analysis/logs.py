"""Read the logs of trainings, those of a resumed training as one."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.logging import print_log

from mmsr4ir.utils.errors import SR4IRError

_FILE = 'scalars.json'
# What a log line says about itself, and what is no result of a validation.
_ABOUT = ('step', 'iter', 'epoch')
_NO_METRIC = (*_ABOUT, 'time', 'data_time', 'memory')


class LogError(SR4IRError, ValueError):
    """A log cannot be read; the message says which and why."""


@dataclass
class Log:
    """What was logged in a training.

    Attributes:
        name: What the run is called in charts.
        train: The lines of training, in order; each has ``step``, the iteration.
        val: The lines of validations, in order; each has ``step``, in ``unit``.
        unit: ``'epoch'`` or ``'iteration'``.
        files: Where it was read from.
    """

    name: str
    train: list[dict]
    val: list[dict]
    unit: str = 'iteration'
    files: list[Path] = field(default_factory=list)

    def keys(self) -> list[str]:
        """Return all logged keys in order of appearance, those of training first."""
        return list(
            dict.fromkeys(
                key
                for line in (*self.train, *self.val)
                for key in line
                if key not in _ABOUT
            )
        )

    def metrics(self) -> list[str]:
        """Return the keys that are metrics of the validations."""
        return list(
            dict.fromkeys(
                key for line in self.val for key in line if key not in _NO_METRIC
            )
        )

    def curve(self, key: str) -> tuple[list[int], list[float], str]:
        """Return the steps of a key, its values, and the unit of the steps.

        COCO's -1, which says that there is no object of a size, is left out. For a key
        that training and validation have (``time``), these are the training's.
        """
        lines, unit = self.train, 'iteration'
        if not any(key in line for line in lines):
            lines, unit = self.val, self.unit
        pairs = [
            (line['step'], line[key])
            for line in lines
            if key in line and not (key.startswith('coco/') and line[key] == -1)
        ]
        return [step for step, _ in pairs], [value for _, value in pairs], unit


def read_log(path: Path, name: str | None = None) -> Log:
    """Read the log of a run.

    Args:
        path: A work dir, or one ``scalars.json`` (any name ending in ``.json``). In a
            work dir, the newest run and those that it was resumed from are read.
            Iterations that a resumed run repeated replace the earlier ones.
        name: What to call it; the name of the work dir by default.

    Raises:
        LogError: If there is no log, if a line cannot be read, or if no iteration was
            logged.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(path.glob(f'*/vis_data/{_FILE}'))
        if not files and (path / 'vis_data' / _FILE).is_file():  # a run's own folder
            files = [path / 'vis_data' / _FILE]
        if not files:
            raise LogError(
                f'{path}: there is no */vis_data/{_FILE}; give the work dir of a '
                'training'
            )
        title = path.resolve().name
    elif path.is_file():
        files, title = [path], path.name
    else:
        raise LogError(f'{path} does not exist')
    lines: list[dict] = []
    used: list[Path] = []
    for file in files:
        new = _read_lines(file)
        if not new:
            continue  # a test in the same work dir, or a run that ended at once
        if not _was_resumed(file):
            lines, used = [], []
        lines = [*_before(lines, new), *new]
        used.append(file)
    train = [line for line in lines if _is_training(line)]
    if not train:
        raise LogError(f'{path}: no iteration was logged; see default_hooks.logger')
    return Log(
        name or title,
        train,
        [line for line in lines if not _is_training(line)],
        _val_unit(lines),
        used,
    )


def _read_lines(file: Path) -> list[dict]:
    texts = file.read_text(encoding='utf-8', errors='replace').splitlines()
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            line = json.loads(text)
            line['step'] = int(line['step'])
        except (
            ValueError,
            TypeError,
            KeyError,
            OverflowError,
            RecursionError,
        ) as error:
            if number < len(texts):
                raise LogError(
                    f'{file}, line {number}: {error}; this is no log of MMEngine'
                ) from error
            print_log(
                f'{file}: the last line is not complete and is left out',
                logger='current',
            )
        else:
            lines.append(line)
    return lines


def _was_resumed(file: Path) -> bool:
    """Return what the run's own config says, which MMEngine writes beside the log."""
    config = file.with_name('config.py')
    return config.is_file() and bool(
        re.search(
            r'^resume = True$',
            config.read_text(encoding='utf-8', errors='replace'),
            re.MULTILINE,
        )
    )


def _is_training(line: dict) -> bool:
    return 'iter' in line


def _before(lines: list[dict], new: list[dict]) -> list[dict]:
    """Return the lines that came before the first step of a resumed run."""
    first = next((line['step'] for line in new if _is_training(line)), None)
    if first is None:
        return lines
    for i, line in enumerate(lines):
        if _is_training(line) and line['step'] >= first:
            return lines[:i]
    # The last validation may have been done again, if the checkpoint is from before.
    again = {line['step'] for line in new if not _is_training(line)}
    return [line for line in lines if _is_training(line) or line['step'] not in again]


def _val_unit(lines: list[dict]) -> str:
    """Return what MMEngine counts validations by (``log_metric_by_epoch``)."""
    last = None
    for line in lines:
        if _is_training(line):
            last = line
        elif last is not None and 'epoch' in last and line['step'] != last['step']:
            return 'epoch' if line['step'] == last['epoch'] else 'iteration'
    return 'iteration'


def groups(logs: Sequence[Log]) -> dict[str, list[str]]:
    """Group keys by the panel that they are drawn in.

    The panels are, for each phase, its losses and what it logs beside them; then the
    learning rates, image quality and the task's metrics.
    """
    panels: dict[str, list[str]] = {}

    def put(title: str, key: str) -> None:
        keys = panels.setdefault(title, [])
        if key not in keys:
            keys.append(key)

    metrics = {key for log in logs for key in log.metrics()}
    logged = [key for log in logs for key in log.keys() if key not in metrics]
    for key in logged:
        phase, slash, name = key.partition('/')
        if slash and 'loss' in name:
            put(f'losses of phase {phase}', key)
    for key in logged:
        phase, slash, name = key.partition('/')
        if slash and 'loss' not in name:
            put(f'phase {phase}, not optimised', key)
    for key in logged:
        if key.rpartition('.')[2] == 'lr':
            put('learning rates', key)
    for log in logs:
        for key in log.metrics():
            # PSNR is in dB and SSIM within 1: they share no axis.
            put(f'image quality: {key}' if key.startswith('sr/') else 'metrics', key)
    return panels


def epoch_times(log: Log, include_outliers: bool = False) -> dict[int, float]:
    """Compute the mean seconds an iteration in each epoch.

    If no epoch is logged, all iterations count as epoch 1.

    Args:
        log: The log.
        include_outliers: Whether the first entry of an epoch, which is slower because
            data loading begins, counts too.

    Raises:
        LogError: If no epoch has two entries, so that none is left without the first.
    """
    times: dict[int, list[float]] = {}
    for line in log.train:
        if 'time' in line:
            times.setdefault(line.get('epoch', 1), []).append(line['time'])
    if not include_outliers:
        times = {epoch: values[1:] for epoch, values in times.items() if values[1:]}
    if not times:
        raise LogError(
            f'{log.name}: no epoch has more than one entry; give --include-outliers, '
            'or log more often (default_hooks.logger.interval)'
        )
    return {epoch: float(np.mean(values)) for epoch, values in times.items()}
