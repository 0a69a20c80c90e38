"""COCO's average precision for many weightings of the images at once.

pycocotools matches boxes and objects image by image, which takes most of its time and
does not depend on the weights. What is left for each weighting are sums over the boxes.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# By metric: the thresholds among COCO's ten, the area in pixels, and how many boxes of
# a class count in an image. mmdet's CocoMetric allows 100 for the first and 1,000 for
# the others.
_ALL, _NO_LIMIT = slice(None), (0, 1e10)
COCO_METRICS: dict[str, tuple[slice, tuple[float, float], int]] = dict(
    bbox_mAP=(_ALL, _NO_LIMIT, 100),
    bbox_mAP_50=(slice(0, 1), _NO_LIMIT, 1000),
    bbox_mAP_75=(slice(5, 6), _NO_LIMIT, 1000),
    bbox_mAP_s=(_ALL, (0, 32**2), 1000),
    bbox_mAP_m=(_ALL, (32**2, 96**2), 1000),
    bbox_mAP_l=(_ALL, (96**2, 1e10), 1000),
)
_RECALLS = np.linspace(0.0, 1.0, 101)
# What one matrix of draws and boxes may hold: 32 MiB.
_CELLS = 2**22


@dataclass(frozen=True)
class Matches:
    """How the boxes of one class were matched, best score first.

    Attributes:
        images: (boxes,), the index of each box's image.
        hits: (thresholds, boxes), whether it found an object that counts.
        counted: (thresholds, boxes), whether it counts at all.
        objects: (images,), the number of objects that count.
    """

    images: np.ndarray
    hits: np.ndarray
    counted: np.ndarray
    objects: np.ndarray


def match_boxes(images: Sequence[Mapping], classes: int, metric: str) -> list[Matches]:
    """Match boxes and objects by pycocotools, once for all draws.

    Args:
        images: Those of a detection record.
        classes: The number of classes.
        metric: A key of :data:`COCO_METRICS`.

    Returns:
        list: For each class.
    """
    thresholds, area, most = COCO_METRICS[metric]
    # Of equal scores pycocotools takes those of the lower image id first.
    order = list(range(len(images)))
    if all(image['id'] is not None for image in images):
        order.sort(key=lambda i: images[i]['id'])
    with redirect_stdout(io.StringIO()):
        judge = COCOeval(
            as_coco(images, order, classes, true_annotations),
            as_coco(images, order, classes, found_annotations),
            'bbox',
        )
        judge.params.iouThrs = judge.params.iouThrs[thresholds]
        judge.params.areaRng, judge.params.areaRngLbl = [list(area)], ['all']
        judge.params.maxDets = [most]
        judge.evaluate()
    rows = np.reshape(np.array(judge.evalImgs, dtype=object), (classes, len(images)))
    return [_matches_of(row, order, len(judge.params.iouThrs)) for row in rows]


def _matches_of(row: Sequence, order: Sequence[int], thresholds: int) -> Matches:
    """Collect what ``COCOeval.evaluate`` found for one class in the images."""
    objects = np.zeros(len(order))
    there = [(i, one) for i, one in zip(order, row, strict=True) if one is not None]
    for i, one in there:
        objects[i] = np.count_nonzero(np.asarray(one['gtIgnore']) == 0)
    empty = np.zeros((thresholds, 0))
    scores = np.concatenate([[], *(one['dtScores'] for _, one in there)])
    matched = np.hstack([empty, *(one['dtMatches'] for _, one in there)]) > 0
    counted = np.hstack([empty, *(one['dtIgnore'] for _, one in there)]) == 0
    images = np.concatenate(
        [[], *(np.full(len(one['dtScores']), i) for i, one in there)]
    )
    best_first = np.argsort(-scores, kind='mergesort')
    matched, counted = matched[:, best_first], counted[:, best_first]
    return Matches(images[best_first].astype(int), matched & counted, counted, objects)


def as_coco(
    images: Sequence[Mapping],
    order: Sequence[int],
    classes: int,
    annotations: Callable[[Mapping], list[dict]],
) -> COCO:
    """Return annotations of all images as pycocotools holds them."""
    coco = COCO()
    coco.dataset = dict(
        images=[dict(id=rank) for rank in range(len(order))],
        categories=[dict(id=label) for label in range(classes)],
        annotations=[
            dict(annotation, image_id=rank)
            for rank, i in enumerate(order)
            for annotation in annotations(images[i])
        ],
    )
    for number, annotation in enumerate(coco.dataset['annotations'], 1):
        annotation['id'] = number  # 0 would mean that there is no match
    coco.createIndex()
    return coco


def true_annotations(image: Mapping) -> list[dict]:
    """Return the objects of an image as COCO's annotations."""
    columns = (image[key] for key in ('true_boxes', 'true_labels', 'areas', 'crowd'))
    return [
        dict(bbox=box, category_id=label, area=area, iscrowd=crowd)
        for box, label, area, crowd in zip(*columns, strict=True)
    ]


