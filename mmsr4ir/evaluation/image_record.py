"""What a test found in each image, to compute its metric on any of the images.

A comparison of methods asks how much of a difference is luck of the test images. The
bootstrap answers by computing the metric on images that are drawn with repetition, for
which the means of a test are not enough.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.fileio import load
from mmengine.logging import print_log
from torch import Tensor

from mmsr4ir.registry import METRICS
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.files import write_whole


@METRICS.register_module()
class ImageRecord(BaseMetric):
    """Write what is needed to compute the task metric on any images of a test.

    The file has ``kind``, ``classes`` (names, or None) and ``images``, a list of dicts
    with ``name`` and, by kind,

    - ``classification``: ``label``, ``true_label`` and ``score``, the probability of
      the true class (None without probabilities);
    - ``segmentation``: ``classes`` that are in the prediction or the truth, and their
      pixels in ``common``, ``predicted`` and ``true``, as mmseg's ``IoUMetric`` counts;
    - ``detection``: ``id``, ``boxes`` (x1, y1, x2, y2) with ``scores`` and ``labels``,
      and ``true_boxes`` (x, y, width, height, as in COCO) with ``true_labels``,
      ``areas`` and ``crowd`` (1: ignored). Boxes are in pixels of the original image.

    It adds no number to the test. Of samples of another kind it writes nothing, and a
    warning says so.

    Args:
        out_file: The JSON file.
        ann_file: The COCO file that ``CocoMetric`` compares with. Images there that are
            not tested count as images in which nothing was found, as they do in
            ``CocoMetric``. None: the annotations of the data samples.
        ignore_index: Pixels of this class in the true map do not count.
        collect_device: As in :class:`mmengine.evaluator.BaseMetric`.
        prefix: As in :class:`mmengine.evaluator.BaseMetric`.

    Raises:
        DataError: If ``ann_file`` cannot be read, or holds none of the classes.
    """

    default_prefix = 'record'

    def __init__(
        self,
        out_file: str,
        ann_file: str | None = None,
        ignore_index: int = 255,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.out_file = Path(out_file)
        self.ignore_index = ignore_index
        self.coco: Mapping | None = None
        if ann_file:
            try:
                self.coco = load(ann_file, file_format='json')
            except (OSError, ValueError) as error:
                raise DataError(
                    f'ImageRecord: ann_file={ann_file!r} cannot be read ({error}): '
                    'set it to that of CocoMetric'
                ) from error

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep one entry for each sample, (None, {}) for one of another kind."""
        for sample in data_samples:
            kind, entry = self.entry(sample)
            path = sample.get('img_path')
            name = Path(path).name if isinstance(path, str) else None
            self.results.append((kind, dict(name=name) | entry))

    def entry(self, sample: Mapping) -> tuple[str | None, dict]:
        """Return the kind of a sample and what is kept of it."""
        label = sample.get('gt_label')
        predicted = sample.get('pred_label', sample.get('pred_score'))
        if predicted is not None and label is not None:
            several = 'pred_label' in sample and predicted.numel() != 1
            if label.numel() == 1 and not several:
                return 'classification', classification_entry(sample)
        if 'pred_sem_seg' in sample and 'gt_sem_seg' in sample:
            classes = (self.dataset_meta or {}).get('classes')
            if classes:
                return 'segmentation', segmentation_entry(
                    sample, len(classes), self.ignore_index
                )
        found = sample.get('pred_instances', {})
        truth = (
            self.coco is not None or 'instances' in sample or 'gt_instances' in sample
        )
        if truth and {'bboxes', 'scores', 'labels'} <= set(found):
            entry = detection_entry(sample, self.coco is None)
            if all(len(box) == 4 for box in entry['boxes']):
                return 'detection', entry
        return None, {}

    def compute_metrics(self, results: list[tuple[str | None, dict]]) -> dict:
        """Write the file.

        Returns:
            dict: Empty.
        """
        kinds = {kind for kind, _ in results}
        if len(kinds) != 1 or None in kinds:
            print_log(
                f'ImageRecord: {self.out_file} is not written: not all samples are '
                'images with one label, a map of classes, or boxes, each with its '
                'ground truth',
                'current',
                level=logging.WARNING,
            )
            return {}
        classes = (self.dataset_meta or {}).get('classes')
        images = [entry for _, entry in results]
        if kinds == {'detection'} and self.coco is not None:
            images = add_annotations(images, self.coco, classes)
        for index, image in enumerate(images):
            image['name'] = image['name'] or f'{index:06d}'
        record = dict(
            kind=kinds.pop(), classes=list(classes) if classes else None, images=images
        )
        write_whole(self.out_file, json.dumps(record, separators=(',', ':')))
        return {}


