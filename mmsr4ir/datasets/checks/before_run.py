"""Look at the data before a training starts.

What is wrong with a data set shows, without this, as an error deep inside a worker
process hours later, or not at all: mmdet ignores classes that the annotation file
lacks, and OpenCV reads some truncated files as whole images.
"""
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from mmengine.logging import print_log
from mmengine.registry import DATASETS, DefaultScope

from mmsr4ir.utils.configs import type_name
from mmsr4ir.utils.errors import SR4IRError
from mmsr4ir.utils.files import load_json

from .images import image_problem
from .labels import dataset_class, list_problems

_ENLARGED = 1.1  # times the pixels; less is rounding
# What mmdet reads of each entry, and fails without.
_NEEDED = dict(
    images=dict(id=int | str, file_name=str, width=int | float, height=int | float),
    categories=dict(id=int | str, name=str),
    annotations=dict(id=int | str, image_id=int | str, category_id=int | str,
                     bbox=list, area=int | float))


class DataError(SR4IRError, ValueError):
    """Something is wrong with the data; the message names the file and the mend."""


def check_data(cfg, splits: tuple[str, ...] = ('train', 'val')) -> None:
    """Check every data set of a config: COCO-style, label maps, class folders.

    Args:
        cfg: A whole config with ``<split>_dataloader`` and ``model``.
        splits: The splits that will be used.

    Raises:
        DataError: An annotation file is missing, empty or no COCO JSON; its classes
            differ from the config's, or stand in another order; an image is missing or
            truncated; a label map has another size than its image or labels beyond the
            classes; a class has no image; a metric is about other data.
    """
    seen, scope = set(), cfg.get('default_scope') or 'mmengine'
    for split in splits:
        check_evaluator(cfg, split)
        loader = cfg.get(f'{split}_dataloader')
        for dataset in _leaf_datasets(loader.get('dataset') if loader else None):
            path = _annotation_path(dataset, scope)
            if path and path not in seen:
                seen.add(path)
                content = read_coco(path)
                _check_entries(path, content)
                if not content['annotations']:
                    raise DataError(
                        f'annotation file {path} has no annotation, so there is '
                        f'nothing to learn from or to compare with in '
                        f'{split}_dataloader: set ann_file to one with ground truth')
                _check_classes(path, content, dataset, cfg)
                if type_name(cfg.model) == 'SR4IR':
                    warn_of_enlarged(dataset, content['images'][0], split, scope)
                folder = os.path.join(
                    dataset.get('data_root') or '',
                    (dataset.get('data_prefix') or {}).get('img') or '')
                check_images([
                    os.path.join(folder, image['file_name'])
                    for image in content['images']
                ], path)
            elif not path:
                _check_labels(dataset, cfg, split)


def warn_of_enlarged(dataset: dict, image: dict, split: str, scope: str) -> None:
    """Warn where a pipeline enlarges images before LR images are made of them.

    Args:
        dataset: Its config, with the pipeline.
        image: Entry of one image in a COCO file, with its ``height`` and ``width``.
        split: Whose data set it is.
        scope: The default one of the config.
    """
    # Not above: the models import this package.
    from mmsr4ir.models.batch import enlarged_text
    from mmsr4ir.models.task_resize import RESIZES, SizeRule
    resizes = [one for one in dataset.get('pipeline') or ()
               if type_name(one) in RESIZES]
    if not resizes:
        return
    before = (int(image['height']), int(image['width']))
    with DefaultScope.overwrite_default_scope(scope):
        after = SizeRule(resizes[-1]).size(before).size
    times = after[0] * after[1] / (before[0] * before[1])
    if times > _ENLARGED:
        print_log(enlarged_text(
            f'the pipeline of {split}_dataloader enlarges images (the first one from '
            f'{before[1]} x {before[0]} to {after[1]} x {after[0]} pixels)', times),
            'current', logging.WARNING)


def _check_entries(path: str, content: dict) -> None:
    mend = 'Take it out or mend it'
    for part, kinds in _NEEDED.items():
        for entry in content[part]:
            for key, kind in kinds.items():
                if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
                    raise DataError(
                        f'annotation file {path} has an entry in {part!r} without '
                        f'{key}: {str(entry)[:80]}. {mend}')
    images, categories = (
        {entry['id'] for entry in content[part]} for part in ('images', 'categories'))
    for entry in content['annotations']:
        if entry['category_id'] not in categories:  # mmdet leaves it out, unsaid
            raise DataError(
                f'annotation file {path}: annotation {entry["id"]} has the category_id '
                f'{entry["category_id"]}, which is not in its categories. {mend}')
    if content['annotations'] and not any(
            entry['image_id'] in images for entry in content['annotations']):
        raise DataError(f'annotation file {path}: no annotation has the image_id of '
                        'one of its images: write the file again')