def found_annotations(image: Mapping) -> list[dict]:
    """Return the boxes found in an image as COCO's annotations."""
    # Digits were cut where float32 has no more; the number in float32 is the same.
    corners = np.array(image['boxes'], np.float32).reshape(-1, 4).astype(float)
    scores = np.array(image['scores'], np.float32).astype(float).tolist()
    corners[:, 2:] -= corners[:, :2]
    return [
        dict(bbox=box, score=one, category_id=label, area=box[2] * box[3], iscrowd=0)
        for box, one, label in zip(
            corners.tolist(), scores, image['labels'], strict=True
        )
    ]


def average_precision(matches: Matches, weights: np.ndarray) -> np.ndarray:
    """Compute COCO's average precision of one class, the mean over the thresholds.

    Precision is read at 101 recalls. Only hits have to be looked at: recall rises
    there alone, and precision falls between them.

    Args:
        matches: Of the class.
        weights: (draws, images).

    Returns:
        np.ndarray: (draws,), NaN where no image with an object was drawn.
    """
    objects = weights @ matches.objects
    at_hits = np.flatnonzero(matches.hits.any(0))
    boxes = (
        at_hits[-1] + 1 if len(at_hits) else 0
    )  # those after the last hit change nothing
    total = np.zeros(len(weights))
    step = max(1, _CELLS // max(1, boxes))
    for start in range(0, len(weights) if boxes else 0, step):
        part = slice(start, start + step)
        drawn = weights[part][:, matches.images[:boxes]]
        total[part] = _precision_sums(matches, drawn, objects[part])
    return np.where(objects > 0, total / len(matches.hits) / len(_RECALLS), np.nan)


def _precision_sums(
    matches: Matches, drawn: np.ndarray, objects: np.ndarray
) -> np.ndarray:
    """Sum the precisions at all recalls and thresholds.

    Args:
        matches: Of the class.
        drawn: (draws, boxes), how often each box was drawn.
        objects: (draws,), how many objects were drawn.
    """
    total = np.zeros(len(drawn))
    boxes = drawn.shape[1]
    before, counted = None, None
    for hits, counts in zip(
        matches.hits[:, :boxes], matches.counted[:, :boxes], strict=True
    ):
        at = np.flatnonzero(hits)
        if not len(at):
            continue
        if before is None or not np.array_equal(counts, before):
            counted, before = np.cumsum(drawn * counts, 1), counts
        assert counted is not None
        found = np.cumsum(drawn[:, at], 1)
        precision = found / (counted[:, at] + np.spacing(1))
        best_from_here = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        recall = found / np.maximum(objects, 1)[:, None]
        reached = np.searchsorted(_RECALLS, recall, side='right')
        total += (best_from_here * np.diff(reached, prepend=0, axis=1)).sum(1)
    return total
