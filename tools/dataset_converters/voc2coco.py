"""Convert a data set with VOC annotations to COCO JSON."""
import argparse
import json
import os
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mmengine.utils import ProgressBar
from PIL import Image, UnidentifiedImageError

_IMAGE_TYPES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


class VocError(ValueError):
    """Something is wrong with the data; the message names the file and the mend."""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Convert VOC annotations to COCO JSON, one file for each split. '
        'Works on VOCdevkit/VOC2012 (Annotations, JPEGImages, ImageSets/Main) and on '
        'any folder whose XML files and images have the same names.',
        epilog='Boxes: VOC counts pixels from 1 and includes the last one, so '
        'x = xmin - 1 and width = xmax - xmin + 1; they are clipped to the image. '
        'Objects marked difficult become iscrowd=1, which neither training nor the '
        'COCO metric counts.')
    parser.add_argument('root', type=Path, help='folder of the data set')
    parser.add_argument(
        '--out', type=Path, help='folder for <split>.json (default: ROOT/annotations)')
    parser.add_argument(
        '--split', nargs='+', metavar='NAME',
        help='splits, by the files in ImageSets/Main or by the folders in ROOT '
        '(default: every one found; "all" where there is none)')
    parser.add_argument(
        '--classes', nargs='+', metavar='NAME',
        help='classes in their order, or one text file with a name a line (default: '
        'all that the annotations have, sorted)')
    parser.add_argument(
        '--ignore-unknown', action='store_true',
        help='leave out objects of classes that --classes does not name')
    parser.add_argument(
        '--skip-difficult', action='store_true', help='leave out difficult objects')
    return parser.parse_args()


def find_splits(root: Path, names: Sequence[str] | None = None
                ) -> dict[str, list[Path]]:
    """Find the XML files of each split.

    Args:
        root: Folder of the data set.
        names: The splits wanted; every one if None.

    Returns:
        dict[str, list[Path]]: XML files, sorted, by split.

    Raises:
        VocError: There is no such folder, no such split, or no annotation.
    """
    if not root.is_dir():
        raise VocError(f'{root} is no folder: give the folder of the data set')
    listed = sorted((root / 'ImageSets' / 'Main').glob('*.txt'))
    # VOC also lists the images of each class, as in cat_train.txt.
    splits = {path.stem: path for path in listed if '_' not in path.stem}
    if names:
        splits |= {path.stem: path for path in listed if path.stem in names}
    if splits:
        found = {
            name: [root / 'Annotations' / f'{line.split()[0]}.xml'
                   for line in path.read_text().splitlines() if line.strip()]
            for name, path in splits.items()
        }
    else:
        found = {
            folder.name: sorted(folder.rglob('*.xml'))
            for folder in sorted(root.iterdir())
            if folder.is_dir() and folder.name != 'Annotations'
        }
        found = {name: files for name, files in found.items() if files}
        found = found or {'all': sorted(root.rglob('*.xml'))}
    for name in names or ():
        if name not in found:
            raise VocError(f'{root} has no split {name!r}; it has {sorted(found)}')
    found = {name: files for name, files in found.items() if not names or name in names}
    for name, files in found.items():
        if not files:
            raise VocError(f'{root}: split {name!r} has no XML file')
    return found


def read_xml(path: Path) -> ET.Element:
    """Read an annotation.

    Raises:
        VocError: It is missing, no XML, or declares entities (which can be made to
            fill the memory and which no VOC file has).
    """
    if not path.is_file():
        raise VocError(f'annotation {path} is missing')
    text = path.read_bytes()
    if b'<!ENTITY' in text or b'<!DOCTYPE' in text:
        raise VocError(f'annotation {path} declares entities and is refused')
    try:
        return ET.fromstring(text)
    except ET.ParseError as error:
        raise VocError(f'annotation {path} is no XML ({error})') from error


def find_image(root: Path, path: Path, annotation: ET.Element) -> Path:
    """Find the image of an annotation.

    It is looked for by the XML's ``filename`` and by the XML file's own name, beside
    it and in the folders that data sets use.

    Raises:
        VocError: It is in none of them, or outside the data set.
    """
    name = Path((annotation.findtext('filename') or '').strip()).name
    names = [name] if Path(name).suffix else [name + s for s in _IMAGE_TYPES if name]
    names += [path.stem + suffix for suffix in _IMAGE_TYPES]
    folders = [path.parent, *(
        base / folder for base in (path.parent, path.parent.parent, root)
        for folder in ('JPEGImages', 'images', 'Images', 'imgs'))]
    for folder in folders:
        for candidate in names:
            if (folder / candidate).is_file():
                return folder / candidate
    raise VocError(
        f'the image of {path} is missing: none of {names[:3]} is beside it or in '
        'JPEGImages or images')


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, in pixels.

    Raises:
        VocError: It is no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise VocError(f'image {path} cannot be read ({error})') from error