def _check_labels(dataset: dict, cfg, split: str) -> None:
    try:
        problems = list_problems(
            dataset, cfg.model.get('task', cfg.model),
            cfg.get('default_scope', 'mmengine'), _label_scale(cfg, split),
            split == 'train')
    except (OSError, RuntimeError) as error:
        raise DataError(
            f'the data set of {split}_dataloader cannot be read ({error}): set '
            'data_root, data_prefix and ann_file in the config') from error
    if problems:
        raise DataError(
            f'{len(problems)} problems in the data set of {split}_dataloader: '
            f'{"; ".join(problems[:5])}{" ..." if len(problems) > 5 else ""}. Mend '
            'these files, or set num_classes and ignore_index to what they hold')


def _label_scale(cfg, split: str) -> int:
    """How many times as large as the images their label maps are."""
    loop = cfg.get('test_cfg') or {}
    if split != 'test' or loop.get('coordinates') != 'sr':  # see LRTestLoop
        return 1
    return (cfg.model.get('degradation') or {}).get('scale', 4)


def read_coco(path: str) -> dict:
    """Read a COCO annotation file.

    Raises:
        DataError: It is missing, empty, not JSON or lacks a part.
    """
    mend = 'set data_root and ann_file in the config'
    if not os.path.isfile(path):
        raise DataError(f'annotation file {path} does not exist: {mend}')
    if not os.path.getsize(path):
        raise DataError(f'annotation file {path} is empty: write it again')
    try:
        content = load_json(path)
    except ValueError as error:
        raise DataError(
            f'annotation file {error}: convert it to COCO JSON, '
            'for VOC with tools/dataset_converters/voc2coco.py') from error
    parts = ('images', 'annotations', 'categories')
    absent = [
        part for part in parts
        if not isinstance(content, dict) or not isinstance(content.get(part), list)
    ]
    if absent:
        raise DataError(
            f'annotation file {path} has no list {absent}: a COCO file has {parts}')
    if not content['images']:
        raise DataError(f'annotation file {path} lists no image: {mend}')
    return content


def check_images(paths: list[str], source: str) -> None:
    """See that every image is there and whole.

    Args:
        paths: The image files.
        source: The annotation file that lists them, for the message.

    Raises:
        DataError: Some are missing or truncated; the first five are named.
    """
    with ThreadPoolExecutor(16) as pool:
        problems = [p for p in pool.map(image_problem, paths) if p]
    if problems:
        shown = '; '.join(problems[:5])
        raise DataError(
            f'{len(problems)} of {len(paths)} images of {source} cannot be used: '
            f'{shown}{" ..." if len(problems) > 5 else ""}. Set data_root and '
            'data_prefix, fetch these images again, or take them out of the file')


def _leaf_datasets(dataset) -> Iterator[dict]:
    """Look through wrappers such as RepeatDataset and ConcatDataset."""
    return (one for one, is_leaf in datasets_of(dataset) if is_leaf)


def datasets_of(dataset) -> Iterator[tuple[dict, bool]]:
    """Yield a data set and those that it wraps, and whether each wraps none."""
    if not isinstance(dataset, dict):
        return
    inner = dataset.get('datasets') or ([dataset['dataset']]
                                        if 'dataset' in dataset else [])
    yield dataset, not inner
    for child in inner:
        yield from datasets_of(child)


def _annotation_path(dataset: dict, scope: str) -> str | None:
    """The COCO file that a data set reads; None for one of another kind, or far away.

    Other kinds have JSON files too, as MultiLabelDataset of mmpretrain.
    """
    ann_file, kind = dataset.get('ann_file'), dataset_class(dataset, scope)
    coco = hasattr(kind, 'COCOAPI') if kind else 'Coco' in str(dataset.get('type'))
    if not ann_file or not coco or '://' in str(dataset.get('data_root')):
        return None
    return os.path.join(dataset.get('data_root') or '', ann_file)


