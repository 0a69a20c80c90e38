"""Find what is wrong with data before a training does.

Without this check, a faulty data set causes an error deep inside a worker process hours
later, or none at all: mmdet ignores classes that the annotation file lacks, and OpenCV
reads some truncated files as whole images.
"""

import copy
import os
from collections.abc import Iterator, Mapping, Sequence

from mmengine.config import Config

from mmsr4ir.utils.configs import type_name
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.loading import USUAL, Loading

from .coco import CocoRule, check_coco, read_coco
from .evaluators import check_evaluator
from .images import Scanner, scan_image
from .labels import check_folders, check_labels, check_mixing, check_occurrence
from .maps import check_maps, map_rule
from .pairs import check_pairs
from .pipelines import check_buildable, check_loaded, check_padding
from .problem import Problem, Report
from .sets import (
    SPLITS,
    DataPart,
    build_unread,
    check_counts,
    class_names,
    parts,
    samples_of,
)


def check(
    cfg: Config, splits: Sequence[str] = SPLITS, whole: bool = True
) -> list[Problem]:
    """List what is wrong with the data of a config, as ``verify_dataset.py`` does.

    .. code-block:: python

        for problem in check(Config.fromfile('configs/sr4ir/my_boxes.py')):
            print(problem.severity, problem)

    Args:
        cfg: A whole config. It stays as it is.
        splits: The splits to look at. Those that the config lacks are left out.
        whole: Whether to decode all of each image. If not, only head and end of the
            files are read, as before a training.

    Returns:
        list[Problem]: Errors, warnings and notes, one data set after the other.
    """
    # Networks take a second to import, which not all users of this package need.
    from mmsr4ir.datasets.move_resize import move_resize

    # Look at the pipelines that the Runner will have.
    cfg = move_resize(copy.deepcopy(cfg))
    there = {part.split for part in parts(cfg, splits)}
    found = reports(cfg, [one for one in splits if one in there], Scanner(whole))
    return [problem for report in found for problem in report.problems]


def reports(cfg: Mapping, splits: Sequence[str], scanner: Scanner) -> Iterator[Report]:
    """Check the data of a config, one data set after the other.

    Args:
        cfg: A whole config with ``<split>_dataloader`` and ``model``.
        splits: The splits that will be used.
        scanner: How images and maps are read. If it reads only head and end of files,
            500 maps of a split are counted. Annotation files are read whole in any
            case.

    Yields:
        Report: Of each data set, then of what concerns the split or several of them.
    """
    cfg = _with_counts(cfg)
    # Metrics read some of the files, too.
    contents: dict[str, dict | None] = {
        os.path.normpath(metric['ann_file']): None
        for part in parts(cfg, splits)
        for metric in part.metrics
        if metric.get('ann_file')
    }
    done = []
    for split in splits:
        found = [part for part in parts(cfg, splits) if part.split == split]
        for part in found:
            if not part.same:
                done.append(_check_set(part, scanner, contents))
                yield done[-1]
        report = Report(f'metrics and pairs of {split}')
        check_evaluator(report, cfg, split, found, contents)
        check_pairs(report, cfg, split)
        if report.problems:
            yield report
    report = _check_across_splits(done)
    if report.problems:
        yield report


def _with_counts(cfg: Mapping) -> Mapping:
    """Return a config whose task network has the classes of ``model.num_classes``."""
    model = cfg.get('model') or {}
    if model.get('num_classes') is None or 'task' not in model:
        return cfg
    from mmsr4ir.models.networks import set_num_classes

    return Config(
        dict(
            cfg,
            model=dict(
                model, task=set_num_classes(model['task'], model['num_classes'])
            ),
        )
    )


def _check_set(part: DataPart, scanner: Scanner, contents: dict) -> Report:
    """Check one data set; whatever cannot be read is an error of its report."""
    report = Report(part.name)
    check_buildable(report, part)
    if report.found('error'):
        return report
    try:
        report.classes = class_names(report, part)
        if report.found('error'):
            return report
        if hasattr(part.kind, 'COCOAPI'):
            _check_coco_set(report, part, scanner, contents)
        else:
            _check_listed_set(report, part, scanner)
    except DataError as error:
        report.error('', str(error))
    else:
        check_loaded(report, part)
        if not scanner.whole:
            check_padding(report, part)
    return report


def base_names(part: DataPart) -> set[str]:
    """Return the names of a data set's class and of its bases."""
    return {base.__name__ for base in part.kind.__mro__} if part.kind else set()


