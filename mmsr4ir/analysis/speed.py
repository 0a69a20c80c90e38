"""Time the parts of a training iteration and of a test, each by itself."""
import re
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapperDict, build_optim_wrapper
from torch.utils.data import DataLoader

from mmsr4ir.models.prediction.hr_input import tested_image
from mmsr4ir.models.sr4ir import SR4IR

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
        self._start = self._last = 0.0

    def start(self) -> None:
        """Begin a round."""
        self._start = self._last = _now()

    def lap(self, name: str) -> None:
        """A part has come to its end."""
        now = _now()
        self._keep(name, now - self._last)
        self._last = now

    def skip(self) -> None:
        """Leave out what was done since the last part."""
        self._last = _now()

    def whole(self, name: str) -> None:
        """All parts since the start of the round, as one."""
        self._keep(name, self._last - self._start)

    def finish(self, images: int) -> None:
        """End a round in which so many images were worked on."""
        if self._warmup:
            self._warmup -= 1
            if not self._warmup and torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
        else:
            self.images.append(images)

    def _keep(self, name: str, seconds: float) -> None:
        if not self._warmup:
            self.seconds[name].append(seconds)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def time_training(model: SR4IR, wrappers: OptimWrapperDict, loader: DataLoader,
                  iterations: int, warmup: int, stage: str = 'main') -> Laps:
    """Run train steps, part by part.

    The learning rates are set to 0: an update costs the same, and weights that stay as
    they are give every iteration the same work, detectors' proposals included.

    Args:
        model: The model, on its device.
        wrappers: Its optimizers.
        loader: Of training data; it is begun again where it ends.
        iterations: Counted ones.
        warmup: Iterations before them.
        stage: Phases of the recipe that are active in this stage are run.
    """
    for wrapper in wrappers.values():
        for group in wrapper.optimizer.param_groups:
            group['lr'] = 0.0
    model.train()
    model.stage = stage
    laps, batches = Laps(warmup), endless(loader)
    for number in range(warmup + iterations):
        tell_iteration(number)
        laps.start()
        data = next(batches)
        laps.lap('waiting for data')
        data = model.data_preprocessor(data, True)
        batch = model.prepare(data['inputs'], data['data_samples'])
        laps.lap('HR and LR images')
        for phase in model.recipe:
            if phase.during in ('all', stage):
                model.train_phase(phase, batch, wrappers)
                laps.lap(f'phase {phase.name}')
        laps.whole('iteration')
        laps.finish(len(batch.inputs))
    return laps


@torch.no_grad()
def time_inference(model: SR4IR, loader: DataLoader, iterations: int, warmup: int
                   ) -> Laps:
    """Run test steps, part by part, and once more as a whole.

    Args:
        model: The model, on its device.
        loader: Of test data; it is begun again where it ends.
        iterations: Counted ones.
        warmup: Iterations before them.
    """
    model.eval()
    laps, batches = Laps(warmup), endless(loader)
    for _ in range(warmup + iterations):
        laps.start()
        loaded = next(batches)
        laps.lap('waiting for data')
        data = model.data_preprocessor(loaded, False)
        batch = model.prepare(data['inputs'], data['data_samples'])
        laps.lap('HR and LR images')
        restored = tested_image(model, batch)
        laps.lap('restore')
        inputs = batch.inputs if model.test_on == 'hr' else model.to_input(
            restored, batch)
        model.network('task')(inputs, batch.samples, mode='predict')
        laps.lap('recognise')
        model.test_step(loaded)
        laps.lap('test step')
        laps.finish(len(batch.inputs))
    return laps


def endless(loader: DataLoader) -> Iterator[dict]:
    """Yield batches over and over.

    Raises:
        ValueError: There is none.
    """
    while True:
        count = 0
        for count, batch in enumerate(loader, 1):  # noqa: B007
            yield batch
        if not count:
            raise ValueError('the dataloader gives no batch: the data set is empty, or '
                             'smaller than a batch with drop_last')


def tell_iteration(number: int) -> None:
    """Say where the training is, as MMEngine's Runner does: there is none here.

    Of mmdet BatchSyncRandomResize (YOLOX) asks for the iteration, TOODHead for the
    epoch.
    """
    hub = MessageHub.get_current_instance()
    hub.update_info('iter', number)
    hub.update_info('epoch', 0)


def build_wrappers(cfg: Config, model: SR4IR) -> OptimWrapperDict:
    """Build the optimizers of a config.

    Raises:
        ValueError: The config has none.
    """
    if cfg.get('optim_wrapper') is None:
        raise ValueError('the config has no optim_wrapper, so training cannot be timed')
    return build_optim_wrapper(model, ConfigDict(cfg.optim_wrapper))


def summary(laps: Laps) -> dict[str, dict[str, float]]:
    """For each part the seconds an iteration and the images a second.

    Returns:
        dict: ``median``, ``min``, ``max`` and the quartiles ``q1`` and ``q3`` in
        seconds; ``images_per_second``, the median over the iterations.
    """
    rows = {}
    for name, seconds in laps.seconds.items():
        q1, median, q3 = quartiles(seconds)
        rates = [images / max(second, 1e-9) for images, second
                 in zip(laps.images, seconds, strict=True)]
        rows[name] = dict(
            median=median, min=min(seconds), max=max(seconds), q1=q1, q3=q3,
            images_per_second=statistics.median(rates))
    return rows


def quartiles(values: list[float]) -> list[float]:
    """The first quartile, the median and the third."""
    return (statistics.quantiles(values, n=4, method='inclusive')
            if len(values) > 1 else values * 3)


def table(title: str, rows: dict[str, dict[str, float]], whole: float) -> str:
    """A summary as text, each part with its share of so many seconds."""
    width = max(len(name) for name in (*rows, 'seconds')) + 2
    lines = [f'{title}:',
             f'{"seconds":{width}}{"median":>9}{"q1":>9}{"q3":>9}{"min":>9}{"max":>9}'
             f'{"share":>8}{"images/s":>10}']
    for name, row in rows.items():
        lines.append(
            f'{name:{width}}' + ''.join(
                f'{row[key]:9.4f}' for key in ('median', 'q1', 'q3', 'min', 'max'))
            + f'{row["median"] / whole:8.0%}{row["images_per_second"]:10.1f}')
    return '\n'.join(lines)


def peak_memory() -> dict[str, float | str]:
    """Peak memory so far in MiB, and of what.

    With a GPU: what torch allocated there since the end of the warm-up. Without: the
    process as a whole since its start, so that what needs less is to be timed first.
    """
    if torch.cuda.is_available():
        return dict(mib=torch.cuda.max_memory_allocated() / 2**20, of='GPU')
    if _STATUS.exists():
        # A child's ru_maxrss would begin with its parent's.
        peak = int(re.search(r'VmHWM:\s*(\d+) kB', _STATUS.read_text())[1]) / 2**10
    else:
        unit = 1 if sys.platform == 'darwin' else 2**10  # in bytes there, else in KiB
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    return dict(mib=peak, of='process')


def reset_peak_memory() -> None:
    """Let the peak begin anew, with what is taken now; on Linux and on a GPU only."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif _STATUS.exists():
        (_STATUS.parent / 'clear_refs').write_text('5')
