"""Check all data of a config, a COCO JSON or class folders, and list what is wrong."""
import argparse
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, DefaultScope
from mmengine.utils import ProgressBar

from mmsr4ir.datasets.checks.before_run import (
    DataError,
    _annotation_path,
    _class_counts,
    _leaf_datasets,
    read_coco,
)
from mmsr4ir.datasets.checks.coco import check_coco
from mmsr4ir.datasets.checks.verify import (
    Report,
    check_boxes,
    check_labels,
    check_maps,
    check_occurrence,
)
from mmsr4ir.datasets.class_lists import holds_lists, notes_of
from mmsr4ir.utils.files import write_whole

from .arguments import ConfigOptions, add_workers, merge_options, read_config
from .command import command

_SPLITS = ('train', 'val', 'test')
_SHOWN = 20
# What the datasets of the three libraries raise when their files are not as expected.
_NOT_BUILT = (AssertionError, OSError, RuntimeError, ValueError, KeyError, TypeError,
              IndexError, AttributeError, SyntaxError)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Look at all data of a config and report: images that are missing, '
        'truncated or unreadable; empty boxes and boxes that reach out of the image; '
        'labels and map values out of range; maps of another size than their image; '
        'classes that never occur; and the counts of each class. What the loader '
        'changes (16 bits, CMYK, transparency, EXIF) is noted.',
        epilog='Exit code 0 if there is no problem (notes are none), 1 if there is one '
        'or the data cannot be read, 2 for wrong options.')
    parser.add_argument(
        'target', help='config (.py), COCO annotations (.json, with --images) or a '
        'folder of class folders')
    parser.add_argument(
        '--split', nargs='+', choices=_SPLITS,
        help='dataloaders of the config (default: all that it has)')
    parser.add_argument(
        '--images', metavar='DIR',
        help='for a JSON: folder that its file names start from')
    parser.add_argument(
        '--out', type=Path, metavar='FILE.json',
        help='write counts, all problems and all notes to a file')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE',
        help='override settings of the config, as in tools/train.py')
    add_workers(parser)
    args = parser.parse_args()
    if args.target.endswith('.json') != (args.images is not None):
        parser.error('--images goes with a .json, and a .json needs it')
    if not args.target.endswith('.py') and (args.split or args.cfg_options):
        parser.error('--split and --cfg-options are for a config')
    return args


def plain_parts(target: str, images: str | None) -> Iterator[tuple[str, dict, Config]]:
    """A JSON or class folders as a config has them."""
    if images is not None:
        dataset = dict(type='mmdet.CocoDataset', ann_file=target, classes_of_file=True,
                       data_prefix=dict(img=images))
    else:
        dataset = dict(type=_class_folders(), data_prefix=target)
    yield target, dataset, Config()


def _class_folders() -> type:
    """mmpretrain's class folders, without the lists of prepare_image_folder.py."""
    from mmpretrain.datasets.custom import CustomDataset, find_folders, get_samples

    class ClassFolders(CustomDataset):
        def _find_samples(self) -> list[tuple[str, int]]:
            names = [name for name in find_folders(self.img_prefix)[0]
                     if not holds_lists(Path(self.img_prefix, name))]
            self._metainfo['classes'] = tuple(names)
            self.folder_to_idx = {name: i for i, name in enumerate(names)}
            return get_samples(
                self.img_prefix, self.folder_to_idx, self.is_valid_file)[0]
    return ClassFolders


def config_parts(cfg: Config, splits: list[str] | None
                 ) -> Iterator[tuple[str, dict, Config]]:
    """The data sets of a config, without wrappers, each once: (name, dataset, config).

    Raises:
        DataError: A split that was asked for is not there, or none is.
    """
    seen = []
    for split in splits or _SPLITS:
        loader = cfg.get(f'{split}_dataloader') or {}
        leaves = list(_leaf_datasets(loader.get('dataset')))
        if splits and not leaves:
            raise DataError(f'the config has no {split}_dataloader with a dataset')
        for i, dataset in enumerate(leaves):
            bare = {key: value for key, value in dataset.items()
                    if key not in ('pipeline', 'test_mode')}
            name = split + (f'[{i}]' if len(leaves) > 1 else '')
            same = next((other for other, one in seen if one == bare), None)
            if same:
                print(f'{name}: the same data as {same}')
            else:
                seen.append((name, bare))
                yield name, dataset, cfg
    if not seen:
        raise DataError('the config has no dataloader with a dataset')


