"""What is wrong in the data of one split: images, labels, boxes and maps, and counts.

Each function looks at every file of a split and fills a `Report`.
"""
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .images import Scan, scan_all, scan_image, scan_mask

# Boxes of real sets overshoot by a rounding; a whole pixel is a box counted from 1.
_BOX_TOLERANCE = 0.5


@dataclass
class Report:
    """What was found in one split.

    Args:
        name: Name of the split.
        unit: What ``amounts`` counts: ``'images'``, ``'objects'`` or ``'pixels'``.
        classes: Class names in the order of their numbers; None if nobody says.
        images: Number of images that were looked at.
        paths: The images that were looked at.
        kinds: Images of each kind, such as ``'RGB'``.
        images_of: Images that have a class, by its name.
        amounts: Units of each class, by its name.
        problems: (path, reason) of all that cannot be used.
        notes: {text: (count, first path)} of what works, but is worth a look.
    """
    name: str
    unit: str
    classes: Sequence[str] | None = None
    images: int = 0
    paths: set[str] = field(default_factory=set)
    kinds: Counter = field(default_factory=Counter)
    images_of: Counter = field(default_factory=Counter)
    amounts: Counter = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)

    def problem(self, path, reason: str) -> None:
        self.problems.append((str(path), reason))

    def note(self, text: str, path) -> None:
        count, first = self.notes.get(text, (0, str(path)))
        self.notes[text] = (count + 1, first)

    def add_scan(self, scan: Scan) -> None:
        """Take in what was found in an image."""
        self.images += 1
        self.paths.add(scan.path)
        if scan.problem:
            return self.problem(scan.path, scan.problem)
        self.kinds[scan.kind] += 1
        for text in scan.notes:
            self.note(text, scan.path)

    def count(self, amounts: dict[str, int]) -> None:
        """Take in the units of each class in one image."""
        self.amounts.update(amounts)
        self.images_of.update(amounts.keys())

    def name_of(self, label: int) -> str:
        return self.classes[label] if self.classes else str(label)

    def _names(self) -> list[str]:
        # numbers, where there are no names: in the order of numbers
        return list(self.classes or sorted(self.amounts, key=lambda n: (len(n), n)))

    def as_dict(self) -> dict:
        """The report as JSON has it."""
        return dict(
            images=self.images, kinds=dict(self.kinds), unit=self.unit,
            classes={name: dict(images=self.images_of[name],
                                **({} if self.unit == 'images' else
                                   {self.unit: self.amounts[name]}))
                     for name in self._names()},
            problems=[dict(path=path, reason=text) for path, text in self.problems],
            notes=[dict(text=text, count=count, first=first)
                   for text, (count, first) in self.notes.items()])

    def table(self) -> str:
        """Class counts, one class a line."""
        names = self._names()
        width = max([len(str(name)) for name in names] + [5])
        two = self.unit != 'images'
        lines = [f'{"class":{width}}  {"images":>8}' + (f'{self.unit:>14}' * two)]
        lines += [f'{name:{width}}  {self.images_of[name]:8}'
                  + (f'{self.amounts[name]:14}' if two else '') for name in names]
        return '\n'.join(lines)


def check_labels(report: Report, samples: Sequence[tuple], workers: int,
                 progress: Callable[[], None] = lambda: None) -> None:
    """Look at images with class numbers.

    Args:
        report: Is filled.
        samples: (path, class number or numbers) of each image; the path is None for an
            image in memory.
        workers: Number of threads.
        progress: Called after each image.
    """
    def scan_one(path: str | None) -> Scan:
        return scan_image(path) if path else Scan('in memory', kind='in memory')

    seen = {}
    for scan, (path, label) in zip(
            scan_all(scan_one, [path for path, _ in samples], workers), samples,
            strict=True):
        report.add_scan(scan)
        labels = set(np.ravel(label).tolist())
        if path:
            _check_repeat(report, seen, path, labels)
        bad = {one for one in labels
               if one < 0 or (report.classes and one >= len(report.classes))}
        for one in sorted(bad):
            report.problem(
                scan.path, f'label {one} is out of range: {_range(report)}')
        report.count({report.name_of(one): 1 for one in labels - bad})
        progress()


