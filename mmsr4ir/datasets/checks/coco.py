"""Find the faults of a COCO-style set, and make the set without them.

mmdet leaves an object out without a message if its box is empty, smaller than a pixel
or outside the image, if its area is 0, or if its category is unknown. NaN passes.
"""

import os
from collections import Counter
from dataclasses import dataclass

from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.files import load_json
from mmsr4ir.utils.loading import USUAL, Loading

from .coco_entries import (
    BOX,
    ID,
    NUMBER,
    REMOVE,
    SIZE,
    TEXT,
    are_fractions,
    check_keys,
    flag_problem,
    left_out,
    mask_problem,
    segments,
)
from .images import Scan, Scanner, scan_image
from .labels import check_repeat, some
from .maps import is_size_of
from .problem import Report, in_one_line

# What LVIS's annotations have before the path of an image.
_LVIS_ADDRESS = 'http://images.cocodataset.org/'


@dataclass(frozen=True)
class CocoRule:
    """What is asked of a COCO file.

    Args:
        loader: Whose it is, for messages.
        labels: Whether there must be objects to learn from or to compare with.
        masks: Whether each object must have a mask.
        panoptic: Whether its objects are segments of panoptic annotations.
        lvis: Whether it names images as LVIS does, by ``coco_url``.
        scale: How many times as large as its images the annotated sizes are.
        how: How the pipeline loads images.
    """

    loader: str = ''
    labels: bool = True
    masks: bool = False
    panoptic: bool = False
    lvis: bool = False
    scale: int = 1
    how: Loading = USUAL


def read_coco(path: str, labels: bool = True) -> dict:
    """Read a COCO annotation file.

    Raises:
        DataError: If the file is missing, empty, not JSON, lacks a list (that of the
            annotations only if ``labels``), or lists no image.
    """
    fix = 'set data_root and ann_file in the config'
    if not os.path.isfile(path):
        raise DataError(f'annotation file {path} does not exist: {fix}')
    if not os.path.getsize(path):
        raise DataError(f'annotation file {path} is empty: write it again')
    try:
        content = load_json(path)
    except ValueError as error:
        raise DataError(
            f'annotation file {error}: convert it to COCO JSON, '
            'for VOC with tools/dataset_converters/voc2coco.py'
        ) from error
    parts = ('images', 'annotations', 'categories')
    if isinstance(content, dict) and not labels:
        content.setdefault('annotations', [])
    absent = [
        part
        for part in parts
        if not isinstance(content, dict) or not isinstance(content.get(part), list)
    ]
    if absent:
        raise DataError(
            f'annotation file {path} has no list {absent}: a COCO file has {parts}'
        )
    if not content['images']:
        raise DataError(f'annotation file {path} lists no image: {fix}')
    return content


def check_coco(
    report: Report,
    path: str,
    content: dict,
    folder: str,
    rule: CocoRule,
    scanner: Scanner,
) -> dict:
    """Look at the images and objects of a COCO dict.

    Args:
        report: Is filled. Its classes are those of a config, or None; they become
            those of the file then.
        path: The file that the dict was read from.
        content: As :func:`read_coco` returns it.
        folder: What the file names start from.
        rule: What is asked of the file.
        scanner: How images are read. One that reads only head and end reads no image
            at all if the file has errors.

    Returns:
        dict: The same without the images and objects that cannot be used, and with
        ``iscrowd`` in each object.
    """
    report.unit, where = 'objects', f'annotation file {path}'
    names = _check_categories(report, path, content['categories'], rule)
    images, repeated = _check_image_entries(report, path, content['images'], rule)
    objects = content['annotations']
    if rule.panoptic:
        objects = segments(report, path, objects)
    before = len(report.found('error'))
    good = _check_objects(report, path, objects, images, names, rule)
    counted = [one for one in good if not (one.get('iscrowd') or one.get('ignore'))]
    if rule.labels and not objects:
        report.error(
            where,
            'has no annotation, so there is nothing to learn from or to compare '
            f'with in {rule.loader}',
            'set ann_file to one with ground truth',
        )
    elif rule.labels and good and not counted:
        report.error(
            where,
            f'has no object that counts: all {len(good)} are crowds or ignored',
            'write "iscrowd": 0 where an object is a single one',
        )
    elif rule.labels and not good and len(report.found('error')) == before:
        first = next(iter(report.found('warning')), None)
        report.error(
            where,
            f'has {len(objects)} annotations, and none of them is left'
            + (f' (such as {first.entry}, which {first.cause})' if first else ''),
            'correct what all of them have in common',
        )
    if report.found('error') and not scanner.whole:
        return content
    of_image: dict[int | str, list] = {key: [] for key in images}
    for one in good:
        of_image[one['image_id']].append(one)
    usable = _check_files(report, images, of_image, names, folder, rule, scanner)
    usable -= repeated
    return dict(
        content,
        images=[image for key, image in images.items() if key in usable],
        annotations=[
            one if 'iscrowd' in one else dict(one, iscrowd=0)
            for one in good
            if one['image_id'] in usable
        ],
    )


