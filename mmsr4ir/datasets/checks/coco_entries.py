"""What is wrong with one entry of a COCO file: its keys, its box, its mask."""

from collections.abc import Callable, Sequence
from typing import Any

from .problem import Report

# Boxes of real sets overshoot by a rounding; a whole pixel is a box counted from 1.
_BOX_TOLERANCE = 0.5
REMOVE = 'take it out or correct it'


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


def mask_problem(one: dict, image: dict) -> str | None:
    """Say why an object has no usable mask: polygons, or run lengths."""
    mask = one.get('segmentation')
    if not mask:
        return 'has no mask (segmentation), which the config asks for'
    if isinstance(mask, dict):
        if not isinstance(mask.get('counts'), list | str) or mask.get('size') != [
            image['height'],
            image['width'],
        ]:
            return (
                'has a mask of run lengths without counts, or of another size than '
                'its image'
            )
        counts, pixels = mask['counts'], image['height'] * image['width']
        if not counts or (isinstance(counts, list) and _total(counts) != pixels):
            return f'has a mask whose run lengths are not {pixels:g} pixels in all'
    elif not (isinstance(mask, list) and any(map(_is_polygon, mask))):
        return 'has a mask whose polygon is not three or more points (x, y)'
    # pycocotools hangs or crashes on NaN and on points that are very far away.
    elif not all(_is_near(polygon, image) for polygon in mask):
        return (
            'has a mask with a polygon that is no list of points in or near its image'
        )
    return None


def _total(counts: list) -> int | None:
    """Return the sum of run lengths; None if one is no whole number from 0 on."""
    fit = all(type(count) is int and count >= 0 for count in counts)
    return sum(counts) if fit else None


def _is_polygon(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) >= 6
        and len(values) % 2 == 0
        and all(map(is_number, values))
    )


def _is_near(values: Any, image: dict) -> bool:
    far = 10 * max(image['width'], image['height'])
    return isinstance(values, list) and all(
        is_number(value) and abs(value) <= far for value in values
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


# Missing and null are 0 in a training; what an evaluation needs is check_evaluated's.
CROWD = (lambda value: value is None or value in (0, 1), '0 or 1')


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


def check_evaluated(report: Report, path: str, annotations: list) -> None:
    """Check what COCO's evaluation reads in each annotation: ``iscrowd`` and ``id``."""
    entries = [one for one in annotations if isinstance(one, dict)]
    without = [one for one in entries if one.get('iscrowd') is None]
    if without:
        report.error(
            path,
            f"and {len(without) - 1} others have no iscrowd, which COCO's "
            'evaluation reads',
            'write "iscrowd": 0 into each, as prepare_coco.py --skip-broken does',
            f'annotation {without[0].get("id")}',
        )
    # pycocotools keeps the id of the object that a prediction matches, and 0 for none.
    ids = [one.get('id') for one in entries]
    unfit = [value for value in ids if value == 0 or type(value) is str]
    if unfit:
        report.error(
            path,
            "has an id that COCO's evaluation counts as no object: the AP is too low"
            if unfit[0] == 0
            else "has an id that is a text, with which COCO's evaluation fails",
            'number the annotations from 1 on, as prepare_coco.py --skip-broken does',
            f'annotation {unfit[0]!r}',
        )
