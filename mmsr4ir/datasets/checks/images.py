"""Read images and masks as a training does, and say what is wrong or gets changed.

MMCV's loader (OpenCV, in colour) makes three channels of 8 bits of every file. Tried
with OpenCV 5.0: grey, black-and-white and palette images become three channels
without loss; 16 bits become 8; transparency is dropped, and the colours
beneath it show; CMYK is converted (the profile is not used); a picture with an EXIF
orientation is turned (WebP only from OpenCV 5 on); TIFF with 32 bits a channel cannot
be read. A pipeline may load in another way (:class:`~mmsr4ir.utils.loading.Loading`).
A truncated file cannot be read. Neither OpenCV nor PIL notices changed bytes within a
JPEG's scan.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import mmcv
import numpy as np
from PIL import Image

from mmsr4ir.utils.images import BROKEN, COMMON_FORMATS, EXIF_ORIENTATION
from mmsr4ir.utils.loading import USUAL, Loading

# A complete file ends near its end marker; this much is read to find it.
_TAIL_BYTES = 65536
_TIFF_BITS = 258
_STORED = 'color_ignore_orientation'


@dataclass(frozen=True)
class Scan:
    """What was found in one file.

    Args:
        path: The file.
        size: Width and height in pixels, as the loader gives them; None if unreadable.
        kind: PIL's mode, with '16 bits' where it has them.
        problem: Why it cannot be used, if it cannot.
        notes: What the loader changes.
        counts: Of a mask: the number of pixels of each value.
        turned: Whether it has an EXIF orientation.
        ambiguous: Whether it has one and keeps its size when it is turned, so that
            nobody can tell which pixels its labels are about.
    """

    path: str
    size: tuple[int, int] | None = None
    kind: str = ''
    problem: str | None = None
    notes: tuple[str, ...] = ()
    counts: dict[int, int] | None = None
    turned: bool = False
    ambiguous: bool = False


def default_workers() -> int:
    """Threads that keep the CPUs busy while some wait for the disk."""
    return min(16, 2 * (os.cpu_count() or 1))


@dataclass(frozen=True)
class Scanner:
    """How the images of data sets are read.

    Args:
        whole: Whether to decode all of each image. If not, only head and end are read.
        workers: Number of threads; 0 for :func:`default_workers`.
        start: Called with the name of a data set and its number of images; returns what
            is called after each image.
    """

    whole: bool = True
    workers: int = 0
    start: Callable[[str, int], Callable[[], None]] = lambda name, count: lambda: None

    def each(self, name: str, scan: Callable, items: Sequence) -> Iterator:
        """Scan in threads (PIL decodes without the interpreter's lock), in order.

        Args:
            name: The data set, for ``start``.
            scan: Called with each item.
            items: The files of the images.

        Yields:
            What ``scan`` returned.
        """
        tick = self.start(name, len(items))
        with ThreadPoolExecutor(self.workers or default_workers()) as pool:
            for scanned in pool.map(scan, items):
                yield scanned
                tick()


def scan_image(path: str, whole: bool = True, how: Loading = USUAL) -> Scan:
    """Look at an image. Never raises for what is in the file.

    Args:
        path: The file.
        whole: Whether to decode all of it. If not, of a JPEG or PNG only the head and
            the end are read, and a file that stops early is found all the same.
        how: How the pipeline loads it.
    """
    problem = _no_file(path)
    if problem:
        return Scan(path, problem=problem)
    if how.backend == 'tifffile':
        return _scan_tiff(path)
    try:
        with Image.open(path) as image:
            tail = b'' if whole else _tail(path)
            whole = whole or not _has_end(image.format or '', tail)
            if whole:
                image.load()
            size, mode, deep = image.size, image.mode, _is_16_bit(image, path)
            # Pillow would decode a PNG to look for EXIF behind the pixels.
            look = whole or image.format != 'PNG' or 'exif' in image.info
            turned = (
                b'eXIf' in tail
                if not look
                else image.getexif().get(EXIF_ORIENTATION, 1) != 1
            )
            transparent = image.has_transparency_data
            common = image.format in COMMON_FORMATS
    except Image.DecompressionBombError as error:
        return Scan(path, problem=f'is refused ({error})')
    except BROKEN as error:
        return Scan(path, problem=f'is truncated or no image ({error})')
    notes, stored = [], size
    # Pillow has turned a TIFF already when it gives the size, and OpenCV turns a WebP
    # from version 5 on: only the loader itself tells.
    if turned or not common:
        decoded = _decoded_size(path, 'color' if how.turns else _STORED)
        if decoded is None:
            suffix = os.path.splitext(path)[1]
            return Scan(
                path,
                problem=f'cannot be read by OpenCV, the loader ({mode}, {suffix}): '
                'convert it to 8-bit PNG',
            )
        size = decoded
        turned = turned and how.turns
        if turned:
            notes.append(
                'is turned by its EXIF orientation when loaded'
                if common
                else 'has an EXIF orientation, which may be ignored when loaded'
            )
    if deep:
        notes.append('has 16 bits a channel, which become 8 when loaded')
    if transparent and how.color_type != 'unchanged':
        notes.append('has transparency, which the loader drops: colours beneath show')
    if mode == 'CMYK':
        notes.append('is CMYK, which the loader makes RGB without its profile')
    return Scan(
        path,
        size,
        f'{mode} 16 bits' if deep else mode,
        None,
        tuple(notes),
        turned=turned,
        ambiguous=turned and stored == size,
    )


def _scan_tiff(path: str) -> Scan:
    """Look at an image as MMCV's backend ``'tifffile'`` reads it, of any channels."""
    try:
        image = mmcv.imread(path, flag='unchanged', backend='tifffile')
    except (ImportError, *BROKEN) as error:
        return Scan(path, problem=f'cannot be read by tifffile ({error})')
    channels = image.shape[2] if image.ndim == 3 else 1
    return Scan(path, image.shape[1::-1], f'{channels} channels {image.dtype}')


def scan_mask(path: str, whole: bool = True) -> Scan:
    """Look at a map of class numbers as mmseg's ``LoadAnnotations`` does: by Pillow.

    A palette image gives its indices. mmseg casts to 8 bits, so 256 would become 0.

    Args:
        path: The file.
        whole: Whether to decode and count its pixels. If not, only the head is read.
    """
    problem = _no_file(path)
    if problem:
        return Scan(path, problem=problem)
    try:
        with Image.open(path) as image:
            found, problem = Scan(path, image.size, image.mode), bands_problem(image)
            values = np.asarray(image).squeeze() if whole else None
    except BROKEN as error:
        return Scan(path, problem=f'is truncated or no image ({error})')
    if problem or values is None:
        return replace(found, problem=problem)
    if found.kind == 'F':
        return replace(
            found, problem='has fractions, not class numbers: write it as 8-bit PNG'
        )
    if values.size and (values.min() < 0 or values.max() > 255):
        return replace(
            found,
            problem=f'has values from {values.min()} to {values.max()}, which '
            'mmseg casts to 8 bits: write it as 8-bit PNG',
        )
    counts = np.bincount(values.astype(np.uint8).ravel(), minlength=256)
    return replace(
        found,
        counts={int(value): int(counts[value]) for value in np.nonzero(counts)[0]},
    )


def bands_problem(labels: Image.Image) -> str | None:
    """Say why an image is not a map of class numbers, unless it has one channel."""
    bands = len(labels.getbands())
    return (
        None
        if bands == 1
        else (
            f'has {bands} channels ({labels.mode}), not one of class numbers: '
            'convert the colours to class numbers'
        )
    )


def _no_file(path: str) -> str | None:
    try:
        if not os.path.isfile(path):
            return 'is missing'
    except ValueError as error:  # a zero in the name
        return f'is no name of a file ({error})'
    return None if os.path.getsize(path) else 'is empty (0 bytes)'


def _has_end(form: str, tail: bytes) -> bool:
    """Whether the end of a JPEG or PNG is there; False for other formats."""
    if form in ('JPEG', 'MPO'):  # after the last scan, and not only after a preview's
        return tail.rfind(b'\xff\xd9') > tail.rfind(b'\xff\xda')
    return form == 'PNG' and b'IEND' in tail


def _tail(path: str) -> bytes:
    with open(path, 'rb') as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
        return file.read()


def _is_16_bit(image: Image.Image, path: str) -> bool:
    """Whether a channel has 16 bits; PIL opens such colour images with 8."""
    if image.mode.startswith('I;16'):
        return True
    if image.format == 'PNG':
        with open(path, 'rb') as file:
            return file.read(25)[24:] == b'\x10'  # the bit depth in the first chunk
    tags = getattr(image, 'tag_v2', {})  # of a TIFF
    bits = tags.get(_TIFF_BITS, 8)
    return 16 in bits if isinstance(bits, tuple) else bits == 16


def _decoded_size(path: str, flag: str) -> tuple[int, int] | None:
    """Width and height of what MMCV's loader gives; None where it gives nothing."""
    with open(path, 'rb') as file:
        content = file.read()
    try:
        image = mmcv.imfrombytes(content, flag=flag, backend='cv2')
    except cv2.error:
        return None
    return None if image is None else image.shape[1::-1]
