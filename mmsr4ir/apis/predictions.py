"""Predictions of the three task libraries as plain data, and as files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask
from torch import nn

from mmsr4ir.utils.errors import ConfigError
from mmsr4ir.utils.files import write_whole
from mmsr4ir.visualization.drawing import encode_png

# The data sample of each task library.
_SAMPLES = dict(
    mmdet=('mmdet.structures', 'DetDataSample'),
    mmseg=('mmseg.structures', 'SegDataSample'),
    mmpretrain=('mmpretrain.structures', 'DataSample'),
)


@dataclass
class Result:
    """What became of one image.

    Attributes:
        name: Short and different for each image; files are called by it.
        origin: The file or address that it came from, or which array.
        error: Why the fields below are empty, if they are.
        prediction: See :func:`plain`; ``coordinates`` says
            whose pixels they are, ``'lr'`` or ``'sr'``.
        sample: The task's data sample, if asked for.
        restored: (height * scale, width * scale, C), uint8, RGB if C is 3.
        picture: The prediction drawn, RGB, uint8.
    """

    name: str
    origin: str
    error: str | None = None
    prediction: dict | None = None
    sample: object = None
    restored: np.ndarray | None = None
    picture: np.ndarray | None = None


def sample_class(task: nn.Module) -> type:
    """Return the class of the data samples that a task network takes.

    Raises:
        ConfigError: If the network is of none of the three task libraries.
    """
    packages = [
        getattr(task, 'library', None),
        *(base.__module__.partition('.')[0] for base in type(task).__mro__),
    ]
    for package in packages:
        if package in _SAMPLES:
            module, name = _SAMPLES[package]
            return getattr(import_module(module), name)
    raise ConfigError(
        f'the task network {type(task).__name__} is of none of {", ".join(_SAMPLES)}'
    )


def is_multi_label(task: nn.Module) -> bool:
    """Return whether a task network is a classifier with any number of labels."""
    head = type(getattr(task, 'head', None))
    return 'MultiLabelClsHead' in {base.__name__ for base in head.__mro__}


def plain(sample, classes: Sequence[str] = (), multi_label: bool = False) -> dict:
    """Turn a data sample into what can be printed and written.

    Args:
        sample: With predictions.
        classes: Names of the classes, where they are known.
        multi_label: Of a classifier, see :func:`is_multi_label`.

    Returns:
        dict: ``size``, (height, width) in pixels, that the prediction belongs to, and

        - of a detector ``labels``, ``scores``, ``bboxes`` (left, top, right, bottom,
          in pixels), ``classes`` and, if there are, ``masks`` (COCO's RLE);
        - of a segmentor ``sem_seg``, (height, width), class numbers, uint8 (uint16
          where there are more than 256);
        - of a classifier ``pred_label``, ``pred_class``, ``pred_score`` and
          ``pred_scores``, as mmpretrain's inferencer gives them; with
          ``multi_label`` the first three are lists, and empty where no class is found.

    Raises:
        ValueError: If the sample holds no prediction of these kinds.
    """
    size = dict(size=[int(side) for side in sample.metainfo['ori_shape'][:2]])

    def named(label: int) -> str:
        return classes[label] if label < len(classes) else str(label)

    if 'pred_instances' in sample:
        found = sample.pred_instances.cpu()
        labels = found.labels.tolist()
        result = dict(
            labels=labels,
            classes=[named(label) for label in labels],
            scores=found.scores.tolist(),
            bboxes=found.bboxes.tolist(),
        )
        if 'masks' in found:
            result['masks'] = [_rle(mask) for mask in found.masks.numpy()]
        return size | result
    if 'pred_sem_seg' in sample:
        labels = sample.pred_sem_seg.data[0].cpu().numpy()
        kind = np.uint8 if labels.max() < 256 else np.uint16
        return size | dict(sem_seg=labels.astype(kind))
    if 'pred_score' in sample:
        scores = sample.pred_score.tolist()
        if multi_label:
            labels = sample.pred_label.tolist()
            return size | dict(
                pred_label=labels,
                pred_class=[named(label) for label in labels],
                pred_score=[scores[label] for label in labels],
                pred_scores=scores,
            )
        label = int(np.argmax(scores))
        return size | dict(
            pred_label=label,
            pred_class=named(label),
            pred_score=scores[label],
            pred_scores=scores,
        )
    raise ValueError(
        'the task network gives none of pred_instances, pred_sem_seg and pred_score, '
        f'but {sorted(sample.keys())}'
    )


def write_prediction(folder: Path, name: str, prediction: Mapping) -> None:
    """Write ``name.json``; a segmentor's map becomes ``name.png``, which it names."""
    content = dict(prediction)
    if 'sem_seg' in content:
        write_whole(folder / f'{name}.png', encode_png(content['sem_seg']))
        content['sem_seg'] = f'{name}.png'
    write_whole(folder / f'{name}.json', json.dumps(content) + '\n')


def on_restored(sample, scale: int):
    """Copy a prediction in the pixels of the LR image to those of the restored one."""
    sample = sample.clone()  # which is shallow
    if 'pred_instances' in sample:
        found = sample.pred_instances = sample.pred_instances.clone()
        found.bboxes = found.bboxes * scale
        if 'masks' in found:
            found.masks = _repeat(found.masks, scale)
    if 'pred_sem_seg' in sample:
        sample.pred_sem_seg = type(sample.pred_sem_seg)(
            data=_repeat(sample.pred_sem_seg.data, scale)
        )
    return sample


def _repeat(maps, scale: int):
    return maps.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def _rle(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return dict(size=rle['size'], counts=rle['counts'].decode())
