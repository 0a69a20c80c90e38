"""The task metric of a test on images drawn with repetition, from an image record.

A record is what :class:`mmsr4ir.evaluation.ImageRecord` wrote. The paired bootstrap
(Efron and Tibshirani, An Introduction to the Bootstrap, 1993) draws the test images
again and again, each time the same ones for both methods.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.special import stdtrit

from mmsr4ir.analysis.results import score

from .average_precision import COCO_METRICS, average_precision, match_boxes

Record = Mapping[str, Any]
Statistic = Callable[[np.ndarray], np.ndarray]
# What one matrix of draws and images may hold: 32 MiB.
_CELLS = 2**22


class Paired(NamedTuple):
    """A difference between two methods and what the bootstrap says of it.

    Args:
        difference: On the test images as they are.
        std_error: Standard deviation of the draws.
        interval: Confidence interval of the difference.
    """

    difference: float
    std_error: float
    interval: tuple[float, float]


def statistic(record: Record, metric: str) -> Statistic | None:
    """Return the task metric as a function of the images' weights.

    What does not depend on the weights, such as the matching of boxes, is done here.

    Args:
        record: Of one test.
        metric: As the log of a test names it: ``coco/bbox_mAP`` (also ``_50``, ``_75``,
            ``_s``, ``_m``, ``_l``), ``mIoU``, ``mAcc``, ``aAcc``, ``accuracy/top1``;
            what stands before the ``/`` does not count.

    Returns:
        Callable | None: From weights (draws, images), how often each image counts, to
        numbers (draws,): what the library's metric gives, not rounded; NaN if it gives
        none because no object or pixel counts. None for other metrics.
    """
    of_classes = class_statistic(record, metric)
    if of_classes is None:
        return None
    if metric.endswith(('top1', 'aAcc')):
        # All images, or pixels, count alike, whatever their class.
        right, total = (part.sum(1) for part in _shares(record, metric))
        return lambda weights: _ratio(weights @ right, weights @ total) * 100

    def mean(weights: np.ndarray) -> np.ndarray:
        found = of_classes(weights)
        known = ~np.isnan(found)
        return _ratio(np.where(known, found, 0).sum(1), known.sum(1))

    return mean


def class_statistic(record: Record, metric: str) -> Statistic | None:
    """Return the metric of each class as a function of the images' weights.

    Args:
        record: Of one test.
        metric: As for :func:`statistic`.

    Returns:
        Callable | None: From weights (draws, images) to numbers (draws, classes): AP,
        IoU, or the share that is right; NaN for a class that is not in the images. None
        for metrics that are unknown.
    """
    name = metric.rpartition('/')[2]
    if record['kind'] == 'detection' and name in COCO_METRICS:
        matches = match_boxes(record['images'], count_classes(record), name)
        return lambda weights: np.stack(
            [average_precision(one, weights) for one in matches], 1
        )
    names = dict(classification=('top1',), segmentation=('mIoU', 'mAcc', 'aAcc'))
    if name not in names.get(record['kind'], ()):
        return None
    right, total = _shares(record, metric)
    return lambda weights: _ratio(weights @ right, weights @ total) * 100


def class_values(record: Record, metric: str) -> np.ndarray | None:
    """Compute the metric of each class: AP, IoU, or the share of right labels.

    Args:
        record: Of one test.
        metric: As for :func:`statistic`.

    Returns:
        np.ndarray | None: (1, classes), NaN for a class that is not in the images. None
        for metrics that are unknown.
    """
    compute = class_statistic(record, metric)
    return compute and compute(np.ones((1, len(record['images']))))


def _shares(record: Record, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what counts as right and in all: (images, classes) each."""
    images = record['images']
    right = np.zeros((len(images), count_classes(record)))
    total = np.zeros_like(right)
    for i, image in enumerate(images):
        if record['kind'] == 'classification':
            at = image['true_label']
            right[i, at] = image['label'] == at
            total[i, at] = 1
            continue
        at = image['classes']
        right[i, at] = image['common']
        total[i, at] = image['true']
        if metric.endswith('mIoU'):
            total[i, at] += np.subtract(image['predicted'], image['common'])
    return right, total


def count_classes(record: Record) -> int:
    """Return how many classes a record names, or else how many it has labels of."""
    if record['classes']:
        return len(record['classes'])
    keys = ('classes', 'labels', 'true_labels', 'label', 'true_label')
    found = [image[key] for image in record['images'] for key in keys if key in image]
    return 1 + max(
        (int(np.max(labels)) for labels in found if np.size(labels)), default=0
    )


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def same_images(records: Sequence[Record]) -> bool:
    """Return whether all records are of the same images, in the same order."""
    first, *others = (
        (record['kind'], [image['name'] for image in record['images']])
        for record in records
    )
    return all(other == first for other in others)