def _check_classes(path: str, content: dict, dataset: dict, cfg) -> None:
    names = [category.get('name') for category in content['categories']]
    classes = (dataset.get('metainfo') or {}).get('classes')
    if classes is None:
        scope = dataset.get('_scope_') or cfg.get('default_scope', 'mmengine')
        kind = dataset['type']
        kind = DATASETS.get(f'{scope}.{kind}') if isinstance(kind, str) else kind
        classes = getattr(kind, 'METAINFO', {}).get('classes')
    if classes is None:
        return
    classes = [classes] if isinstance(classes, str) else list(classes)
    if set(classes) != set(names):
        raise DataError(
            f'the config has {len(classes)} classes and {path} has {len(names)}: '
            f'{_some(set(classes) - set(names))} only in the config, '
            f'{_some(set(names) - set(classes))} only in the file. '
            'Set metainfo=dict(classes=...) of the data set to those of the file')
    if len(set(names)) < len(names):
        raise DataError(f'{path} has a category twice: {names}. Give each name once')
    if classes != names:
        raise DataError(
            f'the classes of the config stand in another order than the categories of '
            f'{path}, by which mmdet numbers them: set metainfo=dict(classes='
            f'{tuple(names)}) of the data set. If the files of two splits have other '
            'orders, write the categories of one as in the other')
    for where, count in _class_counts(cfg.model.get('task', cfg.model), 'model.task'):
        if count != len(classes):
            raise DataError(
                f'{where}={count}, but {path} has {len(classes)} classes: '
                f'set model.num_classes={len(classes)}')


def check_evaluator(cfg, split: str) -> None:
    """See that a split's metrics are about its data.

    Raises:
        DataError: ``CocoMetric`` reads an annotation file with other images or
            categories than the data set's, ``Accuracy`` wants more classes than
            there are, or a list of metrics stands in another.
    """
    evaluators = cfg.get(f'{split}_evaluator') or ()
    evaluators = [evaluators] if isinstance(evaluators, dict) else list(evaluators)
    loader = cfg.get(f'{split}_dataloader') or {}
    paths = {_annotation_path(one, cfg.get('default_scope') or 'mmengine')
             for one in _leaf_datasets(loader.get('dataset'))}
    task = cfg.model.get('task', cfg.model)
    for number, metric in enumerate(evaluators):
        if isinstance(metric, list | tuple):
            raise DataError(
                f'{split}_evaluator (its entry {number}) has a list in its list: that '
                f'of _base_ is a list already, so write {split}_evaluator = '
                '[*_base_.val_evaluator, _base_.sr4ir_metric]')
        kind = type_name(metric)
        ann_file = metric.get('ann_file')
        if kind == 'CocoMetric' and ann_file and '://' not in ann_file:
            others = [path for path in paths if path and os.path.normpath(
                path) != os.path.normpath(ann_file)]
            if len(paths) == 1 and others and _about(others[0]) != _about(ann_file):
                raise DataError(
                    f'{split}_evaluator (its entry {number}) compares with {ann_file}, '
                    f'whose images or categories are others than those of {others[0]} '
                    f'in {split}_dataloader: set ann_file of both to one file')
        most = metric.get('topk', 1) if kind == 'Accuracy' else 0
        most = max(most) if isinstance(most, list | tuple) else most
        count = (task.get('head') or {}).get('num_classes')
        if kind == 'Accuracy' and isinstance(count, int) and most > count:
            raise DataError(
                f'{split}_evaluator (its entry {number}) counts the best {most} '
                f'classes, and there are {count}: set topk=(1, )')


def _about(path: str) -> tuple:
    """The images and categories of an annotation file, by which results are found."""
    content = read_coco(path)
    return ({str(image.get('id')) for image in content['images']},
            [(one.get('id'), one.get('name')) for one in content['categories']])


def _some(names: set) -> str:
    shown = sorted(map(str, names))
    return f'{shown[:5]}' + (f' and {len(shown) - 5} more' if len(shown) > 5 else '')


def _class_counts(node, where: str) -> Iterator[tuple[str, int]]:
    """Find every ``num_classes`` but those of proposal networks, which have none."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == 'num_classes':
                yield f'{where}.num_classes', value
            elif 'rpn' not in str(key):
                yield from _class_counts(value, f'{where}.{key}')
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _class_counts(value, f'{where}[{i}]')
