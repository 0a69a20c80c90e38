"""What is wrong with images that have a map of class numbers each.

Without these checks, a label beyond the class count ends in an index error of the loss
that names no file (on a GPU in an assertion that kills the process), and a map whose
size differs from that of its image ends in a wrong crop or a shape error.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmsr4ir.utils.configs import as_list
from mmsr4ir.utils.loading import USUAL, Loading

from .images import Scan, Scanner, scan_image, scan_mask
from .labels import check_repeat
from .problem import Report
from .sets import DataPart

#: So many maps of a split are counted before a run; of the others, the head is read.
COUNTED_MAPS = 500


@dataclass(frozen=True)
class MapRule:
    """How the values of maps are read.

    Args:
        ignored: The number that counts for no class.
        reduce_zero_label: As in mmseg: 0 is ignored, and k becomes k - 1.
        label_map: As in mmseg: {old number: new number}, 255 for what is ignored.
        weighted: Whether a loss looks up the weight of each pixel's class, so that
            none may be ignored.
        scale: How many times as large as its image a map is.
        how: How the pipeline loads images.
    """

    ignored: int = 255
    reduce_zero_label: bool = False
    label_map: Mapping[int, int] | None = None
    weighted: bool = False
    scale: int = 1
    how: Loading = USUAL

    def label(self, value: int) -> int:
        """Return what mmseg's ``LoadAnnotations`` makes of a value."""
        if self.reduce_zero_label:
            value = 255 if value in (0, 255) else value - 1
        return (self.label_map or {}).get(value, value)


def map_rule(part: DataPart, built, training: bool) -> MapRule:
    """Return how a config reads its maps."""
    heads = as_list(part.task.get('decode_head'))
    ignored = (
        heads[-1].get('ignore_index', 255)
        if heads
        else getattr(built, 'ignore_index', 255)
    )
    count = heads[-1].get('num_classes') if heads else None
    losses = [
        loss
        for head in heads + as_list(part.task.get('auxiliary_head'))
        for loss in as_list(head.get('loss_decode'))
    ]
    weighted = (
        training
        and count
        and not 0 <= ignored < count
        and any(
            loss.get('class_weight')
            and not loss.get('use_sigmoid')
            and str(loss.get('type', 'CrossEntropyLoss')).endswith('CrossEntropyLoss')
            for loss in losses
        )
    )
    return MapRule(
        ignored,
        bool(built.reduce_zero_label),
        built.label_map,
        bool(weighted),
        part.scale,
        part.loading,
    )


def check_maps(
    report: Report, samples: Sequence[tuple[str, str]], rule: MapRule, scanner: Scanner
) -> int:
    """Look at images with a map of class numbers each.

    Args:
        report: Is filled; it has the classes.
        samples: (image path, map path) of each.
        rule: How the values are read.
        scanner: How images are read. One that reads only head and end counts
            `COUNTED_MAPS` maps.

    Returns:
        int: How many maps were counted.
    """
    report.unit = 'pixels'
    every = 1 if scanner.whole else max(1, -(-len(samples) // COUNTED_MAPS))

    def scan_one(item: tuple[int, tuple[str, str]]) -> tuple[Scan, Scan]:
        index, (image, labels) = item
        return scan_image(image, scanner.whole, rule.how), scan_mask(
            labels, index % every == 0
        )

    seen: dict = {}
    values: Counter = Counter()
    counted = 0
    for image, mask in scanner.each(report.name, scan_one, list(enumerate(samples))):
        report.add_scan(image)
        check_repeat(report, seen, image.path, {mask.path})
        if mask.problem:
            report.error(mask.path, mask.problem, 'write it again as 8-bit PNG')
        elif image.size and not is_size_of(image.size, mask.size, rule.scale):
            at = f' at 1/{rule.scale}' if rule.scale > 1 else ''
            report.error(
                mask.path,
                'has {} x {} pixels, its image {} x {}'.format(*mask.size, *image.size)
                + at,
                'write it in the size of its image',
            )
        elif image.ambiguous:
            report.warn(
                image.path,
                'is turned by its EXIF orientation when it is loaded, and '
                'its map is not',
                'write the image without EXIF orientation',
            )
        if mask.counts:
            counted += 1
            values.update(mask.counts)
            _count_values(report, mask, rule)
    left = {rule.label(value) for value in values} - {rule.ignored}
    if set(values) == {0, 255} and left == {0}:
        alone = len(report.classes or ()) == 1
        report.error(
            samples[0][1],
            'and all other maps have only the values 0 and 255, and 255 '
            f'is ignored: the one class left is {report.name_of(0)!r}',
            'write 1 instead of 255 into the maps'
            + f", and set classes=('background', {report.name_of(0)!r})" * alone,
        )
    return counted


def _count_values(report: Report, mask: Scan, rule: MapRule) -> None:
    """Count the pixels of each class in one map; report values beyond the classes."""
    amounts: Counter = Counter()
    bad = []
    for value, pixels in (mask.counts or {}).items():
        label = rule.label(value)
        if label == rule.ignored:
            if rule.weighted:
                report.error(
                    mask.path,
                    f'has pixels to be ignored ({rule.ignored}), with which '
                    "class_weight of mmseg's CrossEntropyLoss ends in an index error",
                    'set class_weight=None in loss_decode of both heads',
                )
        elif report.classes and label >= len(report.classes):
            bad.append(f'{value} ({pixels} pixels)')
        else:
            amounts[report.name_of(label)] += pixels
    if bad:
        report.error(
            mask.path,
            f'has the labels {", ".join(bad[:5])}, but the classes are 0 to '
            f'{len(report.classes or ()) - 1} and {rule.ignored} is ignored'
            + (' (0 too, and 1 is the first class)' if rule.reduce_zero_label else ''),
            'correct the map, or set num_classes and ignore_index to what it holds',
        )
    elif not amounts:
        report.note(mask.path, 'has no class at all')
    report.add_counts(amounts)


def is_size_of(
    size: tuple[int, int], labelled: tuple[float, float], scale: int
) -> bool:
    """Return whether a labelled size is an image's times a scale, up to rounding."""
    return all(
        abs(one * scale - other) < scale
        for one, other in zip(size, labelled, strict=True)
    )