def paired_bootstrap(
    before: Sequence[Record],
    after: Sequence[Record],
    metric: str,
    draws: int = 1000,
    level: float = 0.95,
) -> Paired | None:
    """Estimate how much of the difference of two methods is luck of the test images.

    The interval is the difference ± the standard error of the draws times the quantile
    of Student's t with (images that differ - 1) degrees of freedom. Where few images
    differ, as in a small test of classification, percentiles of the draws, or the
    normal distribution, would be too sure.

    Args:
        before: The records of one method, one of each seed; their mean is taken.
        after: Those of the other method, seed by seed, of the same images.
        metric: As for :func:`statistic`.
        draws: How often the images are drawn.
        level: Of the interval.

    Returns:
        Paired | None: The difference after - before; None if the metric is unknown or
        has no value.
    """
    pairs = []
    for one, other in zip(before, after, strict=True):
        low, high = statistic(one, metric), statistic(other, metric)
        if low is None or high is None:
            return None
        pairs.append((low, high))

    def difference(weights: np.ndarray) -> np.ndarray:
        return np.mean([high(weights) - low(weights) for low, high in pairs], axis=0)

    count = len(before[0]['images'])
    observed = float(difference(np.ones((1, count)))[0])
    rng = np.random.default_rng(0)
    blocks = []
    for start in range(0, draws, step := max(1, _CELLS // count)):
        size = min(step, draws - start)
        drawn = rng.multinomial(count, np.full(count, 1 / count), size)
        blocks.append(difference(drawn.astype(float)))
    found = np.concatenate(blocks)
    # A draw may have no object at all.
    found = found[~np.isnan(found)]
    if np.isnan(observed) or len(found) < 2:
        return None
    differing = sum(
        any(
            x['images'][i] != y['images'][i] for x, y in zip(before, after, strict=True)
        )
        for i in range(count)
    )
    error = float(np.std(found, ddof=1))
    half = half_width(error, differing - 1, level)
    return Paired(observed, error, (observed - half, observed + half))


def half_width(std_error: float, freedom: int, level: float) -> float:
    """Return half the width of a confidence interval by Student's t.

    Args:
        std_error: Of the mean.
        freedom: Degrees of freedom; with less than 1 the interval has no end, unless
            the error is 0.
        level: Such as 0.95.
    """
    if std_error == 0:
        return 0.0
    if freedom < 1:
        return float('inf')
    return std_error * float(stdtrit(freedom, (1 + level) / 2))


def image_scores(record: Record) -> list[float | None]:
    """Score each image in [0, 1], as :func:`mmsr4ir.analysis.results.score` does.

    Returns:
        list: None where an image has no object, or no pixel that counts.
    """
    if record['kind'] == 'classification':
        return [image['score'] for image in record['images']]
    if record['kind'] == 'segmentation':
        return [_mean_iou(image) for image in record['images']]
    classes = count_classes(record)
    return [score(as_result(image), classes) for image in record['images']]


def _mean_iou(image: Mapping) -> float | None:
    common, found, true = (
        np.array(image[key], float) for key in ('common', 'predicted', 'true')
    )
    there = true > 0
    if not there.any():
        return None
    return float((common / (found + true - common))[there].mean())


def as_result(image: Mapping) -> dict[str, dict]:
    """Return an image of a detection record as ``tools/test.py --out`` writes it."""
    boxes = torch.tensor(image['true_boxes'], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = torch.tensor(image['true_labels'], dtype=torch.int64)
    crowd = torch.tensor(image['crowd'], dtype=torch.bool)
    found = torch.tensor(image['boxes'], dtype=torch.float32).reshape(-1, 4)
    return dict(
        pred_instances=dict(
            bboxes=found,
            scores=torch.tensor(image['scores'], dtype=torch.float32),
            labels=torch.tensor(image['labels'], dtype=torch.int64),
        ),
        gt_instances=dict(bboxes=boxes[~crowd], labels=labels[~crowd]),
        ignored_instances=dict(bboxes=boxes[crowd], labels=labels[crowd]),
    )


def flips(a: Record, b: Record, count: int) -> tuple[list[int], list[int]]:
    """Return the images that b gets right and a wrong, and the reverse.

    In classification an image is right or wrong. Otherwise these are the largest rises
    and falls of :func:`image_scores`.

    Args:
        a: The record of one method.
        b: That of the other, of the same images.
        count: How many of each at most.

    Returns:
        tuple: Indices of the images, the largest change of the score first.
    """
    changes = [
        0.0 if before is None or after is None else after - before
        for before, after in zip(image_scores(a), image_scores(b), strict=True)
    ]
    if a['kind'] == 'classification':
        right = [
            [image['label'] == image['true_label'] for image in record['images']]
            for record in (a, b)
        ]
        signs = [int(after) - int(before) for before, after in zip(*right, strict=True)]
    else:
        signs = [int(np.sign(change)) for change in changes]
    gained = sorted((-changes[i], i) for i, sign in enumerate(signs) if sign > 0)
    lost = sorted((changes[i], i) for i, sign in enumerate(signs) if sign < 0)
    return [i for _, i in gained[:count]], [i for _, i in lost[:count]]
