"""Look at label maps and class folders before a training starts.

A label beyond the class count ends, without this, in an index error of the loss that
names no file (on a GPU in an assertion that kills the process), and a map of another
size than its image in a wrong crop or a shape error.
"""
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from mmengine.registry import DATASETS
from PIL import Image

from mmsr4ir.utils.configs import as_list, registered_class

from .images import BROKEN, bands_problem, image_problem, loaded_size

#: So many maps of a split are read in full; of all the others, the size.
FULL_MAPS = 500


def list_problems(dataset: Mapping, task: Mapping, scope: str, scale: int = 1,
                  training: bool = True) -> list[str]:
    """What is wrong with the labels of a data set of mmsegmentation or mmpretrain.

    Args:
        dataset: Config of the data set, without wrappers.
        task: Config of the task network.
        scope: The default scope of the config.
        scale: How many times as large as its image a label map is.
        training: Whether losses are computed on it.

    Returns:
        list[str]: Each names the file or class; empty for other kinds of data sets.

    Raises:
        OSError: The data set finds no files where its config points to.
    """
    kind = dataset_class(dataset, scope)
    bases = {base.__name__ for base in getattr(kind, '__mro__', ())}
    if not bases & {'BaseSegDataset', 'CustomDataset'}:
        return []
    built = build_unread(dataset, kind)
    samples = built.load_data_list()
    if 'BaseSegDataset' in bases:
        problems = _map_problems(built, samples, task, scale, training)
    else:
        problems = _class_problems(built, samples, task)
        with ThreadPoolExecutor(16) as pool:
            problems += filter(None, pool.map(
                image_problem, [sample['img_path'] for sample in samples
                                if '://' not in sample['img_path']]))
    return _count_problems(built, task) + problems


def dataset_class(dataset: Mapping, scope: str) -> type | None:
    """The class of a data set's config; ``scope`` is the config's default one."""
    return registered_class(DATASETS, dataset, scope)


def build_unread(dataset: Mapping, kind: type):
    """Build a data set that has no pipeline and has not read its annotations."""
    cfg = {k: v for k, v in dataset.items() if k not in ('pipeline', '_scope_')}
    return DATASETS.build(dict(cfg, type=kind, pipeline=[], lazy_init=True))


def _count_problems(built, task: Mapping) -> list[str]:
    """Heads and class weights that are not made for the classes of a data set."""
    classes = built.metainfo.get('classes')
    if classes is None:
        return []
    problems = []
    for part in ('decode_head', 'auxiliary_head', 'head'):
        for head in as_list(task.get(part)):
            count = head.get('num_classes')
            if count is None:
                continue
            # An auxiliary head may have a task of its own, as STDC's has boundaries.
            if count != len(classes) and part != 'auxiliary_head':
                problems.append(
                    f'model.task.{part}.num_classes is {count}, but metainfo has '
                    f'{len(classes)} classes')
            for loss in as_list(head.get('loss_decode')):
                weights = loss.get('class_weight')
                if isinstance(weights, list | tuple) and len(weights) != count:
                    problems.append(
                        f'model.task.{part}.loss_decode.class_weight has '
                        f'{len(weights)} weights for {count} classes: give as many, or '
                        'None')
    return problems


def _class_problems(built, samples: list[dict], task: Mapping) -> list[str]:
    names = list(built.metainfo.get('classes') or ())
    counts = Counter(int(sample['gt_label']) for sample in samples)
    problems = [f'class {name!r} has no image' for i, name in enumerate(names)
                if not counts[i]]
    folders = list(getattr(built, 'folder_to_idx', names))
    if not problems and set(folders) == set(names) and folders != names:
        problems.append(f'the config has the classes {names}, but the folders in '
                        f'their order are {folders}, which the labels go by')
    num_classes = (task.get('head') or {}).get('num_classes')
    if num_classes and max(counts, default=0) >= num_classes:
        path = next(s['img_path'] for s in samples if s['gt_label'] >= num_classes)
        problems.append(
            f'{path} has label {max(counts)}, but model.task.head.num_classes is '
            f'{num_classes}')
    return problems


def _map_problems(built, samples: list[dict], task: Mapping, scale: int,
                  training: bool) -> list[str]:
    heads = as_list(task.get('decode_head'))
    head = heads[-1] if heads else {}
    num_classes, ignored = head.get('num_classes'), head.get('ignore_index', 255)
    weighted = training and num_classes and not 0 <= ignored < num_classes and any(
        loss.get('class_weight') and not loss.get('use_sigmoid')
        and str(loss.get('type', 'CrossEntropyLoss')).endswith('CrossEntropyLoss')
        for one in heads + as_list(task.get('auxiliary_head'))
        for loss in as_list(one.get('loss_decode')))
    # Data sets that renumber their labels do so after reading.
    plain = num_classes and not built.label_map and not built.reduce_zero_label
    every = max(1, -(-len(samples) // FULL_MAPS))

    def look(item: tuple[int, dict]) -> str | None:
        index, sample = item
        path = sample.get('seg_map_path')
        problem = image_problem(sample['img_path'])
        if problem:
            return problem
        try:
            size = loaded_size(sample['img_path'])
            with Image.open(path) as labels:
                problem = bands_problem(labels)
                if problem:
                    return f'{path} {problem}'
                if any(abs(one * scale - other) >= scale for one, other in zip(
                        size, labels.size, strict=True)):
                    return (f'{path} has {labels.size[0]} x {labels.size[1]} pixels, '
                            f'its image {size[0]} x {size[1]}'
                            f'{f" at 1/{scale}" if scale > 1 else ""}')
                if not plain or index % every:
                    return None
                values = np.unique(np.asarray(labels))
        except FileNotFoundError as error:
            return f'{error.filename} is missing'
        except BROKEN as error:
            return f'{path} or its image is truncated or no image ({error})'
        beyond = [int(v) for v in values if v >= num_classes and v != ignored]
        if beyond:
            return (f'{path} has the labels {beyond[:5]}, but the classes are 0 to '
                    f'{num_classes - 1} and {ignored} is ignored')
        if weighted and ignored in values:
            return (f'{path} has pixels to be ignored ({ignored}), with which '
                    'class_weight of mmseg\'s CrossEntropyLoss ends in an index error: '
                    'set class_weight=None in loss_decode of both heads')
        return None

    with ThreadPoolExecutor(16) as pool:
        return [p for p in pool.map(look, enumerate(samples)) if p]