def _check_categories(
    report: Report, path: str, entries: list, rule: CocoRule
) -> dict[int | str, str]:
    """Compare the categories with the classes; return their names by their ids.

    Raises:
        DataError: If a category has no id or name, or another has the same.
    """
    wanted = dict(id=ID, name=TEXT) | (dict(isthing=ID) if rule.panoptic else {})
    found = Report(path)
    known = check_keys(found, path, 'categories', entries, wanted)
    if found.problems:
        raise DataError(in_one_line(found.problems))
    names, ids = [one['name'] for one in known], [one['id'] for one in known]
    where = f'annotation file {path}'
    if min(len(set(names)), len(set(ids))) < len(known):
        raise DataError(
            f'{where} has a category twice: {str(names)[:200]}. Give each '
            'an id and a name of its own'
        )
    if report.classes is None:
        report.classes = names
    classes = list(report.classes)
    chosen = [name for name in names if name in classes]
    if classes == chosen != names and classes:
        report.warn(
            where,
            f'has {len(names) - len(classes)} categories that are none of the classes '
            f'of the config ({some(set(names) - set(classes))}), and whose objects '
            'are left out',
            'add them to metainfo=dict(classes=...) of the data set, if they are '
            'wanted',
        )
    elif set(classes) - set(names) or not classes:
        report.error(
            '',
            f'the config has {len(classes)} classes and {path} has {len(names)}: '
            f'{some(set(classes) - set(names))} only in the config, '
            f'{some(set(names) - set(classes))} only in the file',
            'set metainfo=dict(classes=...) of the data set to those of the file',
        )
    elif classes != names:
        report.error(
            where,
            f'has the categories in another order than the config the classes '
            f'{classes}, and mmdet numbers them by the file',
            f'set metainfo=dict(classes={tuple(chosen)}) of the data set; if the files '
            'of two splits differ, write one as the other',
        )
    return dict(zip(ids, names, strict=True))


def _check_image_entries(
    report: Report, path: str, entries: list, rule: CocoRule
) -> tuple[dict[int | str, dict], set[int | str]]:
    """Return the complete entries of images, by their ids, and ids of several images.

    Nobody knows of which image the objects with such an id are.
    """
    images: dict[int | str, dict] = {}
    repeated = set()
    name = 'coco_url' if rule.lvis else 'file_name'
    for image in check_keys(
        report,
        path,
        'images',
        entries,
        {'id': ID, name: TEXT, 'width': SIZE, 'height': SIZE},
    ):
        first = images.setdefault(image['id'], image)
        if first is not image:
            if image[name] != first[name]:
                repeated.add(image['id'])
            report.error(
                path,
                f'stands there twice, for {first[name]} and {image[name]}: the '
                'boxes of one would be taken for those of the other',
                'give each image an id of its own',
                f'image id {image["id"]}',
            )
    return images, repeated


