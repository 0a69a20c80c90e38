"""What is wrong in a COCO-style set, and the set without it.

mmdet leaves objects out without a word where their box is empty, smaller than a pixel
or outside the image, their area is 0 or their category is unknown.
"""
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from .before_run import DataError
from .verify import Report, check_boxes


def check_coco(report: Report, content: dict, folder: str, workers: int,
               progress: Callable[[], None] = lambda: None) -> dict:
    """Look at the images and objects of a COCO dict.

    Args:
        report: Is filled. Its classes are those of a config, or None; they become
            those of the file then.
        content: As `mmsr4ir.datasets.checks.before_run.read_coco` gives it.
        folder: What the file names start from.
        workers: Number of threads.
        progress: Called after each image.

    Returns:
        dict: The same without the images and objects that cannot be used.

    Raises:
        DataError: The categories cannot be used.
    """
    names = _check_categories(report, content['categories'])
    images = _check_image_entries(report, content['images'])
    objects = _check_objects(report, content['annotations'], images, names)
    items = [(
        os.path.join(folder, image['file_name']), (image['width'], image['height']),
        [(None if one.get('iscrowd') or one.get('ignore')
          else names[one['category_id']], one['bbox']) for one in objects[key]]
    ) for key, image in images.items()]
    usable = check_boxes(report, items, workers, progress)
    kept_images, kept_objects = [], []
    for (key, image), (whole, good) in zip(images.items(), usable, strict=True):
        if whole:
            kept_images.append(image)
            kept_objects += [one for one, ok in zip(objects[key], good, strict=True)
                             if ok]
    return dict(content, images=kept_images, annotations=kept_objects)


def _check_categories(report: Report, categories: list) -> dict[int, str]:
    names = {one['id']: str(one['name']) for one in categories if isinstance(one, dict)
             and _key(one.get('id')) is not None and 'name' in one}
    if len(names) < len(categories) or len(set(names.values())) < len(names):
        raise DataError('the categories need an id and a name each, and none twice, '
                        f'but are {categories}: mend the file')
    if report.classes is None:
        report.classes = list(names.values())
    listed = list(names.values())
    if set(listed) == set(report.classes) and listed != list(report.classes):
        report.problem(report.name, 'the categories stand in another order than the '
                       'classes of the config, and mmdet numbers them by the file: '
                       f'set classes={tuple(listed)}')
    for missing in [name for name in report.classes if name not in names.values()]:
        report.problem(report.name, f'class {missing!r} of the config is no category')
    for unknown in [name for name in names.values() if name not in report.classes]:
        report.problem(report.name, f'category {unknown!r} is no class of the config: '
                       'mmdet leaves its objects out')
    return names


def _check_image_entries(report: Report, entries: list) -> dict:
    images = {}
    for image in entries:
        if not (isinstance(image, dict) and _key(image.get('id')) is not None
                and isinstance(image.get('file_name'), str)
                and all(isinstance(image.get(key), int) and image[key] > 0
                        for key in ('width', 'height'))):
            report.problem(report.name, f'image {image} has no id, file_name, width or '
                           'height')
        elif images.setdefault(image['id'], image) is not image:
            report.problem(report.name, f'image id {image["id"]} stands there twice')
    return images


def _check_objects(report: Report, annotations: list, images: dict, names: dict
                   ) -> dict[int, list[dict]]:
    """The objects of each image whose entries are complete."""
    objects = {key: [] for key in images}
    if not all(isinstance(one, dict) for one in annotations):
        report.problem(report.name, 'an annotation is no JSON object')
    annotations = [one for one in annotations if isinstance(one, dict)]
    repeated = {key: count for key, count in Counter(
        _key(one.get('id')) for one in annotations).items() if count > 1 or key is None}
    if repeated:
        report.problem(report.name, 'annotation ids must be there, once each: see '
                       f'{list(repeated)[:5]}')
    for one in annotations:
        image = images.get(_key(one.get('image_id')))
        reason = _object_problem(one, image, names)
        if reason:
            path = image['file_name'] if image else report.name
            report.problem(path, f'annotation {one.get("id")} {reason}')
        else:
            objects[one['image_id']].append(one)
    crowds = sum(bool(one.get('iscrowd')) for one in annotations)
    if crowds:
        report.note(f'{crowds} objects are crowds, which no training counts',
                    report.name)
    return objects


def _object_problem(one: dict, image: dict | None, names: dict) -> str | None:
    if image is None:
        return f'is for image {one.get("image_id")}, which is not listed'
    if _key(one.get('category_id')) not in names:
        return f'has the category {one.get("category_id")}, which is not listed'
    if 'bbox' not in one:
        return 'has no bbox'
    area = one.get('area')
    if not isinstance(area, int | float) or area <= 0:
        return f'has the area {area}: mmdet needs a number above 0'
    return None


def _key(value) -> int | str | None:
    """An id that a dict can have; None for anything else."""
    return value if isinstance(value, int | str) else None


def coco_settings(files: Sequence[Path], images: Path, classes: list[str]) -> str:
    """What a config needs, by the names of configs/sr4ir/faster-rcnn_edsr_custom.py.

    Args:
        files: The annotation files: the first for the training, the last for the
            validation.
        images: What the file names in them start from.
        classes: Their classes in order.
    """
    train, *_, val = [*files, *files]
    return '\n'.join([
        'For the config (configs/sr4ir/faster-rcnn_edsr_custom.py):', "data_root = ''",
        f"train_ann, train_images = '{train}', '{images}/'",
        f"val_ann, val_images = '{val}', '{images}/'", f'classes = {tuple(classes)}'])
