"""Time one tool that restores and recognises, beside two with files between them.

Without this package, one tool restores images and writes them as PNG files; another
one, of the task library, reads the files and recognises what is in them.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import BaseModel

from mmsr4ir.apis.inferencer import SR4IRInferencer
from mmsr4ir.apis.inputs import Item, Source, find_sources
from mmsr4ir.datasets.move_resize import move_resize
from mmsr4ir.models.prediction.lr_input import recognise
from mmsr4ir.utils.configs import as_list, type_name
from mmsr4ir.utils.errors import ConfigError
from mmsr4ir.utils.loading import pipeline_of
from mmsr4ir.visualization.drawing import write_png

from .speed import Laps, peak_memory, reset_peak_memory

#: What may make the one tool faster; joined by ``+`` they are switched on together.
SWITCHES = ('channels_last', 'compile', 'bfloat16')
#: The columns of a table, in their order.
PARTS = ('decode', 'SR network', 'write', 'task network', 'whole')
_DRAWN = 0.3  # boxes below this score are not drawn


class Way(ABC):
    """One way from an LR image to a prediction, with its times.

    Args:
        inferencer: Whose networks are run.
        warmup: Images that are not counted.
    """

    def __init__(self, inferencer: SR4IRInferencer, warmup: int = 0) -> None:
        self.inferencer = inferencer
        self.laps = Laps(warmup)
        self.mib = 0.0

    def timed(self, source: Source) -> dict:
        """Run on one image, and keep times and peak memory.

        Returns:
            dict: The prediction, see :func:`~mmsr4ir.apis.predictions.plain`, in the
            pixels of the restored image.
        """
        reset_peak_memory()
        others = self._memory_of_others()
        self.laps.start()
        prediction = self.run(source)
        self.laps.whole('whole')
        self.laps.finish(1)
        self.mib = max(self.mib, peak_memory()['mib'] - others)
        return prediction

    def _memory_of_others(self) -> float:
        """Return the MiB on a GPU that are not of this way's networks."""
        if not torch.cuda.is_available():
            return 0.0
        model = self.inferencer.model
        own = sum(one.nbytes for one in (*model.parameters(), *model.buffers()))
        return max(0, torch.cuda.memory_allocated() - own) / 2**20

    @abstractmethod
    def run(self, source: Source) -> dict:
        """Recognise what is in one image; call ``laps.lap`` after each part."""

    def read(self, source: Source) -> list[Item]:
        """Decode an image.

        Raises:
            ConfigError: If it cannot be used.
        """
        items = next(self.inferencer.preprocess([source]))
        self.laps.lap('decode')
        if items[0].error:
            raise ConfigError(f'{source.origin} {items[0].error}')
        return items


class OneTool(Way):
    """:class:`SR4IRInferencer`, with the restored image in memory.

    Args:
        inferencer: Whose networks are run.
        warmup: Images that are not counted.
        bfloat16: Whether to run both networks under ``torch.autocast``.
    """

    def __init__(
        self, inferencer: SR4IRInferencer, warmup: int = 0, bfloat16: bool = False
    ) -> None:
        super().__init__(inferencer, warmup)
        self.bfloat16 = bfloat16

    def run(self, source: Source) -> dict:
        """Recognise what is in one image."""
        items, model = self.read(source), self.inferencer.model
        device = next(model.parameters()).device.type
        # Once, when all tiles are restored: each lap waits for a GPU.
        watch = model.data_preprocessor.register_forward_pre_hook(
            lambda *_: self.laps.lap('SR network')
        )
        with torch.autocast(device, torch.bfloat16, enabled=self.bfloat16):
            (result,) = self.inferencer.forward(items, coordinates='sr')
        watch.remove()
        if result.prediction is None:
            raise ConfigError(f'{source.origin} {result.error}')
        self.laps.lap('task network')
        return result.prediction


class TwoTools(Way):
    """Restore an image into a PNG file; then read that, as the task library does.

    The second tool has the loading, the resize and the packing of the config's test
    pipeline, and the task network's own preprocessor and ``test_step``.

    Args:
        inferencer: Whose networks are run.
        folder: Where the PNG files go.
        warmup: Images that are not counted.
    """

    def __init__(
        self, inferencer: SR4IRInferencer, folder: Path, warmup: int = 0
    ) -> None:
        super().__init__(inferencer, warmup)
        self.folder = folder
        self.pipeline = library_pipeline(inferencer.cfg)

    def run(self, source: Source) -> dict:
        """Recognise what is in one image."""
        path = self.folder / f'{source.name}.png'
        (result,) = self.inferencer.forward(self.read(source), restore_only=True)
        if result.restored is None:
            raise ConfigError(f'{source.origin} {result.error}')
        self.laps.lap('SR network')
        write_png(path, result.restored)
        self.laps.lap('write')
        image = dict(img_path=str(path), img_id=0, scale_factor=(1.0, 1.0))
        data = pseudo_collate([self.pipeline(image)])
        self.laps.lap('decode')
        task: BaseModel = self.inferencer.model.task
        with torch.no_grad():
            (sample,) = task.test_step(data)
        prediction = self.inferencer.as_plain(sample)
        self.laps.lap('task network')
        return prediction