def verify(name: str, dataset: dict, cfg: Config, workers: int) -> Report:
    """Look at one data set; whatever cannot be built is a problem of its report."""
    report = Report(name, 'images')
    try:
        scope = dataset.get('_scope_') or cfg.get('default_scope') or 'mmengine'
        kind = dataset['type']
        if isinstance(kind, str):
            kind = DATASETS.get(kind if '.' in kind else f'{scope}.{kind}')
        if kind is None:
            raise DataError(f'dataset type {dataset["type"]!r} is not registered')
        if hasattr(kind, 'COCOAPI'):
            _verify_coco(report, dataset, kind, workers)
            return report
        options = dict(dataset, pipeline=[]) | _whole_set(dataset, kind)
        with DefaultScope.overwrite_default_scope(scope):
            built = DATASETS.build(options)
            infos = [built.get_data_info(i) for i in range(len(built))]
    except (DataError, *_NOT_BUILT) as error:
        report.problem(name, f'the data set cannot be built: {error}')
        return report
    report.classes = built.metainfo.get('classes')
    if not infos:
        report.problem(name, 'lists no image: see data_root, data_prefix and ann_file')
    elif 'gt_label' in infos[0]:
        _verify_labels(report, infos, built, workers)
    elif infos[0].get('seg_map_path') and 'instances' not in infos[0]:
        _verify_maps(report, infos, built, workers)
    elif 'instances' in infos[0]:
        _verify_instances(report, infos, workers)
    else:
        report.problem(name, f'{kind.__name__} has no labels, maps or boxes that this '
                       f'tool knows; it has {sorted(infos[0])}')
    return report


def _whole_set(dataset: dict, kind: type) -> dict:
    """Options so that nothing is left out or fetched, as far as the type takes them."""
    taken = inspect.signature(kind).parameters
    options = {key: value for key, value in (('filter_cfg', None), ('download', False))
               if key in dataset or key in taken}
    if issubclass(kind, BaseDataset):
        options['serialize_data'] = False  # which fails for an empty set
    return options


def _verify_coco(report: Report, dataset: dict, kind: type, workers: int) -> None:
    """From the file itself: mmdet leaves bad objects out without a word."""
    dataset = dict(dataset)
    report.unit = 'objects'
    if not dataset.pop('classes_of_file', False):
        report.classes = kind._load_metainfo(dataset.get('metainfo')).get('classes')
    path = _annotation_path(dict(dataset, type=kind), '')
    if path is None:
        raise DataError('ann_file is not set, or not on this machine')
    content = read_coco(path)
    folder = os.path.join(dataset.get('data_root') or '',
                          (dataset.get('data_prefix') or {}).get('img') or '')
    check_coco(report, content, folder, workers, _bar(report, content['images']))
    check_occurrence(report, needed=report.name.startswith('train'))


def _verify_labels(report: Report, infos: list[dict], built, workers: int) -> None:
    if 'img_path' not in infos[0]:  # in memory, as CIFAR's batches
        infos = [dict(info, img_path=None) for info in infos]
    samples = [(info['img_path'], info['gt_label']) for info in infos]
    check_labels(report, samples, workers, _bar(report, infos))
    folders = list(getattr(built, 'folder_to_idx', None) or {})
    classes = list(report.classes or ())
    if sorted(folders) == sorted(classes) and folders != classes:
        report.problem(
            built.img_prefix, f'the class folders are numbered in the order {folders}, '
            f'but the config names the classes in the order {classes}: names in '
            'results and pictures would be wrong')
    check_occurrence(report, needed=report.name.startswith('train'),
                     folder=built.img_prefix if folders else '')


