"""Data sets with VOC annotations, converted to COCO's format."""

import os
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.parsers import expat

from mmsr4ir.utils.errors import DataError

from .checks.images import scan_image

_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
_IMAGE_TYPES = _SUFFIXES + tuple(suffix.upper() for suffix in _SUFFIXES)
_IMAGE_FOLDERS = ('JPEGImages', 'images', 'Images', 'imgs')


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text that are not blank, each once.

    Raises:
        DataError: If the file is no UTF-8 text.
    """
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f'{path} is no UTF-8 text: save it as such') from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def find_splits(
    root: Path, names: Sequence[str] | None = None, ann_dir: str | None = None
) -> dict[str, list[Path]]:
    """Find the XML files of each split: {name: files}.

    Args:
        root: Folder of the data set.
        names: The splits wanted; every one if None.
        ann_dir: Folder of the XML files, if it is none of the usual ones.

    Raises:
        DataError: If the folder or a split does not exist, a split has no annotation,
            or a split lists an annotation twice.
    """
    folder = root / (ann_dir or 'Annotations')
    for path in (root, *([folder] if ann_dir else [])):
        if not path.is_dir():
            raise DataError(f'{path} is no folder: give the folder of the data set')
    # VOC also lists the images of each class, as in cat_train.txt, with a flag a line.
    listed = {
        path.stem: path
        for path in sorted((root / 'ImageSets' / 'Main').glob('*.txt'))
        if '_' not in path.stem or path.stem in (names or ())
    }
    if listed:
        found = {
            name: [_listed_xml(folder, line) for line in read_lines(path)]
            for name, path in listed.items()
            if not names or name in names
        }
    elif ann_dir or not (
        found := {
            path.name: files
            for path in sorted(root.iterdir())
            if path.is_dir()
            and path.name != 'Annotations'
            and (files := sorted(path.rglob('*.xml')))
        }
    ):
        found = {'all': sorted((folder if ann_dir else root).rglob('*.xml'))}
    for name in names or ():
        if name not in found:
            raise DataError(
                f'{root} has no split {name!r}; it has {sorted(listed or found)}'
            )
    for name, files in found.items():
        if not files:
            raise DataError(
                f'{root} has no XML annotation for split {name!r}: give '
                'the folder that holds the XML files, or --ann-dir'
            )
        path, count = Counter(files).most_common(1)[0]
        if count > 1:
            raise DataError(
                f'split {name!r} lists {path} {count} times: name it once; '
                'of a name that ends in 0, 1 or -1, add the XML file'
            )
    return {name: found[name] for name in names or found}


def _listed_xml(folder: Path, line: str) -> Path:
    """Return the XML file of a line, whose end may be VOC's flag or of the name."""
    whole = folder / f'{line}.xml'
    return (
        whole
        if whole.is_file()
        else folder / (re.sub(r'\s+(-1|0|1)$', '', line) + '.xml')
    )


def read_xml(path: Path) -> ET.Element:
    """Read an annotation.

    Raises:
        DataError: If the file is missing, is no XML, or has a document type. No VOC
            file has a document type, and its entities could fill the memory; expat
            looks for it first, because a search in the text would miss other encodings.
    """

    def refuse(*_) -> None:
        raise DataError(f'annotation {path} has a DOCTYPE and is refused: remove it')

    try:
        text = path.read_bytes()
        guard = expat.ParserCreate()
        guard.StartDoctypeDeclHandler = refuse
        guard.Parse(text, True)
        return ET.fromstring(text)
    except FileNotFoundError as error:
        raise DataError(
            f'annotation {path} is missing: add it, or remove its name '
            "from the split's list"
        ) from error
    except DataError:
        raise
    except (expat.ExpatError, ET.ParseError, LookupError, ValueError) as error:
        raise DataError(f'annotation {path} is no XML ({error}): fix it') from error


def find_image(
    root: Path, path: Path, annotation: ET.Element, image_dir: str | None = None
) -> Path:
    """Find the image of an annotation, beside it or where data sets have them.

    The XML file's own name counts more than its ``filename``, which often is that of
    the image before it was renamed.

    Raises:
        DataError: If the image is in none of the folders, or outside the data set.
    """
    said = Path((annotation.findtext('filename') or '').strip()).name
    names = [path.stem + suffix for suffix in _IMAGE_TYPES]
    names += [said] if Path(said).suffix else [said + s for s in _IMAGE_TYPES if said]
    folders = (
        [root / image_dir]
        if image_dir
        else [
            path.parent,
            *(
                base / name
                for base in (path.parent, path.parent.parent, root)
                for name in _IMAGE_FOLDERS
            ),
        ]
    )
    for image in (folder / name for folder in folders for name in names):
        if image.is_file():
            if os.path.relpath(image, root).startswith('..'):
                raise DataError(
                    f'image {image} is outside {root}: give a root above it'
                )
            return image
    where = image_dir or 'JPEGImages, images or beside it'
    raise DataError(
        f'the image of {path} is missing: neither {path.stem} with a usual '
        f'suffix nor {said!r} is in {where}; add it, or give --image-dir'
    )