def to_coco_box(corners: Sequence[float], width: int, height: int
                ) -> list[float] | None:
    """Turn (xmin, ymin, xmax, ymax), from 1 and inclusive, into a COCO box.

    Returns:
        list[float] | None: [x, y, width, height] within the image; None where nothing
        of it lies in the image.
    """
    x1, y1 = max(corners[0] - 1, 0), max(corners[1] - 1, 0)
    x2, y2 = min(corners[2], width), min(corners[3], height)
    return [x1, y1, x2 - x1, y2 - y1] if x2 > x1 and y2 > y1 else None


class Converter:
    """Converts the splits of one data set and counts what it met.

    Args:
        root: Folder of the data set; image paths are written relative to it.
        classes: The class names in their order.
        ignore_unknown: Whether to leave out objects of other classes.
        skip_difficult: Whether to leave out difficult objects.
    """

    def __init__(self, root: Path, classes: Sequence[str], ignore_unknown: bool = False,
                 skip_difficult: bool = False) -> None:
        self.root = root
        self.ids = {name: i + 1 for i, name in enumerate(classes)}
        self.ignore_unknown = ignore_unknown
        self.skip_difficult = skip_difficult
        self.notes = Counter()

    def convert(self, files: Sequence[Path], progress=lambda: None) -> dict:
        """Make a COCO dict of annotation files."""
        coco = dict(images=[], annotations=[], categories=[
            dict(id=i, name=name) for name, i in self.ids.items()])
        for image_id, path in enumerate(files, 1):
            annotation = read_xml(path)
            image = find_image(self.root, path, annotation)
            width, height = image_size(image)
            said = tuple(annotation.findtext(f'size/{k}') for k in ('width', 'height'))
            if said != (str(width), str(height)):
                self.notes['sizes taken from the image, not from the XML'] += 1
            coco['images'].append(dict(
                id=image_id, file_name=image.relative_to(self.root).as_posix(),
                width=width, height=height))
            for item in annotation.iter('object'):
                made = self._object(item, path, width, height)
                if made:
                    coco['annotations'].append(dict(
                        made, id=len(coco['annotations']) + 1, image_id=image_id))
            progress()
        return coco

    def _object(self, item: ET.Element, path: Path, width: int, height: int
                ) -> dict | None:
        name = (item.findtext('name') or '').strip()
        if name not in self.ids:
            if self.ignore_unknown:
                self.notes[f'objects of class {name!r} left out'] += 1
                return None
            raise VocError(
                f'{path} has an object of class {name!r}, which is not in '
                f'{list(self.ids)}: add it to --classes, or give --ignore-unknown')
        difficult = (item.findtext('difficult') or '0').strip() == '1'
        if difficult and self.skip_difficult:
            self.notes['difficult objects left out'] += 1
            return None
        try:
            corners = [
                float(item.findtext(f'bndbox/{key}'))
                for key in ('xmin', 'ymin', 'xmax', 'ymax')
            ]
        except (TypeError, ValueError) as error:
            raise VocError(f'{path}: an object {name!r} has no whole box') from error
        box = to_coco_box(corners, width, height)
        if box is None:
            self.notes['boxes without area in the image left out'] += 1
            return None
        if box != [corners[0] - 1, corners[1] - 1, corners[2] - corners[0] + 1,
                   corners[3] - corners[1] + 1]:
            self.notes['boxes clipped to the image'] += 1
        return dict(category_id=self.ids[name], bbox=box, area=box[2] * box[3],
                    iscrowd=int(difficult))


def read_classes(names: Sequence[str] | None, files: Sequence[Path]) -> list[str]:
    """The class names that were given, or all that the annotations have.

    Raises:
        VocError: There are none, or one stands there twice.
    """
    if names and len(names) == 1 and Path(names[0]).is_file():
        names = [n.strip() for n in Path(names[0]).read_text().splitlines()]
        names = [name for name in names if name]
    if names is None:
        names = sorted({
            (item.findtext('name') or '').strip()
            for path in files for item in read_xml(path).iter('object')
        })
    if not names or len(set(names)) < len(names):
        raise VocError(f'the classes {list(names)} are empty or not unique')
    return list(names)


def write_json(path: Path, content: dict) -> None:
    """Write beside and rename, so that the file is never half there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'{path.name}.part')
    unfinished.write_text(json.dumps(content))
    os.replace(unfinished, path)


def main() -> None:
    args = parse_args()
    out = args.out or args.root / 'annotations'
    try:
        splits = find_splits(args.root, args.split)
        classes = read_classes(args.classes, [f for s in splits.values() for f in s])
        converter = Converter(
            args.root, classes, args.ignore_unknown, args.skip_difficult)
        for split, files in splits.items():
            bar = ProgressBar(len(files))
            coco = converter.convert(files, bar.update)
            write_json(out / f'{split}.json', coco)
            print(f'\n{out / split}.json: {len(coco["images"])} images, '
                  f'{len(coco["annotations"])} objects')
    except VocError as error:
        sys.exit(f'\nerror: {error}')
    print(f'classes = {tuple(classes)}')
    for note, count in converter.notes.items():
        print(f'{count} {note}')


if __name__ == '__main__':
    main()
