"""What is wrong with the metrics of a split."""

import os
from collections import Counter
from collections.abc import Mapping

from mmsr4ir.utils.configs import as_list, type_name
from mmsr4ir.utils.errors import DataError

from .coco import read_coco
from .coco_entries import check_counted_ids, check_crowd_keys
from .labels import some
from .problem import Report
from .sets import DataPart


def check_evaluator(
    report: Report,
    cfg: Mapping,
    split: str,
    found: list[DataPart],
    contents: dict[str, dict | None],
) -> None:
    """Check that a split's metrics are about its data.

    It is an error if ``CocoMetric`` reads an annotation file with other images or
    categories than the data set's, or one without ``iscrowd``, if ``Accuracy`` wants
    more classes than there are, or if a list of metrics stands in another. It is also
    an error if several data sets, whose results one ``CocoMetric`` takes together, have
    the same image ids.

    Args:
        report: Is filled.
        cfg: The whole config.
        split: The split.
        found: Its data sets.
        contents: The annotation files that were read, by their paths.
    """
    model = cfg.get('model') or {}
    head = (model.get('task') or model).get('head') or {}
    paths = [os.path.normpath(part.ann_path) for part in found if part.ann_path]
    for number, metric in enumerate(as_list(cfg.get(f'{split}_evaluator'))):
        where = f'{split}_evaluator', f'entry {number}'
        if isinstance(metric, list | tuple):
            report.error(
                where[0],
                'has a list in its list: that of _base_ is a list already',
                f'write {split}_evaluator = [*_base_.val_evaluator, '
                '_base_.sr4ir_metric]',
                where[1],
            )
            continue
        if type_name(metric) == 'CocoMetric' and len(found) > 1:
            _check_several(report, found, where)
        ann_file = metric.get('ann_file')
        if type_name(metric) == 'CocoMetric' and ann_file and '://' not in ann_file:
            path, labels = os.path.normpath(ann_file), not metric.get('format_only')
            try:
                content = contents.get(path) or read_coco(path, labels)
                other = (
                    len(paths) == len(found) == 1
                    and paths[0] != path
                    and _about(read_coco(paths[0], False)) != _about(content)
                )
            except DataError as error:
                report.error('', str(error))
                continue
            if other:
                report.error(
                    where[0],
                    f'compares with {ann_file}, whose images or categories '
                    f'are others than those of {paths[0]} in {split}_dataloader',
                    'set ann_file of both to one file',
                    where[1],
                )
            if labels:
                check_crowd_keys(report, ann_file, content['annotations'])
                check_counted_ids(report, ann_file, content['annotations'])
        count = head.get('num_classes')
        most = (
            max(as_list(metric.get('topk', 1)))
            if type_name(metric) == 'Accuracy'
            else 0
        )
        if isinstance(count, int) and most > count:
            report.error(
                where[0],
                f'counts the best {most} classes, and there are {count}',
                'set topk=(1, )',
                where[1],
            )


def _check_several(
    report: Report, found: list[DataPart], where: tuple[str, str]
) -> None:
    """Check that no image id is in two data sets.

    The metric finds the objects of an image by its id, whatever data set it is of.
    """
    times: Counter = Counter()
    for part in found:
        if part.ann_path and hasattr(part.kind, 'COCOAPI'):
            try:
                content = read_coco(part.ann_path, False)
            except DataError as error:
                report.error('', str(error))
                return
            times.update(
                {one.get('id') for one in content['images'] if isinstance(one, dict)}
            )
    repeated = [key for key, count in times.items() if count > 1]
    if repeated:
        report.error(
            where[0],
            f'compares {len(found)} data sets by image ids, and {len(repeated)} ids '
            f'are those of images of several ({some(repeated)})',
            'give the images of each file ids of their own and write one ann_file of '
            'all for the metric; or validate with one of the data sets',
            where[1],
        )


def _about(content: dict) -> tuple:
    """Return images and categories of an annotation file, which results refer to."""
    return (
        {str(one.get('id')) for one in content['images'] if isinstance(one, dict)},
        [
            (one.get('id'), one.get('name'))
            for one in content['categories']
            if isinstance(one, dict)
        ],
    )
