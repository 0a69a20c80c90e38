"""What is wrong with one entry of a COCO file: its keys, its box, its mask."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .problem import Report

# Boxes of real sets overshoot by a rounding; a whole pixel is a box counted from 1.
_BOX_TOLERANCE = 0.5
REMOVE = 'take it out or correct it'
# Polygons may reach out of their image; pycocotools needs time and memory for each
# pixel of their outline, also out there.
_MOST_SIZES = 10


def left_out(one: dict, image: dict) -> str | None:
    """Say why mmdet leaves an object out, or clips it."""
    if one['area'] <= 0:
        return f'has the area {one["area"]}: mmdet leaves it out'
    reason = box_problem(one['bbox'], (image['width'], image['height']))
    return reason and f'has the box {one["bbox"]}, which {reason}'


def box_problem(box: Sequence[float], size: tuple[float, float]) -> str | None:
    """Say what is wrong with a box (x, y, width, height) in an image of a size."""
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return 'is empty'
    if width < 1 or height < 1:
        return 'is less than a pixel wide or high: mmdet leaves it out'
    if not (
        x >= -_BOX_TOLERANCE
        and x + width <= size[0] + _BOX_TOLERANCE
        and y >= -_BOX_TOLERANCE
        and y + height <= size[1] + _BOX_TOLERANCE
    ):
        return 'reaches out of the image of {} x {} pixels'.format(*size)
    return None


def flag_problem(one: dict) -> str | None:
    """Say why nobody knows whether an object is a crowd, or is to be ignored.

    mmdet takes any text for yes, '0' too, and pycocotools fails at null.
    """
    if 'iscrowd' in one and one['iscrowd'] not in (0, 1):
        return f'has the iscrowd {one["iscrowd"]!r:.60}, which must be 0 or 1'
    if one.get('ignore') not in (None, 0, 1):
        return f'has the ignore {one["ignore"]!r:.60}, which must be 0 or 1'
    return None


def mask_problem(one: dict, image: dict) -> str | None:
    """Say why an object has no usable mask: polygons, or run lengths."""
    mask = one.get('segmentation')
    size = [image['height'], image['width']]
    if not mask:
        return 'has no mask (segmentation), which the config asks for'
    if isinstance(mask, dict):
        counts = mask.get('counts')
        if not isinstance(counts, list | str) or mask.get('size') != size:
            return (
                'has a mask of run lengths without counts, or of another size than '
                'its image'
            )
        # pycocotools leaves pixels that no run covers as they were in memory.
        runs = _decoded(counts) if isinstance(counts, str) else counts
        if not _cover(runs, size[0] * size[1]):
            return (
                'has a mask whose run lengths do not sum to the height x width of its '
                f'image, {size[0]} x {size[1]}'
            )
    elif not (isinstance(mask, list) and _is_polygon(mask[0])):
        return 'has a mask whose polygon is not three or more points (x, y)'
    elif not all(_is_near(polygon, _MOST_SIZES * max(size)) for polygon in mask):
        return (
            'has a mask with a polygon whose values are not all numbers, or are beyond '
            f'{_MOST_SIZES} times the size of its image'
        )
    return None


def _cover(runs: Sequence[int] | None, pixels: float) -> bool:
    """Return whether run lengths are those of so many pixels."""
    return (
        bool(runs)
        and all(is_number(run) and run >= 0 and run == int(run) for run in runs or ())
        and sum(runs or ()) == pixels
    )


def _decoded(counts: str) -> list[int] | None:
    """Return the run lengths of a compressed mask; None if they are no such text.

    pycocotools writes 5 bits to a character, from '0' on, the lowest first. A further
    bit says that more follow, and the last one's highest bit is the sign. From the
    fourth on, each number is the difference to that before the last.
    """
    codes = np.array([ord(letter) for letter in counts], np.int64) - ord('0')
    if not codes.size or codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        return None
    ends = np.flatnonzero(codes & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() > 6:  # no image has runs of 35 bits
        return None
    places = np.arange(codes.size) - np.repeat(starts, ends - starts + 1)
    numbers = np.add.reduceat((codes & 31) << (5 * places), starts)
    numbers -= ((codes[ends] & 16) << 1) << (5 * places[ends])
    numbers[1::2] = numbers[1::2].cumsum()
    numbers[2::2] = numbers[2::2].cumsum()
    return numbers.tolist()


def _is_near(polygon: Any, bound: float) -> bool:
    return isinstance(polygon, list) and all(
        is_number(value) and abs(value) <= bound for value in polygon
    )


def _is_polygon(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) >= 6
        and len(values) % 2 == 0
        and all(map(is_number, values))
    )


def is_number(value: Any) -> bool:
    """Return False for NaN, infinity, and integers that no float can hold."""
    return type(value) in (int, float) and abs(value) < 1e15


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(is_number, value))


ID = (lambda value: type(value) in (int, str), 'a whole number or a text')


TEXT = (lambda value: type(value) is str, 'a text')


LIST = (lambda value: type(value) is list, 'a list')


SINGULAR = dict(images='image', categories='category', annotations='annotation')


NUMBER = (is_number, 'a finite number')


SIZE = (lambda value: is_number(value) and value > 0, 'a number above 0')


BOX = (_is_box, 'four finite numbers')


def check_keys(
    report: Report,
    path: str,
    part: str,
    entries: list,
    wanted: dict[str, tuple[Callable[[Any], bool], str]],
) -> list[dict]:
    """Return the entries of a list that have all keys, with values as they must be."""
    bad = {}
    for i, entry in enumerate(entries):
        if not isinstance(entry, dict):
            bad[i] = 'is no JSON object'
    for key, (fits, what) in wanted.items():
        for i, entry in enumerate(entries):
            if i not in bad and not fits(entry.get(key)):
                has = f'the {key} {entry[key]!r:.60}' if key in entry else f'no {key}'
                bad[i] = f'has {has}, which must be {what}'
    for i, cause in bad.items():
        known = isinstance(entries[i], dict) and ID[0](entries[i].get('id'))
        name = f'{SINGULAR[part]} {entries[i]["id"]}' if known else f'{part}[{i}]'
        report.error(path, cause, REMOVE, name)
    return [entry for i, entry in enumerate(entries) if i not in bad]


def segments(report: Report, path: str, entries: list) -> list[dict]:
    """Return the segments of panoptic annotations, as objects of their images."""
    return [
        dict(segment, image_id=entry['image_id'])
        if isinstance(segment, dict)
        else segment
        for entry in check_keys(
            report, path, 'annotations', entries, dict(image_id=ID, segments_info=LIST)
        )
        for segment in entry['segments_info']
    ]


def are_fractions(objects: list[dict]) -> bool:
    """Return whether all boxes look like fractions of their images."""
    return all(0 <= value <= 1 for one in objects for value in one['bbox'])


def check_crowd_keys(report: Report, path: str, annotations: list) -> None:
    """Check that each annotation has ``iscrowd``, which COCO's evaluation reads."""
    without = [
        one for one in annotations if isinstance(one, dict) and 'iscrowd' not in one
    ]
    if without:
        report.error(
            path,
            f"and {len(without) - 1} others have no iscrowd, which COCO's "
            'evaluation reads',
            'write "iscrowd": 0 into each, as prepare_coco.py --skip-broken does',
            f'annotation {without[0].get("id")}',
        )


def check_counted_ids(report: Report, path: str, annotations: list) -> None:
    """Check the ids of objects that predictions are compared with.

    pycocotools keeps the id of the object that a prediction has found as a number, and
    takes 0 for none: a perfect prediction of the object 0 counts as a wrong one. A
    training does not read the ids.
    """
    ids = [one.get('id') for one in annotations if isinstance(one, dict)]
    bad = [key for key in ids if type(key) in (int, str) and not _is_counted(key)]
    if bad:
        report.error(
            path,
            'has an id that pycocotools cannot count with (0 means that no object was '
            'found, and a text is no number), so that AP would be wrong or fail',
            'number the annotations anew from 1, as tools/dataset_converters/'
            'prepare_coco.py --skip-broken does',
            f'annotation {bad[0]}' + f' (and {len(bad) - 1} more)' * (len(bad) > 1),
        )


def _is_counted(key: Any) -> bool:
    try:
        return 0 < abs(float(key)) < float('inf')
    except (ValueError, OverflowError):
        return False
