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
    elif not (isinstance(mask, list) and _is_polygon(mask[0])):
        return 'has a mask whose polygon is not three or more points (x, y)'
    return None


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
