"""What is wrong with images that have class numbers, from folders or lists."""

import os
from collections.abc import Iterable, Sequence

import numpy as np

from mmsr4ir.utils.configs import as_list, type_name
from mmsr4ir.utils.loading import USUAL, Loading

from .images import Scan, Scanner, scan_image
from .problem import Problem, Report
from .sets import DataPart


def check_labels(
    report: Report, samples: Sequence[tuple], scanner: Scanner, how: Loading = USUAL
) -> None:
    """Look at images with class numbers.

    Args:
        report: Is filled.
        samples: (path, class number or numbers) of each image; the path is None for an
            image in memory, the number None for an image without a label.
        scanner: How images are read.
        how: How the pipeline loads images.
    """

    def scan_one(path: str | None) -> Scan:
        if path is None or '://' in path:
            return Scan(path or 'in memory', kind='elsewhere' if path else 'in memory')
        return scan_image(path, scanner.whole, how)

    seen: dict[str, int] = {}
    scans = scanner.each(report.name, scan_one, [path for path, _ in samples])
    for scan, (path, label) in zip(scans, samples, strict=True):
        report.add_scan(scan)
        labels = set(np.ravel([] if label is None else label).tolist())
        if path:
            check_repeat(report, seen, path, labels)
        bad = {
            one
            for one in labels
            if one < 0 or (report.classes and one >= len(report.classes))
        }
        for one in sorted(bad):
            classes = len(report.classes) - 1 if report.classes else '...'
            report.error(
                scan.path,
                f'has the label {one}, but the classes are 0 to {classes}',
                'correct the label, or set classes and num_classes',
            )
        if not scan.problem:
            report.add_counts({report.name_of(one): 1 for one in labels - bad})


def check_folders(report: Report, built) -> None:
    """Check that class folders are there, filled, and in the order of the classes.

    Args:
        report: Is filled; its classes are those of the config, or None.
        built: A ``CustomDataset`` of mmpretrain, whose folders give the labels.
    """
    from mmpretrain.datasets.custom import find_folders

    folders, _ = find_folders(built.img_prefix)
    names = list(report.classes or folders)
    fix = f'set metainfo=dict(classes={tuple(folders)}) of the data set'
    if len(folders) != len(names):
        report.error(
            built.img_prefix,
            f'has {len(folders)} class folders, but the config '
            f'{len(names)} classes: {some(set(names) - set(folders))} only in the '
            f'config, {some(set(folders) - set(names))} only there',
            fix,
        )
    elif sorted(folders) == sorted(names) and folders != names:
        report.error(
            built.img_prefix,
            f'has the class folders {folders} in this order, which '
            f'the labels go by, but the config has the classes {names}',
            fix,
        )


def check_mixing(report: Report, part: DataPart) -> None:
    """Check that labels mixed as by Mixup have the classes of the head."""
    preprocessor = (
        part.task.get('data_preprocessor') or part.cfg.get('data_preprocessor') or {}
    )
    augments = as_list(
        (preprocessor.get('batch_augments') or part.task.get('train_cfg') or {}).get(
            'augments'
        )
    )
    names = [type_name(one) for one in augments if isinstance(one, dict)]
    count = len(report.classes or ())
    if names and count and preprocessor.get('num_classes') not in (None, count):
        report.error(
            'data_preprocessor',
            f'has num_classes={preprocessor["num_classes"]}, but '
            f'{names} mixes labels of {count} classes',
            f'set data_preprocessor=dict(num_classes={count})',
        )


def check_occurrence(
    report: Report, severity: str = 'note', folder: str = '', among: str = ''
) -> None:
    """Check that each class occurs.

    Args:
        report: A filled report.
        severity: Of a class that never occurs.
        folder: Where the class folders are, if the classes come from them.
        among: In what each class must occur, if not in all data.
    """
    for name in report.classes or ():
        if report.amounts[name]:
            continue
        where = os.path.join(folder, name)
        if folder and os.path.isdir(where):
            tell = report.error if severity == 'error' else report.warn
            tell(
                where,
                'is a class folder without an image',
                'add some, or remove the folder',
            )
        else:
            report.problems.append(
                Problem(
                    report.name,
                    f'has no {report.unit} of class {name!r}{among}',
                    'add some, or take it out of the classes',
                    severity=severity,
                )
            )


def check_repeat(report: Report, seen: dict, path: str, content: set) -> bool:
    """Report an image that came before; return whether it is annotated as then."""
    same = seen.setdefault(path, content) == content
    if not same:
        report.warn(
            path, 'is listed twice, with different annotations', 'keep the right one'
        )
    elif seen[path] is not content:
        report.note(path, 'is listed more than once')
    return same


def some(names: Iterable) -> str:
    """Return a text of the first few names and how many more there are."""
    shown = sorted(map(str, names))
    return f'{shown[:5]}' + (f' and {len(shown) - 5} more' if len(shown) > 5 else '')
