"""Score each image of a test by the task, and draw the best and the worst."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import mmcv
import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor

from mmsr4ir.evaluation.image_record import as_array
from mmsr4ir.visualization.drawing import Annotator, drawn_pixels, enlarge, row, zoom_to

#: What a score means, by the predictions that a result holds.
KINDS = dict(
    pred_instances='AP at IoU 0.5, mean over the classes in the image',
    pred_sem_seg='IoU, mean over the classes in the image',
    pred_score='probability of the true class',
)
# The library whose tests give each of them, and the truth that it is compared with.
_MADE_BY = dict(
    pred_instances=('mmdet', 'gt_instances'),
    pred_sem_seg=('mmseg', 'gt_sem_seg'),
    pred_score=('mmpretrain', 'gt_label'),
)


def kind_of(results: Sequence[Mapping], scope: str | None = None) -> str:
    """Return the key of :data:`KINDS` that all results have.

    Args:
        results: What ``tools/test.py --out`` wrote.
        scope: ``default_scope`` of the config that was tested.

    Raises:
        ValueError: If the results are no predictions of ``tools/test.py --out``, have
            no ground truth, or are those of another library than ``scope``.
    """
    if (
        not isinstance(results, Sequence)
        or not results
        or not all(isinstance(result, Mapping) for result in results)
    ):
        raise ValueError(
            'it holds no list of predictions; make it by tools/test.py --out FILE.pkl'
        )
    kind = next((key for key in KINDS if all(key in one for one in results)), None)
    if kind is None:
        raise ValueError(
            f'it holds none of {", ".join(KINDS)} for every image, but '
            f'{", ".join(sorted(map(str, results[0])))}'
        )
    wanted = next((key for key, made in _MADE_BY.items() if scope == made[0]), kind)
    if kind != wanted:
        raise ValueError(
            f'it holds {kind}, but the config is one of {scope}, whose tests give '
            f'{wanted}'
        )
    _, truth = _MADE_BY[kind]
    if not all(truth in one for one in results):
        raise ValueError(
            f'it holds no {truth}: the test pipeline has to load the '
            'annotations and to pack them'
        )
    return kind


def score(result: Mapping, num_classes: int, ignore_index: int = 255) -> float | None:
    """Score one image in [0, 1], see :data:`KINDS`; classes not in it do not count.

    Boxes of the prediction and of the truth have to be in pixels of the same image,
    as with annotations that the test pipeline loads after it resized the image.

    Args:
        result: What ``tools/test.py --out`` wrote for the image.
        num_classes: Of the data set.
        ignore_index: Pixels of this class in the true map do not count.

    Returns:
        float | None: None where the image has no object, or no pixel that counts.

    Raises:
        ValueError: If the image has several labels.
    """
    if 'pred_instances' in result:
        return _average_precision(result, num_classes)
    if 'pred_sem_seg' in result:
        from mmseg.evaluation import IoUMetric

        common, union, _, truth = IoUMetric.intersect_and_union(
            result['pred_sem_seg']['data'].squeeze(),
            result['gt_sem_seg']['data'].squeeze(),
            num_classes,
            ignore_index,
        )
        there = truth > 0
        return (common[there] / union[there]).mean().item() if there.any() else None
    label = result['gt_label']
    if label.numel() != 1:
        raise ValueError('an image has several labels: there is no score for those')
    return result['pred_score'][label].item()


def _average_precision(result: Mapping, num_classes: int) -> float | None:
    from mmdet.evaluation import eval_map

    found = {key: as_array(value) for key, value in result['pred_instances'].items()}
    truth = {key: as_array(value) for key, value in result['gt_instances'].items()}
    if not len(truth['labels']):
        return None
    boxes = np.column_stack([found['bboxes'].reshape(-1, 4), found['scores']])
    by_class = [boxes[found['labels'] == i] for i in range(num_classes)]
    annotation = dict(bboxes=truth['bboxes'].reshape(-1, 4), labels=truth['labels'])
    ignored = result.get('ignored_instances')
    if ignored is not None:
        annotation |= dict(
            bboxes_ignore=as_array(ignored['bboxes']).reshape(-1, 4),
            labels_ignore=as_array(ignored['labels']),
        )
    return float(
        eval_map([by_class], [annotation], iou_thr=0.5, logger='silent', nproc=1)[0]
    )


def best_and_worst(
    scores: Sequence[float | None], count: int
) -> tuple[list[int], list[int]]:
    """Return the indices of the highest and of the lowest scores, extremes first.

    Images without a score are in neither; none is in both.
    """
    ranked = sorted((one, i) for i, one in enumerate(scores) if one is not None)
    order = [i for _, i in ranked]
    count = min(count, max(1, len(order) // 2))
    worst = order[:count]
    return [i for i in reversed(order[-count:]) if i not in worst], worst


def draw_result(
    result: Mapping,
    index: int,
    dataset,
    annotator: Annotator,
    title: str,
    min_size: int = 256,
) -> np.ndarray:
    """Draw the image, the prediction and the ground truth.

    Args:
        result: As for :func:`score`.
        index: Of the image in the data set, for images that come from no file.
        dataset: The built data set.
        annotator: Draws.
        title: Above the picture.
        min_size: Smaller images are enlarged to about this shorter edge.

    Returns:
        np.ndarray: (height, width, 3), RGB, uint8.
    """
    if result.get('img_path'):
        image = _loaded(dataset, result['img_path'])
    else:
        image = np.asarray(dataset.get_data_info(index)['img'])
    height, width = result.get('ori_shape', image.shape)[:2]
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height))
    sample, zoom = _sample(result), zoom_to(image.shape[:2], min_size)
    return row(
        [
            ('HR', enlarge(image, zoom)),
            ('prediction', annotator.draw_enlarged(image, sample, False, zoom)),
            ('ground truth', annotator.draw_enlarged(image, sample, True, zoom)),
        ],
        title,
    )


def _loaded(dataset: BaseDataset, path: str) -> np.ndarray:
    """Load an image as the data set's pipeline does, as it is drawn."""
    transforms = getattr(getattr(dataset, 'pipeline', None), 'transforms', ())
    loader = next(
        (one for one in transforms if type(one).__name__ == 'LoadImageFromFile'), None
    )
    if loader is None:
        return mmcv.imread(path, channel_order='rgb')
    image = np.atleast_3d(loader(dict(img_path=path))['img'])
    return drawn_pixels(image[..., ::-1] if image.shape[2] == 3 else image)


def _sample(result: Mapping) -> BaseDataElement:
    """Build the data sample that was written as a dict."""
    sample = BaseDataElement()
    for key, value in result.items():
        if isinstance(value, Mapping):
            kind = InstanceData if key.endswith('instances') else PixelData
            value = kind(**value)
        if isinstance(value, BaseDataElement | Tensor):
            sample.set_field(value, key)
        else:
            sample.set_field(value, key, field_type='metainfo')
    return sample


def num_classes_of(cfg: Config, results: Sequence[Mapping], dataset) -> int:
    """Return how many classes the data set names, or else the model has.

    Raises:
        ValueError: If neither the data set nor the model tells the number of classes.
    """
    classes = dataset.metainfo.get('classes')
    if classes:
        return len(classes)
    if cfg.model.get('num_classes'):
        return cfg.model.num_classes
    if 'pred_score' in results[0]:
        return len(results[0]['pred_score'])
    raise ValueError(
        'test_dataloader.dataset names no classes: set its metainfo=dict(classes=...)'
    )


def name_of(result: Mapping, index: int) -> str:
    """Return a short name of an image."""
    return Path(result.get('img_path') or f'{index:06d}').stem