def library_pipeline(cfg: Config) -> Callable[[dict], dict]:
    """Make what a task library does with an image file before the preprocessor.

    Args:
        cfg: The whole config.

    Raises:
        ConfigError: If the config has no test pipeline that loads and packs images.
    """
    move_resize(cfg)
    steps = pipeline_of((cfg.get('test_dataloader') or {}).get('dataset'))
    resize = cfg.model.get('task_resize')
    if isinstance(resize, Mapping) and 'type' not in resize:
        resize = resize.get('test')
    chosen = [one for one in steps if type_name(one) == 'LoadImageFromFile']
    chosen += as_list(resize)
    chosen += [one for one in steps if type_name(one).startswith('Pack')]
    if len(chosen) < 2:
        raise ConfigError(
            'test_dataloader.dataset.pipeline has no LoadImageFromFile and no Pack...: '
            'the second tool cannot read images by it'
        )
    return Compose(copy.deepcopy(chosen))


def with_switches(cfg: Config, weights: str, switches: str, warmup: int) -> OneTool:
    """Build the one tool with some of :data:`SWITCHES`, joined by ``+``.

    Args:
        cfg: The whole config; it stays as it is.
        weights: The checkpoint.
        switches: Such as ``'channels_last+bfloat16'``; empty for none.
        warmup: Images that are not counted.

    Raises:
        ConfigError: If a switch is unknown.
    """
    names = switches.split('+') if switches else []
    if unknown := set(names) - set(SWITCHES):
        raise ConfigError(f'unknown switches {sorted(unknown)}: use {SWITCHES}')
    cfg = copy.deepcopy(cfg)
    if 'channels_last' in names:
        cfg.model.channels_last = True
    inferencer = SR4IRInferencer(cfg, weights, show_progress=False)
    if 'compile' in names:
        model = inferencer.model
        for part in (model.sr, getattr(model.task, 'backbone', model.task)):
            part.forward = torch.compile(part.forward)
    return OneTool(inferencer, warmup, 'bfloat16' in names)


def time_ways(ways: Sequence[Way], sources: Sequence[Source], iterations: int) -> None:
    """Run all ways on an image, then on the next one, so that a disturbance hits all.

    Args:
        ways: They keep their times; each has its own warm-up.
        sources: Images; they start again where they end.
        iterations: Images that each way runs on, the warm-up included.
    """
    for source in islice(cycle(sources), iterations):
        for way in ways:
            way.timed(source)


def largest_differences(
    one: OneTool, two: TwoTools, sources: Sequence[Source]
) -> dict[str, dict[str, float]]:
    """Compare the predictions of both ways, image by image.

    The task network of the one tool sees what the SR network gives; that of the two
    tools sees it after it was clipped and rounded to the 8 bits of a file.

    Returns:
        dict: ``as run``, and ``same pixels``, where the one tool's task network gets
        the pixels of the file; of each the largest differences, see
        :func:`prediction_difference`.
    """
    found: dict[str, dict[str, float]] = {'as run': {}, 'same pixels': {}}
    for source in sources:
        want = two.run(source)
        again = recognise_file(one.inferencer, source, two.folder)
        for name, other in (('as run', one.run(source)), ('same pixels', again)):
            for key, value in prediction_difference(other, want).items():
                found[name][key] = max(value, found[name].get(key, 0.0))
    return found


@torch.no_grad()
def recognise_file(inferencer: SR4IRInferencer, source: Source, folder: Path) -> dict:
    """Recognise what is in a restored PNG file as the one tool does."""
    path = folder / f'{source.name}.png'
    small, restored = (
        next(inferencer.preprocess([one]))[0].image
        for one in (source, *find_sources(str(path)))
    )
    (lr, sample), (sr, _) = map(inferencer.pipeline, (small, restored))
    (found,) = recognise(inferencer.model, [lr], [sr], [sample], 'sr')
    return inferencer.as_plain(found)


def prediction_difference(one: Mapping, other: Mapping) -> dict[str, float]:
    """Return the largest differences of two predictions for one image.

    Args:
        one: See :func:`~mmsr4ir.apis.predictions.plain`.
        other: Another one.

    Returns:
        dict: Of a segmentor ``pixels``, the share with another class. Of a classifier
        ``score``. Of a detector ``score``, of boxes sorted by it (0 for one that is
        missing), and ``box``, in pixels: from a box that is drawn to the nearest of
        its class.
    """
    if 'sem_seg' in one:
        return dict(pixels=float((one['sem_seg'] != other['sem_seg']).mean()))
    if 'pred_scores' in one:
        scores = np.subtract(one['pred_scores'], other['pred_scores'])
        return dict(score=float(abs(scores).max()))
    both = [sorted(found['scores'], reverse=True) for found in (one, other)]
    length = max(map(len, both))
    here, there = (scores + [0.0] * (length - len(scores)) for scores in both)
    return dict(
        score=float(abs(np.subtract(here, there)).max(initial=0)),
        box=max(_farthest(one, other), _farthest(other, one)),
    )


def _farthest(one: Mapping, other: Mapping) -> float:
    """Return the largest distance of a drawn box to the nearest of its class."""
    boxes = np.array(other['bboxes'], float).reshape(-1, 4)
    labels = np.array(other['labels'])
    distances = [
        abs(boxes[labels == label] - box).max(1).min(initial=np.inf)
        for box, label, score in zip(
            one['bboxes'], one['labels'], one['scores'], strict=True
        )
        if score >= _DRAWN
    ]
    return float(max(distances, default=0.0))
