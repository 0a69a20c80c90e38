"""What an inferencer takes: arrays, files, folders, globs, URLs, videos, lists of them.

Whatever cannot be read becomes a failure with its reason, in its place in the order.
"""

import glob
import http.client
import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import mmcv
import numpy as np
from mmengine.logging import print_log

from mmsr4ir.utils.files import unique_names
from mmsr4ir.utils.images import (
    MAX_PIXELS,
    ImageError,
    check_array,
    check_pixels,
    read_image,
)

IMAGE_SUFFIXES = (
    '.bmp',
    '.gif',
    '.jp2',
    '.jpeg',
    '.jpg',
    '.pbm',
    '.pgm',
    '.png',
    '.ppm',
    '.tif',
    '.tiff',
    '.webp',
)
VIDEO_SUFFIXES = (
    '.avi',
    '.m4v',
    '.mkv',
    '.mov',
    '.mp4',
    '.mpeg',
    '.mpg',
    '.webm',
    '.wmv',
)
#: Seconds without an answer after which an address is given up.
URL_TIMEOUT = 10
#: Yields images (height, width, 3), RGB, uint8, or raises :class:`ImageError`.
Reader = Callable[[], Iterator[np.ndarray]]
_MOST_BYTES = 256 * 1024**2  # of a file that is fetched
_NAME_BYTES = 200  # of what is written for an image, without suffix and number


@dataclass(frozen=True)
class Source:
    """Something that images are read from.

    Attributes:
        name: Short and different for each source, without separators of folders.
        origin: The file or address, or which array, counted from 0.
        images: What they are read by.
        count: How many images there should be.
        is_video: Whether the images are numbered.
    """

    name: str
    origin: str
    images: Reader
    count: int = 1
    is_video: bool = False


@dataclass(frozen=True)
class Item:
    """An image (height, width, 3), RGB, uint8, or the reason why there is none."""

    name: str
    origin: str
    image: np.ndarray | None = None
    error: str | None = None


def find_sources(inputs, max_pixels: int = MAX_PIXELS) -> list[Source]:
    """List what is to be read; reading comes later, image by image.

    Args:
        inputs: An array (height, width, 3), RGB, or (height, width), uint8; a path of a
            file, of a video or of a folder, whose images are taken in the order of
            their names; a pattern as ``'photos/**/*.jpg'``; an address ``http://`` or
            ``https://`` of an image; or a list of any of these.
        max_pixels: See :func:`mmsr4ir.utils.images.read_image`.

    Raises:
        TypeError: If an input is neither an array nor a text or a path.
    """
    found: list[tuple[Path, str, Reader]] = []
    for one in inputs if isinstance(inputs, list | tuple) else [inputs]:
        if isinstance(one, np.ndarray):
            found.append(
                (
                    Path(f'image_{len(found):06d}'),
                    f'array {len(found)}',
                    partial(_one, check_array, one, max_pixels),
                )
            )
        elif isinstance(one, str | os.PathLike):
            found += [
                (Path(name.replace('\\', '')), origin, read)
                for name, origin, read in _from_text(os.fspath(one), max_pixels)
            ]
        else:
            raise TypeError(
                f'an input is a {type(one).__name__}: give arrays, paths, '
                'patterns or addresses'
            )
    names = unique_names(
        {
            i: path if path.name else Path('input')
            for i, (path, _, _) in enumerate(found)
        }
    )
    names = {i: _short(name.replace('/', ''), i) for i, name in names.items()}
    frames = [_frames(origin) for _, origin, _ in found]
    for i, (_, is_video) in enumerate(frames):
        while is_video and any(
            _is_frame_of(names[i], names[j]) for j in names if j != i
        ):
            names[i] += '_video'
    return [
        Source(names[i], origin, read, *frames[i])
        for i, (_, origin, read) in enumerate(found)
    ]


def read_items(sources: list[Source]) -> Iterator[Item]:
    """Read images one after the other; never raises for what is in them."""
    for source in sources:
        try:
            for i, image in enumerate(source.images()):
                name = f'{source.name}_{i:06d}' if source.is_video else source.name
                yield Item(name, source.origin, image)
        except ImageError as error:
            yield Item(source.name, source.origin, error=str(error))