def _check_objects(
    report: Report, path: str, entries: list, images: dict, names: dict, rule: CocoRule
) -> list[dict]:
    """Return the objects that can be used."""
    known = check_keys(
        report,
        path,
        'annotations',
        entries,
        dict(id=ID, image_id=ID, category_id=ID, bbox=BOX, area=NUMBER),
    )
    if not rule.panoptic:  # where ids are those of one image
        repeated = [
            key
            for key, count in Counter(one['id'] for one in known).items()
            if count > 1
        ]
        if repeated:
            report.error(
                f'annotation file {path}',
                'has annotation ids more than once '
                f'({some(repeated)}), which mmdet refuses',
                'number them anew, as prepare_coco.py --skip-broken does',
            )
    if rule.labels and known and are_fractions(known):
        report.error(
            f'annotation file {path}',
            f'has only boxes with values from 0 to 1 ({len(known)}): they look like '
            'fractions of the images, and are to be pixels',
            'multiply x and width by the width of the image, y and height by its '
            'height, and area by both',
        )
        return []
    if known and not any(one['image_id'] in images for one in known):
        report.error(
            f'annotation file {path}: no annotation',
            'has the image_id of one of its images',
            'write the file again',
        )
        return []
    good = []
    for one in known:
        image, entry = images.get(one['image_id']), f'annotation {one["id"]}'
        if one['category_id'] not in names:
            report.error(
                path,
                f'has the category_id {one["category_id"]}, which is '
                'not in its categories',
                REMOVE,
                entry,
            )
        elif names[one['category_id']] not in (report.classes or ()):
            continue  # the config has chosen others
        elif reason := flag_problem(one):
            report.error(path, reason, 'write 0 or 1, or take it out', entry)
        elif image is None:
            report.warn(
                path,
                f'is for image {one["image_id"]}, which is not listed',
                REMOVE,
                entry,
            )
        elif rule.masks and (reason := mask_problem(one, image)):
            report.error(path, reason, REMOVE, entry)
        elif reason := left_out(one, image):
            report.warn(path, reason, REMOVE, entry)
        else:
            good.append(one)
    return good


def _check_files(
    report: Report,
    images: dict,
    objects: dict,
    names: dict,
    folder: str,
    rule: CocoRule,
    scanner: Scanner,
) -> set:
    """Look at the images themselves; return the ids of those that can be used."""
    paths = {
        key: os.path.join(folder, _file_name(image, rule))
        for key, image in images.items()
    }
    usable, contradicted = set(), set()
    seen: dict[str, Scan] = {}
    times = Counter(paths.values())
    scans = scanner.each(
        report.name,
        lambda path: scan_image(path, scanner.whole, rule.how),
        list(paths.values()),
    )
    for (key, path), scan in zip(paths.items(), scans, strict=True):
        report.add_scan(scan)
        said = images[key]['width'], images[key]['height']
        if times[path] > 1 and not check_repeat(
            report,
            seen,
            path,
            {f'{one["category_id"]} {one["bbox"]}' for one in objects[key]},
        ):
            contradicted.add(path)
        if scan.size and not is_size_of(scan.size, said, rule.scale):
            report.error(
                path,
                f'is annotated as {said[0]} x {said[1]} pixels, but is loaded as '
                f'{scan.size[0]} x {scan.size[1]}'
                + ' (turned by its EXIF orientation)'
                * scan.turned,
                'annotate it in the size that is loaded',
            )
        elif not scan.problem:
            usable.add(key)
        if scan.ambiguous:
            report.warn(
                path,
                'is turned by its EXIF orientation when it is loaded; '
                'its boxes must be on what it then shows',
                'write the image without EXIF orientation',
            )
        if not objects[key]:
            report.note(path, 'has no object')
        crowds = [bool(one.get('iscrowd') or one.get('ignore')) for one in objects[key]]
        if any(crowds):
            report.note(path, 'has crowds, which no training counts')
        if not scan.problem:
            report.add_counts(
                Counter(
                    names[one['category_id']]
                    for one, crowd in zip(objects[key], crowds, strict=True)
                    if not crowd
                )
            )
    return {key for key in usable if paths[key] not in contradicted}


def _file_name(image: dict, rule: CocoRule) -> str:
    return (
        image['coco_url'].replace(_LVIS_ADDRESS, '')
        if rule.lvis
        else image['file_name']
    )
