"""Measure seconds and memory: what benchmarks share, and the parts of a test."""

import itertools
import platform
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from torch.utils.data import DataLoader

from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.utils.errors import ConfigError
from mmsr4ir.utils.tables import markdown_table

_STATUS = Path('/proc/self/status')  # Linux only


class Laps:
    """Seconds by the name of a part, without those of the warm-up.

    Args:
        warmup: Rounds that are not counted.
    """

    def __init__(self, warmup: int = 0) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.images: list[int] = []
        self._warmup = warmup
        self._round: dict[str, float] = defaultdict(float)
        self._start = self._last = 0.0

    def start(self) -> None:
        """Begin a round."""
        self._start = self._last = _now()

    def lap(self, name: str) -> None:
        """Add the time since the last part, or since the start, to a part."""
        now = _now()
        self._round[name] += now - self._last
        self._last = now

    def skip(self) -> None:
        """Leave out what was done since the last part."""
        self._last = _now()

    def whole(self, name: str) -> None:
        """Take all the time since the start of the round as one part."""
        self._round[name] = _now() - self._start

    def finish(self, images: int) -> None:
        """End a round in which so many images were worked on."""
        if self._warmup:
            self._warmup -= 1
            if not self._warmup and torch.cuda.is_available():
                reset_peak_memory()
        else:
            self.images.append(images)
            for name, seconds in self._round.items():
                self.seconds[name].append(seconds)
        self._round.clear()


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@torch.no_grad()
def time_inference(
    model: SR4IR, loader: DataLoader, iterations: int, warmup: int
) -> Laps:
    """Time test steps, and in each of them both networks.

    Args:
        model: The model, on its device, in eval mode.
        loader: The test data; it starts again where it ends.
        iterations: The number of timed steps.
        warmup: The number of steps before them.

    Returns:
        Laps: ``SR network``, ``task network`` with its post-processing, and
        ``test step``, which is everything but the waiting for data.
    """
    laps = Laps(warmup)
    handles = []
    for network, name in ((model.sr, 'SR network'), (model.task, 'task network')):
        handles += [
            network.register_forward_pre_hook(lambda *_: laps.skip()),
            network.register_forward_hook(lambda *_, name=name: laps.lap(name)),
        ]
    for data in itertools.islice(endless(loader), warmup + iterations):
        laps.start()
        model.test_step(data)
        laps.whole('test step')
        laps.finish(len(data['inputs']))
    for handle in handles:
        handle.remove()
    return laps


def endless(loader: DataLoader) -> Iterator[dict]:
    """Yield batches over and over.

    Raises:
        ConfigError: If the loader gives no batch.
    """
    while True:
        count = 0
        for count, batch in enumerate(loader, 1):  # noqa: B007
            yield batch
        if not count:
            raise ConfigError(
                'the dataloader gives no batch: the data set is empty, '
                'or smaller than a batch with drop_last'
            )


def tell_iteration(number: int) -> None:
    """Publish the iteration, as MMEngine's Runner does in a training.

    mmdet's BatchSyncRandomResize (YOLOX) asks for the iteration, and its TOODHead for
    the epoch.
    """
    hub = MessageHub.get_current_instance()
    hub.update_info('iter', number)
    hub.update_info('epoch', 0)


def summarise_laps(laps: Laps) -> dict[str, dict[str, float]]:
    """Compute the seconds an iteration and the images a second of each part.

    Returns:
        dict: By the name of the part: ``median``, ``min``, ``max`` and the quartiles
        ``q1`` and ``q3`` in seconds; ``images_per_second``, the median over the
        iterations.
    """
    rows = {}
    for name, seconds in laps.seconds.items():
        q1, median, q3 = quartiles(seconds)
        rates = [
            images / max(second, 1e-9)
            for images, second in zip(laps.images, seconds, strict=True)
        ]
        rows[name] = dict(
            median=median,
            min=min(seconds),
            max=max(seconds),
            q1=q1,
            q3=q3,
            images_per_second=statistics.median(rates),
        )
    return rows


def quartiles(values: list[float]) -> list[float]:
    """Return the first quartile, the median and the third quartile."""
    return np.quantile(values, (0.25, 0.5, 0.75)).tolist()


def timing_table(rows: dict[str, dict[str, float]], whole: str) -> str:
    """Write a summary as a Markdown table, each part with its share of a whole one."""
    keys = ('median', 'q1', 'q3', 'min', 'max')
    return markdown_table(
        ['seconds', *keys, 'share', 'images/s'],
        [
            [
                name,
                *(f'{row[key]:.4f}' for key in keys),
                f'{row["median"] / rows[whole]["median"]:.0%}',
                f'{row["images_per_second"]:.1f}',
            ]
            for name, row in rows.items()
        ],
    )


def describe_machine() -> dict[str, str | int]:
    """Return what times depend on: the device, its name, threads, torch's version."""
    device = get_device()
    name = (
        torch.cuda.get_device_name()
        if device == 'cuda'
        else (
            f'{platform.machine()}, {torch.get_num_threads()} threads; no GPU found, '
            'so '
            'nothing here says how fast one is'
        )
    )
    return dict(
        device=device,
        device_name=name,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


class PeakMemory(TypedDict):
    """A peak in MiB, and whose it is: ``'GPU'`` or ``'process'``."""

    mib: float
    of: str


class PeakHook(Hook):
    """Note a GPU's peak before MMEngine's log starts torch's count of it anew."""

    priority = 'NORMAL'  # before the LoggerHook
    highest = 0  # in bytes, since reset_peak_memory; one for the process, as torch's

    def after_train_iter(self, *args, **kwargs) -> None:
        """Note the peak, which MMEngine's log processor is about to reset."""
        if torch.cuda.is_available():
            PeakHook.highest = _gpu_peak()


def _gpu_peak() -> int:
    """Return the peak of a GPU in bytes, since :func:`reset_peak_memory`."""
    return max(PeakHook.highest, torch.cuda.max_memory_allocated())


def peak_memory() -> PeakMemory:
    """Return the peak memory so far.

    With a GPU, this is what torch allocated there since the end of the warm-up; in a
    training with a log, :class:`PeakHook` must be among the hooks. Without a GPU, it is
    the peak of the whole process since its start, so a caller has to time the part that
    needs less memory first.
    """
    if torch.cuda.is_available():
        return PeakMemory(mib=_gpu_peak() / 2**20, of='GPU')
    if _STATUS.exists():
        # A child's ru_maxrss would begin with its parent's.
        lines = _STATUS.read_text().splitlines()
        status = dict(line.split(':', 1) for line in lines)
        peak = int(status['VmHWM'].removesuffix('kB')) / 2**10
    else:
        unit = 1 if sys.platform == 'darwin' else 2**10  # in bytes there, else in KiB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return PeakMemory(mib=peak, of='process')


def reset_peak_memory() -> None:
    """Let the peak begin anew, with what is taken now; on Linux and on a GPU only."""
    if torch.cuda.is_available():
        PeakHook.highest = 0
        torch.cuda.reset_peak_memory_stats()
    elif _STATUS.exists():
        (_STATUS.parent / 'clear_refs').write_text('5')