def classification_entry(sample: Mapping) -> dict:
    """Return the labels of a sample and the probability of the true one."""
    true_label = int(sample['gt_label'])
    scores = sample.get('pred_score')
    if scores is None:
        return dict(label=int(sample['pred_label']), true_label=true_label, score=None)
    # As mmpretrain's Accuracy: of equal scores topk may take another than argmax.
    label = scores.float().cpu().topk(1).indices.item()
    return dict(
        label=label, true_label=true_label, score=_short(scores[true_label].item())
    )


def segmentation_entry(sample: Mapping, num_classes: int, ignore_index: int) -> dict:
    """Return the pixels of the classes that are in the prediction or in the truth."""
    from mmseg.evaluation import IoUMetric

    # On the CPU: torch refuses to count on a GPU where all is to be deterministic.
    found = sample['pred_sem_seg']['data'].squeeze().cpu()
    common, _, predicted, true = IoUMetric.intersect_and_union(
        found,
        sample['gt_sem_seg']['data'].squeeze().to(found),
        num_classes,
        ignore_index,
    )
    there = (predicted + true).nonzero().flatten()
    areas = dict(common=common, predicted=predicted, true=true)
    return dict(classes=there.tolist()) | {
        name: area[there].long().tolist() for name, area in areas.items()
    }


def detection_entry(sample: Mapping, with_truth: bool) -> dict:
    """Return the boxes of a sample, and the true ones unless a COCO file has them."""
    found = sample['pred_instances']
    entry = dict(
        id=sample.get('img_id'),
        boxes=[[_short(x) for x in box] for box in as_array(found['bboxes'])],
        scores=[_short(score) for score in as_array(found['scores'])],
        labels=as_array(found['labels']).tolist(),
    )
    if not with_truth:
        return entry
    boxes, labels, crowd = _true_instances(sample)
    boxes = [[x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes]
    return entry | dict(
        true_boxes=boxes,
        true_labels=labels,
        crowd=crowd,
        areas=[width * height for _, _, width, height in boxes],
    )


def _true_instances(sample: Mapping) -> tuple[list, list[int], list[int]]:
    """Return boxes (x1, y1, x2, y2), labels and flags of crowds."""
    if 'instances' in sample:  # what CocoMetric takes without an annotation file
        instances = sample['instances']
        return (
            [list(map(float, one['bbox'])) for one in instances],
            [int(one['bbox_label']) for one in instances],
            [int(one.get('ignore_flag', 0)) for one in instances],
        )
    boxes: list[list[float]] = []
    labels: list[int] = []
    crowd: list[int] = []
    for key in ('gt_instances', 'ignored_instances'):
        instances = sample.get(key) or dict(bboxes=np.zeros((0, 4)), labels=np.zeros(0))
        boxes += as_array(instances['bboxes']).astype(float).tolist()
        labels += as_array(instances['labels']).astype(int).tolist()
        crowd += [int(key == 'ignored_instances')] * (len(labels) - len(crowd))
    return boxes, labels, crowd


def add_annotations(
    images: Sequence[dict], coco: Mapping, classes: Sequence[str] | None
) -> list[dict]:
    """Add the annotations of a COCO file to images, and images that lack.

    Args:
        images: The tested ones, by ``id``.
        coco: The content of the file.
        classes: Names; their labels are in the order of the file, as in ``CocoMetric``.

    Returns:
        list: The images with ``true_boxes``, ``true_labels``, ``areas`` and ``crowd``.

    Raises:
        DataError: If the file has none of the classes.
    """
    ids = [one['id'] for one in coco['categories'] if one['name'] in (classes or ())]
    if not ids:
        raise DataError(
            'ImageRecord: ann_file has no category of the classes of the test data: '
            'set ann_file to that of CocoMetric'
        )
    label_of = {one: label for label, one in enumerate(ids)}
    by_image: dict[Any, list[Mapping]] = {}
    for annotation in coco.get('annotations', ()):
        if annotation['category_id'] in label_of:
            by_image.setdefault(annotation['image_id'], []).append(annotation)
    tested = {image['id'] for image in images}
    missing = [
        dict(
            name=Path(one.get('file_name', str(one['id']))).name,
            id=one['id'],
            boxes=[],
            scores=[],
            labels=[],
        )
        for one in coco['images']
        if one['id'] not in tested
    ]
    complete = []
    for image in [*images, *missing]:
        found = by_image.get(image['id'], [])
        truth = dict(
            true_boxes=[one['bbox'] for one in found],
            true_labels=[label_of[one['category_id']] for one in found],
            areas=[one['area'] for one in found],
            crowd=[int(one.get('iscrowd', 0)) for one in found],
        )
        complete.append(image | truth)
    return complete


def as_array(value: Any) -> np.ndarray:
    """Return a tensor of any device, boxes or numbers as an array."""
    value = getattr(value, 'tensor', value)  # boxes with a class of their own
    return value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _short(value: Any) -> float:
    """Return the float with the fewest digits that is the same in float32."""
    return float(str(np.float32(value)))