def check_maps(report: Report, samples: Sequence[tuple[str, str]], workers: int,
               progress: Callable[[], None] = lambda: None, ignore_index: int = 255,
               reduce_zero_label: bool = False, label_map: dict | None = None) -> None:
    """Look at images with a map of class numbers each: (image path, map path).

    Args:
        report: Is filled; it has the classes.
        samples: The paths.
        workers: Number of threads.
        progress: Called after each image.
        ignore_index: The value that counts for no class.
        reduce_zero_label: As in mmseg: 0 is ignored, and k becomes k - 1.
        label_map: As in mmseg: {old number: new number}, 255 for what is ignored.
    """
    def scan_pair(pair: tuple[str, str]) -> tuple[Scan, Scan]:
        return scan_image(pair[0]), scan_mask(pair[1])

    seen = {}
    for image, mask in scan_all(scan_pair, samples, workers):
        report.add_scan(image)
        _check_repeat(report, seen, image.path, {mask.path})
        if mask.problem:
            report.problem(mask.path, mask.problem)
        elif image.size and image.size != mask.size:
            report.problem(mask.path, 'is {} x {} pixels, but its image has {} x {}'
                           .format(*mask.size, *image.size))
        amounts, bad = Counter(), []
        for value, pixels in (mask.counts or {}).items():
            label = _label_of(value, reduce_zero_label, label_map)
            if label == ignore_index:
                continue
            if report.classes and label >= len(report.classes):
                bad.append(f'{value} ({pixels} pixels)')
            else:
                amounts[report.name_of(label)] += pixels
        if bad:
            report.problem(mask.path, f'value {", ".join(bad)} is out of range: '
                           f'{_range(report)}, or {ignore_index} for none'
                           + ('; 0 is ignored, too, and 1 is the first class'
                              if reduce_zero_label else ''))
        elif mask.counts and not amounts:
            report.note('maps have no class at all', mask.path)
        report.count(amounts)
        progress()


def check_boxes(report: Report, items: Iterable[tuple], workers: int,
                progress: Callable[[], None] = lambda: None
                ) -> list[tuple[bool, list[bool]]]:
    """Look at images with boxes.

    Args:
        report: Is filled.
        items: (path, (width, height) as annotated or None, [(class name, (x, y, width,
            height) in pixels)]) of each image; the name None is for boxes that no
            training counts.
        workers: Number of threads.
        progress: Called after each image.

    Returns:
        list[tuple[bool, list[bool]]]: Of each item, whether its image can be used and
        whether each of its boxes can. An image that is listed twice with different
        boxes cannot, as nobody knows which are right.
    """
    items, seen, usable, contradicted = list(items), {}, [], set()
    for scan, (path, said, boxes) in zip(
            scan_all(scan_image, [item[0] for item in items], workers), items,
            strict=True):
        report.add_scan(scan)
        if not _check_repeat(report, seen, path, {str(boxes)}):
            contradicted.add(path)
        other_size = bool(scan.size and said and tuple(said) != scan.size)
        if other_size:
            turned = any('turned' in note for note in scan.notes)
            report.problem(path, f'is annotated as {said[0]} x {said[1]} pixels, but '
                           f'is loaded as {scan.size[0]} x {scan.size[1]}'
                           + ' (turned by its EXIF orientation)' * turned)
        amounts, good = Counter(), []
        for name, box in boxes:
            reason = box_problem(box, scan.size or said)
            good.append(reason is None)
            if reason:
                report.problem(
                    path, f'box {box} of {name or "a crowd"!r} {reason}')
            elif name is not None:
                amounts[name] += 1
        if not boxes:
            report.note('images have no object', path)
        report.count(amounts)
        usable.append((not scan.problem and not other_size, good))
        progress()
    return [(fine and path not in contradicted, good)
            for (path, _, _), (fine, good) in zip(items, usable, strict=True)]


def box_problem(box, size: tuple[int, int] | None = None) -> str | None:
    """What is wrong with a box (x, y, width, height) in an image of a size, if any."""
    if (not isinstance(box, list | tuple) or len(box) != 4
            or not all(isinstance(v, int | float) and math.isfinite(v) for v in box)):
        return 'is not four finite numbers'
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return 'is empty'
    if width < 1 or height < 1:
        return 'is less than a pixel wide or high: mmdet leaves it out'
    if size and not (x >= -_BOX_TOLERANCE and x + width <= size[0] + _BOX_TOLERANCE
                     and y >= -_BOX_TOLERANCE
                     and y + height <= size[1] + _BOX_TOLERANCE):
        return 'reaches out of the image of {} x {} pixels'.format(*size)
    return None


def check_occurrence(report: Report, needed: bool, folder: str = '') -> None:
    """See that each class occurs.

    Args:
        report: A filled report.
        needed: Whether a class that never occurs is a problem, as in training, or
            only a note.
        folder: Where the class folders are, if the classes come from them.
    """
    for name in report.classes or ():
        if report.amounts[name]:
            continue
        where = os.path.join(folder, name) if folder else report.name
        if folder and os.path.isdir(where):
            report.problem(where, 'is a class folder without an image')
        elif needed:
            report.problem(report.name, f'class {name!r} never occurs')
        else:
            report.note(f'class {name!r} never occurs', report.name)


def _label_of(value: int, reduce_zero_label: bool, label_map: dict | None) -> int:
    """What mmseg's ``LoadAnnotations`` makes of a value."""
    if reduce_zero_label:
        value = 255 if value in (0, 255) else value - 1
    return (label_map or {}).get(value, value)


def _check_repeat(report: Report, seen: dict, path: str, content: set) -> bool:
    """Report an image that came before, and say whether it is annotated as then."""
    same = seen.setdefault(path, content) == content
    if not same:
        report.problem(path, 'is listed twice, with different annotations')
    elif seen[path] is not content:
        report.note('images are listed more than once', path)
    return same


def _range(report: Report) -> str:
    return f'0 to {len(report.classes) - 1}' if report.classes else '0 and above'