def fetch(url: str, timeout: float = URL_TIMEOUT) -> bytes:
    """Fetch a file.

    Raises:
        ImageError: If the file cannot be fetched, or is larger than 256 MiB.
    """
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            content = answer.read(_MOST_BYTES + 1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ImageError(f'cannot be fetched ({error})') from error
    if len(content) > _MOST_BYTES:
        raise ImageError(f'is larger than {_MOST_BYTES} bytes')
    return content


def read_video(path: str, max_pixels: int = MAX_PIXELS) -> Iterator[np.ndarray]:
    """Yield the frames of a video, (height, width, 3), RGB, uint8.

    Raises:
        ImageError: If the video cannot be opened, has larger frames than
            ``max_pixels``, or ends before the length that it states.
    """
    count = 0
    with open_video(path) as video:
        check_pixels(video.width, video.height, max_pixels)
        for frame in video:
            count += 1
            yield check_array(np.ascontiguousarray(frame[..., ::-1]), max_pixels)
    if count < video.frame_cnt or not count:
        raise ImageError(f'ends after {count} of {video.frame_cnt} frames')


def open_video(path: str) -> mmcv.VideoReader:
    """Open a video.

    Raises:
        ImageError: If the file is missing, truncated or no video.
    """
    if not os.path.isfile(path):
        raise ImageError('is missing')
    video = mmcv.VideoReader(path, cache_capacity=1)
    if not video.opened:
        raise ImageError('is truncated or no video')
    return video


def _from_text(text: str, max_pixels: int) -> list[tuple[str, str, Reader]]:
    """Return name, origin and reader of each thing that a string stands for."""
    if text.lower().startswith(('http://', 'https://')):
        try:
            where = urlsplit(text)
        except ValueError as error:
            return [('address', text, partial(_one, _fail, f'is no address ({error})'))]
        return [
            (
                where.netloc + where.path,
                text,
                partial(_one, lambda: read_image(fetch(text), max_pixels)),
            )
        ]
    if os.path.isdir(text):
        files = sorted(os.path.join(text, name) for name in os.listdir(text))
        # A link to nothing is listed, and named when it is read.
        files = [
            path for path in files if os.path.isfile(path) or not os.path.exists(path)
        ]
        images = [path for path in files if path.lower().endswith(IMAGE_SUFFIXES)]
        _tell_others(text, sorted(set(files) - set(images)))
        problem = 'has no images'
    elif os.path.exists(text) or not glob.has_magic(text):
        images, problem = [text], ''
    else:
        matches = sorted(glob.glob(text, recursive=True))
        images = [path for path in matches if not os.path.isdir(path)]
        problem = 'matches no file'
    if not images:
        return [(text, text, partial(_one, _fail, problem))]
    return [
        (
            path,
            path,
            partial(read_video, path, max_pixels)
            if _is_video(path)
            else partial(_one, _read_file, path, max_pixels),
        )
        for path in images
    ]


def _short(name: str, index: int) -> str:
    """Shorten a name: file systems take 255 bytes, and more is put behind it."""
    if len(name.encode(errors='surrogateescape')) <= _NAME_BYTES:
        return name
    start = name.encode(errors='surrogateescape')[:_NAME_BYTES].decode(errors='ignore')
    return f'{start}_{index}'


def _is_frame_of(video: str, name: str) -> bool:
    """Return whether a name is that of a video or could be that of a frame of it."""
    return name == video or (
        name.startswith(f'{video}_') and name[len(video) + 1 :].isdigit()
    )


def _tell_others(folder: str, others: list[str]) -> None:
    if others:
        names = ', '.join(os.path.basename(path) for path in others[:5])
        print_log(
            f'{folder}: {len(others)} files that are no images are left out: '
            f'{names}{", ..." if len(others) > 5 else ""}',
            'current',
        )


def _one(read: Callable[..., np.ndarray], *args) -> Iterator[np.ndarray]:
    yield read(*args)


def _fail(problem: str) -> np.ndarray:
    raise ImageError(problem)


def _read_file(path: str, max_pixels: int) -> np.ndarray:
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ImageError('is missing') from error
    except (OSError, ValueError) as error:  # ValueError: a zero in the name
        raise ImageError(f'cannot be read ({error})') from error
    return read_image(content, max_pixels)


def _is_video(path: str) -> bool:
    return path.lower().endswith(VIDEO_SUFFIXES)


def _frames(origin: str) -> tuple[int, bool]:
    """Return how many images there should be, and whether they are a video's."""
    if '://' in origin or not _is_video(origin):
        return 1, False
    try:
        with open_video(origin) as video:
            return max(1, video.frame_cnt), True
    except ImageError:
        return 1, True
