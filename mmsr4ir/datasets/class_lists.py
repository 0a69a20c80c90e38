"""Lists of images with class numbers: one form for every classification set.

``meta/<split>.txt`` has ``path number`` a line and ``meta/classes.txt`` a name a line,
as mmpretrain's ``CustomDataset`` takes them; no image is moved or copied.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.files import write_whole

from .checks.images import Scanner
from .checks.labels import check_labels, check_occurrence
from .checks.problem import Problem, Report

#: (path from the set's folder, class number) of each image
Samples = list[tuple[str, int]]
_SHOWN = 20


def split_names(names: Sequence[str], val_share: float, seed: int) -> set[str]:
    """Choose the names for validation.

    A name's place in the order comes from a hash of the seed and the name alone, so
    the choice does not depend on the machine, the library or the order of `names`.

    Args:
        names: Different names.
        val_share: Share for validation, between 0 and 1; rounded to whole names, but
            with two names or more at least one goes to each side.
        seed: Another seed, another choice.

    Returns:
        set[str]: The names for validation.
    """
    count = round(val_share * len(names))
    count = min(max(count, 1), len(names) - 1) if len(names) > 1 else 0
    ranked = sorted(
        names,
        key=lambda name: (
            hashlib.sha256(f'{seed}/{name}'.encode(errors='surrogateescape')).digest(),
            name,
        ),
    )
    return set(ranked[:count])


def split_samples(
    samples: Samples, val_share: float, seed: int
) -> tuple[Samples, Samples]:
    """Split samples into training and validation, class by class (`split_names`)."""
    chosen = set()
    for label in {label for _, label in samples}:
        chosen |= split_names(
            [path for path, one in samples if one == label], val_share, seed
        )
    return (
        [one for one in samples if one[0] not in chosen],
        [one for one in samples if one[0] in chosen],
    )


def prepare_lists(
    root: Path,
    out: Path,
    classes: Sequence[str],
    splits: dict[str, Samples],
    scanner: Scanner,
    skip_broken: bool,
) -> str:
    """Check every image and write the lists.

    Args:
        root: Folder of the data set.
        out: Folder for the lists.
        classes: Class names in the order of their numbers.
        splits: The samples of each split, by its name.
        scanner: How images are read.
        skip_broken: Whether to leave out images that cannot be used.

    Returns:
        str: What was written, the class counts and what to put into a config.

    Raises:
        DataError: If something cannot be used and is not to be left out; nothing is
            written then.
    """
    check_splits(splits)
    for path in (path for samples in splits.values() for path, _ in samples):
        if os.path.isabs(path) or '..' in Path(path).parts:
            raise DataError(
                f'the path {path!r} leads out of the data set {root}: move '
                'the image into it'
            )
    texts, files, problems = [], {}, []
    files[out / 'classes.txt'] = list(classes)
    for name, samples in splits.items():
        report = Report(name, classes=classes)
        check_labels(
            report, [(str(root / path), label) for path, label in samples], scanner
        )
        broken = {one.file for one in report.found('error', 'warning')}
        kept = [one for one in samples if str(root / one[0]) not in broken]
        if skip_broken:
            problems += [] if kept else [Problem(name, 'has no image left')]
        else:
            problems += report.found('error', 'warning')
        check_occurrence(report)
        files[out / f'{name}.txt'] = [_line(path, label) for path, label in kept]
        left = f', {len(samples) - len(kept)} left out' * (len(kept) < len(samples))
        texts += [f'{out / name}.txt: {len(kept)} images{left}', *report.lines()]
    if problems:
        raise DataError(
            describe(problems, 'correct or remove them, or give --skip-broken')
        )
    for file, lines in files.items():
        write_whole(file, ''.join(f'{line}\n' for line in lines))
    return '\n'.join([*texts, '', _config(root, out, len(classes), splits)])


def holds_lists(folder: Path) -> bool:
    """Return whether `prepare_lists` wrote into a folder, which then is not a class.

    ``classes.txt`` alone proves nothing: tools that draw boxes put it beside images.
    """
    return all((folder / f'{name}.txt').is_file() for name in ('classes', 'train'))


def check_splits(splits: Mapping[str, Sequence[tuple]]) -> None:
    """Check that no split is empty and no image in two of them.

    Args:
        splits: The samples of each split, whose first entry is the path of an image.

    Raises:
        DataError: If a split is empty or an image is in two of them.
    """
    owner: dict[str, str] = {}
    for name, samples in splits.items():
        if not samples:
            raise DataError(f'split {name!r} has no image')
        for path, _ in samples:
            if owner.setdefault(path, name) != name:
                raise DataError(
                    f'{path} is in both {owner[path]!r} and {name!r}: '
                    'take it out of one'
                )


def describe(problems: Sequence[Problem], fix: str) -> str:
    """Return a message of the first problems and how many there are."""
    lines = [f'  {one.what}' for one in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        lines.append(f'  and {len(problems) - _SHOWN} more')
    kinds = len({one.cause for one in problems})
    return '\n'.join([f'{len(problems)} problems, {kinds} different; {fix}:', *lines])


def _line(path: str, label: int) -> str:
    line = f'{path} {label}'
    try:
        line.encode()
        # as mmpretrain reads it
        same = line.strip().rsplit(' ', 1) == [path, str(label)] and '\n' not in line
    except UnicodeEncodeError:
        same = False
    if not same or '\r' in line:
        raise DataError(
            f'the path {path!r} cannot stand in a list (line breaks, space '
            'at its start or no UTF-8): rename the file'
        )
    return line


def _config(root: Path, out: Path, num_classes: int, splits: dict) -> str:
    inside = out.resolve().is_relative_to(root.resolve())
    listed = os.path.relpath(out, root) if inside else out.resolve()
    listed = Path(listed).as_posix()
    train, *others = splits
    val = others[0] if others else train
    lines = [
        'For the config:',
        f'model = dict(num_classes={num_classes})',
        f'data_preprocessor = dict(num_classes={num_classes})',
        f"dataset = dict(_delete_=True, type='CustomDataset', "
        f"data_root={str(root)!r}, data_prefix='', "
        f'classes={str(out / "classes.txt")!r})',
    ]
    test = 'test' if 'test' in splits else val
    for loader, name in (('train', train), ('val', val), ('test', test)):
        pipeline = f'{"train" if loader == "train" else "test"}_pipeline'
        lines.append(
            f"{loader}_dataloader = dict(dataset=dict(ann_file='{listed}/"
            f"{name}.txt', pipeline={pipeline}, **dataset))"
        )
    return '\n'.join(lines)