def _check_coco_set(
    report: Report, part: DataPart, scanner: Scanner, contents: dict
) -> None:
    """Check the file itself, because mmdet leaves bad objects out without a message."""
    path = part.ann_path
    if path is None:
        if scanner.whole or not part.dataset.get('ann_file'):
            raise DataError(f'{part.loader} has no ann_file on this machine: set it')
        return
    kinds = base_names(part)
    panoptic = 'CocoPanopticDataset' in kinds  # its masks are in images of their own
    rule = CocoRule(
        part.loader,
        labels=part.compared,
        masks=not panoptic
        and (
            part.reads('with_mask')
            or any('segm' in metric.get('metric', ()) for metric in part.metrics)
        ),
        panoptic=panoptic,
        lvis='LVISV1Dataset' in kinds,
        scale=part.scale,
        how=part.loading,
    )
    content = read_coco(path, rule.labels)
    if os.path.normpath(path) in contents:
        contents[os.path.normpath(path)] = content
    _check_coco_content(report, part, path, content, rule, scanner)


def _check_coco_content(
    report: Report,
    part: DataPart,
    path: str,
    content: dict,
    rule: CocoRule,
    scanner: Scanner,
) -> None:
    check_coco(report, path, content, part.folder, rule, scanner)
    check_counts(report, part, path)
    if not report.found('error'):
        check_occurrence(report, 'warning' if part.split == 'train' else 'note')


def _check_listed_set(report: Report, part: DataPart, scanner: Scanner) -> None:
    """Check what the data set itself lists: maps, class numbers or boxes."""
    bases = base_names(part)
    if not scanner.whole and not bases & {
        'BaseSegDataset',
        'CustomDataset',
        'CUB',
        'StanfordCars',
    }:
        return  # too slow to list, or in memory
    built = build_unread(part)
    report.classes = built.metainfo.get('classes')
    folders = 'CustomDataset' in bases and not built.ann_file and built.with_label
    if folders and os.path.isdir(built.img_prefix):
        check_folders(report, built)
        if report.found('error'):
            return
    samples = samples_of(built, part)
    report.classes = built.metainfo.get('classes')  # some read them with the samples
    labelled, training = samples[0], part.split == 'train'
    if 'BaseSegDataset' in bases and (part.compared or part.reads()):
        if not labelled.get('seg_map_path'):
            raise DataError(
                f'{part.loader} has no maps: set data_prefix=dict(seg_map_path=...)'
            )
        counted = check_maps(
            report,
            [(one['img_path'], one['seg_map_path']) for one in samples],
            map_rule(part, built, training),
            scanner,
        )
        some = f' in the {counted} maps that were counted' * (counted < len(samples))
        check_occurrence(
            report,
            'note' if not training else 'warning' if some else 'error',
            among=some,
        )
    elif 'instances' in labelled:
        content = instances_to_coco(samples, report.classes, part.loading)
        rule = CocoRule(part.loader, part.compared, how=part.loading)
        _check_coco_content(report, part, part.loader, content, rule, scanner)
        return
    else:
        check_labels(
            report,
            [(one.get('img_path'), one.get('gt_label')) for one in samples],
            scanner,
            part.loading,
        )
        if part.compared and 'gt_label' not in labelled:
            raise DataError(
                f'{type_name(part.dataset)} of {part.loader} has no labels, maps or '
                f'boxes that are known; it has {sorted(labelled)}'
            )
        if 'gt_label' in labelled:
            check_mixing(report, part)
            check_occurrence(
                report,
                'error' if training else 'note',
                built.img_prefix if folders else '',
            )
    if report.classes:
        check_counts(report, part, f'metainfo of {part.loader}')


def instances_to_coco(
    samples: Sequence[Mapping], classes: Sequence[str], how: Loading = USUAL
) -> dict:
    """Return the samples of mmdet's other data sets as a COCO dict.

    Args:
        samples: Each with ``img_path`` and ``instances``, whose boxes are corners.
        classes: Their classes in order.
        how: How the pipeline loads images.
    """
    images = []
    annotations: list[dict] = []
    for i, sample in enumerate(samples):
        size = (
            (sample['width'], sample['height'])
            if 'width' in sample
            else scan_image(sample['img_path'], whole=False, how=how).size or (0, 0)
        )
        images.append(
            dict(id=i, file_name=sample['img_path'], width=size[0], height=size[1])
        )
        for one in sample['instances']:
            x1, y1, x2, y2 = map(float, one['bbox'])
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=i,
                    category_id=int(one['bbox_label']),
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=one.get('ignore_flag', 0),
                )
            )
    return dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=i, name=name) for i, name in enumerate(classes)],
    )


def _check_across_splits(done: Sequence[Report]) -> Report:
    """Check that all splits have the same classes; note images that are in two."""
    found = Report('all splits')
    paths = {
        report.name: {path for some in report.kinds.values() for path in some}
        - {'in memory'}
        for report in done
    }
    for train in (name for name in paths if name.startswith('train')):
        for name in (name for name in paths if not name.startswith('train')):
            for path in sorted(paths[name] & paths[train]):
                found.note(path, f'is in {name} and in {train}')
    named = [report for report in done if report.classes]
    for report in named[1:]:
        if list(report.classes or ()) != list(named[0].classes or ()):
            found.error(
                report.name,
                f'has other classes than {named[0].name}, or in another order',
                'set metainfo=dict(classes=...) in both',
            )
    return found