def _verify_maps(report: Report, infos: list[dict], built, workers: int) -> None:
    report.unit = 'pixels'
    check_maps(
        report, [(info['img_path'], info['seg_map_path']) for info in infos], workers,
        _bar(report, infos), getattr(built, 'ignore_index', 255),
        infos[0].get('reduce_zero_label') or False, infos[0].get('label_map'))
    check_occurrence(report, needed=report.name.startswith('train'))


def _verify_instances(report: Report, infos: list[dict], workers: int) -> None:
    """Boxes as mmdet's other data sets give them: corners instead of sizes."""
    report.unit = 'objects'
    items = []
    for info in infos:
        boxes = []
        for one in info['instances']:
            x1, y1, x2, y2 = one['bbox']
            label = one['bbox_label']
            if not report.classes or 0 <= label < len(report.classes):
                ignored = one.get('ignore_flag')
                boxes.append((None if ignored else report.name_of(label),
                              [x1, y1, x2 - x1, y2 - y1]))
            else:
                report.problem(info['img_path'], f'label {label} is out of range: 0 to '
                               f'{len(report.classes) - 1}')
        size = (info['width'], info['height']) if 'width' in info else None
        items.append((info['img_path'], size, boxes))
    check_boxes(report, items, workers, _bar(report, infos))
    check_occurrence(report, needed=report.name.startswith('train'))


def _bar(report: Report, items: list) -> Callable[[], None]:
    print(f'{report.name}: {len(items)} images')
    return ProgressBar(len(items)).update


def compare(reports: list[Report], cfg: Config) -> None:
    """See that all splits have the same classes, and the model their number.

    Images of training that are also in another split are noted.
    """
    for report in reports:
        for train in reports:
            both = sorted(report.paths & train.paths - {'in memory'})
            if (train.name.startswith('train') and not report.name.startswith('train')
                    and both):
                report.note(f'{len(both)} images are also in {train.name}', both[0])
    named = [report for report in reports if report.classes]
    for report in named[1:]:
        if list(report.classes) != list(named[0].classes):
            report.problem(report.name, f'has other classes than {named[0].name}, or '
                           'in another order: set metainfo=dict(classes=...) in both')
    model = cfg.get('model') or {}
    counts = ([('model.num_classes', model['num_classes'])]
              if model.get('num_classes') is not None
              else _class_counts(model.get('task') or model, 'model.task'))
    for where, count in counts:
        for report in named[:1]:
            if count != len(report.classes):
                report.problem(report.name, f'has {len(report.classes)} classes, but '
                               f'{where}={count}')


@command
def main() -> None:
    args = parse_args()
    if not os.path.exists(args.target) and '://' not in args.target:
        sys.exit(f'error: {args.target} does not exist')
    if args.target.endswith('.py'):
        cfg = read_config(args.target)
        merge_options(cfg, args.cfg_options)
        parts = config_parts(cfg, args.split)
    else:
        cfg, parts = Config(), plain_parts(args.target, args.images)
    try:
        reports = [verify(*part, args.workers) for part in parts]
        compare(reports, cfg)
        if args.out:
            write_whole(args.out, json.dumps(
                {report.name: report.as_dict() for report in reports}, indent=1))
    except (DataError, OSError) as error:
        sys.exit(f'error: {error}')
    for report in reports:
        print(f'\n{report.name}: {report.images} images ({dict(report.kinds)})',
              *([report.table()] if report.images else []), *notes_of(report),
              sep='\n')
    problems = [(report.name, *one) for report in reports for one in report.problems]
    print(f'\n{len(problems)} problems')
    for split, path, reason in problems[:_SHOWN]:
        print(f'  {split}: ' + (f'{path}: ' if path != split else '') + reason)
    if len(problems) > _SHOWN:
        print(f'  and {len(problems) - _SHOWN} more'
              + (f', in {args.out}' if args.out else ': give --out for all'))
    sys.exit(bool(problems))