def to_coco_box(
    corners: Sequence[float], width: int, height: int
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
    """Convert the splits of one data set, and count special cases in ``notes``.

    Args:
        root: Folder of the data set; image paths are written relative to it.
        classes: The class names in their order.
        image_dir: Folder of the images, if it is none of the usual ones.
        ignore_unknown: Whether to leave out objects of other classes.
        keep_difficult: Whether difficult objects are objects like all others; else
            mmdet neither trains on them nor counts them.
    """

    def __init__(
        self,
        root: Path,
        classes: Sequence[str],
        image_dir: str | None = None,
        ignore_unknown: bool = False,
        keep_difficult: bool = False,
    ) -> None:
        self.root = root
        self.image_dir = image_dir
        self.ids = {name: i + 1 for i, name in enumerate(classes)}
        self.ignore_unknown = ignore_unknown
        self.keep_difficult = keep_difficult
        self.notes: Counter[str] = Counter()
        self.first_met: dict[str, Path] = {}

    def _note(self, text: str, path: Path) -> None:
        self.notes[text] += 1
        self.first_met.setdefault(text, path)

    def convert(
        self, files: Sequence[Path], progress: Callable[[], None] = lambda: None
    ) -> dict:
        """Make a COCO dict of annotation files.

        Args:
            files: The XML files, one for each image.
            progress: Called after each file.

        Raises:
            DataError: If an annotation or its image cannot be used.
        """
        coco = dict(
            images=[],
            annotations=[],
            # VOC has no groups of classes; COCO's own analysis reads them.
            categories=[
                dict(id=i, name=name, supercategory='none')
                for name, i in self.ids.items()
            ],
        )
        owners: dict[Path, Path] = {}
        for image_id, path in enumerate(files, 1):
            annotation = read_xml(path)
            image = find_image(self.root, path, annotation, self.image_dir)
            if owners.setdefault(image, path) != path:
                raise DataError(
                    f'{owners[image]} and {path} are both for {image}: '
                    'remove one, or give --image-dir'
                )
            scan = scan_image(str(image), whole=False)
            if scan.size is None:
                raise DataError(
                    f'image {image} cannot be read ({scan.problem}): replace it'
                )
            width, height = scan.size
            said = tuple(annotation.findtext(f'size/{k}') for k in ('width', 'height'))
            if said != (str(width), str(height)):
                self._note('sizes taken from the image, not from the XML', path)
            name = Path(os.path.relpath(image, self.root)).as_posix()
            coco['images'].append(
                dict(id=image_id, file_name=name, width=width, height=height)
            )
            for item in annotation.iter('object'):
                made = self._object(item, path, width, height)
                if made:
                    coco['annotations'].append(
                        dict(made, id=len(coco['annotations']) + 1, image_id=image_id)
                    )
            progress()
        return coco

    def _object(
        self, item: ET.Element, path: Path, width: int, height: int
    ) -> dict | None:
        name = (item.findtext('name') or '').strip()
        if name not in self.ids:
            if self.ignore_unknown:
                self._note(f'objects of class {name!r} left out', path)
                return None
            raise DataError(
                f'{path} has an object of class {name!r}, which is not in '
                f'{list(self.ids)}: add it to --classes, or give --ignore-unknown'
            )
        difficult = (item.findtext('difficult') or '0').strip() == '1'
        try:
            corners = [
                float(item.findtext(f'bndbox/{key}') or '')
                for key in ('xmin', 'ymin', 'xmax', 'ymax')
            ]
        except (TypeError, ValueError) as error:
            raise DataError(
                f'{path}: an object {name!r} lacks a number of its bndbox: add it'
            ) from error
        box = to_coco_box(corners, width, height)
        if box is None:
            self._note('boxes without area in the image left out', path)
            return None
        if min(corners) < 1 or corners[2] > width or corners[3] > height:
            self._note('boxes clipped to the image', path)
        return dict(
            category_id=self.ids[name],
            bbox=box,
            area=box[2] * box[3],
            iscrowd=int(difficult and not self.keep_difficult),
        )


def read_classes(names: Sequence[str] | None, files: Sequence[Path]) -> list[str]:
    """Return the class names that were given, or all that the annotations have.

    Args:
        names: The names, or one text file with a name on each line.
        files: The XML files, which are read if ``names`` is None.

    Raises:
        DataError: If there is no name, or one comes twice.
    """
    if names and len(names) == 1 and Path(names[0]).is_file():
        names = read_lines(Path(names[0]))
    if names is None:
        names = sorted(
            {
                (item.findtext('name') or '').strip()
                for path in files
                for item in read_xml(path).iter('object')
            }
        )
    if not names or len(set(names)) < len(names):
        raise DataError(
            f'the classes {list(names)} are empty or not unique: give each '
            'once with --classes'
        )
    return list(names)
