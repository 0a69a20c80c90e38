"""What an inferencer takes: files, folders, patterns, addresses, images in memory.

Whatever cannot be read becomes a failure with its reason, in its place in the order.
"""

import glob
import http.client
import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from mmengine.logging import print_log
from PIL import Image
from torch import Tensor, uint8
from torchvision.datasets.folder import IMG_EXTENSIONS

from mmsr4ir.utils.files import unique_names
from mmsr4ir.utils.images import (
    MAX_PIXELS,
    ImageError,
    check_array,
    from_pillow,
    read_image,
)
from mmsr4ir.utils.loading import USUAL, Loading

from .videos import open_video, read_live, read_video

IMAGE_SUFFIXES = (*IMG_EXTENSIONS, '.gif', '.jp2', '.pbm')
VIDEO_SUFFIXES = tuple('.avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm .wmv'.split())
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
        count: How many images there should be; None: unknown.
        is_video: Whether the images are numbered.
    """

    name: str
    origin: str
    images: Reader
    count: int | None = 1
    is_video: bool = False


@dataclass(frozen=True)
class Item:
    """An image (height, width, C), uint8, or the reason why there is none.

    C is 3, RGB, or what the networks take.
    """

    name: str
    origin: str
    image: np.ndarray | None = None
    error: str | None = None


def find_sources(
    inputs, max_pixels: int = MAX_PIXELS, how: Loading = USUAL, channels: int = 3
) -> list[Source]:
    """List what is to be read; reading comes later, image by image.

    Args:
        inputs: One of these, or a list of them, mixed:

            - a path of a file, of a video or of a folder, whose images are taken in the
              order of their names; a pattern as ``'photos/**/*.jpg'``; an address
              ``http://`` or ``https://`` of an image;
            - an array (height, width, 3), RGB, or (height, width), uint8. Reverse the
              channels of an image that OpenCV reads: ``image[..., ::-1]``;
            - a tensor (3, height, width), RGB, or (1, height, width), uint8, as
              torchvision reads images;
            - an image of Pillow, turned by its EXIF orientation as a file is;
            - the bytes of a file;
            - a :class:`Source`.
        max_pixels: See :func:`mmsr4ir.utils.images.read_image`.
        how: How files are loaded.
        channels: Of the images that networks take; arrays and tensors may have as many.

    Raises:
        TypeError: If an input is none of these.
    """
    found: list[Source] = []
    for one in inputs if isinstance(inputs, list | tuple) else [inputs]:
        if isinstance(one, Source):
            found.append(one)
        elif isinstance(one, str | os.PathLike):
            found += _from_text(os.fspath(one), max_pixels, how)
        else:
            found.append(_in_memory(one, len(found), max_pixels, how, channels))
    paths = (Path(source.name.replace('\\', '')) for source in found)
    names = unique_names(
        {i: path if path.name else Path('input') for i, path in enumerate(paths)}
    )
    names = {i: _short(name.replace('/', ''), i) for i, name in names.items()}
    for i, source in enumerate(found):
        while source.is_video and any(
            _is_frame_of(names[i], names[j]) for j in names if j != i
        ):
            names[i] += '_video'
    return [replace(source, name=names[i]) for i, source in enumerate(found)]


def live_source(address: str, max_pixels: int = MAX_PIXELS) -> Source:
    """Return a camera or a stream as a source.

    Args:
        address: See :func:`mmsr4ir.apis.videos.open_live`.
        max_pixels: A frame with more is refused.
    """
    return Source(
        'live', address, partial(read_live, address, max_pixels), None, is_video=True
    )


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


def _in_memory(
    image, place: int, max_pixels: int, how: Loading, channels: int
) -> Source:
    """Return an image that a program holds as a source."""
    read: Callable[..., np.ndarray]
    if isinstance(image, np.ndarray):
        kind, read = 'array', partial(check_array, channels=channels)
    elif isinstance(image, Tensor):
        kind, read = 'tensor', partial(_from_tensor, channels=channels)
    elif isinstance(image, Image.Image):
        kind, read = 'Pillow image', partial(from_pillow, how=how)
    elif isinstance(image, bytes | bytearray | memoryview):
        kind, read = 'bytes', partial(_from_bytes, how=how)
    else:
        raise TypeError(
            f'an input is a {type(image).__name__}: give paths, patterns, addresses, '
            'arrays, tensors, images of Pillow or the bytes of files'
        )
    return Source(
        f'image_{place:06d}', f'{kind} {place}', partial(_one, read, image, max_pixels)
    )


def _from_bytes(
    content: bytes | bytearray | memoryview, max_pixels: int, how: Loading
) -> np.ndarray:
    return read_image(bytes(content), max_pixels, how)


def _from_tensor(image: Tensor, max_pixels: int, channels: int) -> np.ndarray:
    """Return a tensor (C, height, width) as an array with three channels or more."""
    if (
        image.ndim != 3
        or image.shape[0] not in (1, 3, channels)
        or image.dtype != uint8
    ):
        raise ImageError(
            f'is a tensor {tuple(image.shape)} of {image.dtype}: give (3, height, '
            'width), RGB, or (1, height, width), of torch.uint8'
            + ', such as (255 * image).round().byte()'
            * image.is_floating_point()
        )
    pixels = image.detach().cpu().permute(1, 2, 0).numpy()
    return check_array(
        pixels[..., 0] if len(image) == 1 else pixels, max_pixels, channels
    )


def _from_text(text: str, max_pixels: int, how: Loading) -> list[Source]:
    """Return each thing that a string stands for."""
    if text.lower().startswith(('http://', 'https://')):
        try:
            where = urlsplit(text)
        except ValueError as error:
            return [_failed('address', text, f'is no address ({error})')]
        return [
            Source(
                where.netloc + where.path,
                text,
                partial(_one, lambda: read_image(fetch(text), max_pixels, how)),
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
        return [_failed(text, text, problem)]
    return [
        Source(path, path, partial(read_video, path, max_pixels), _frames(path), True)
        if path.lower().endswith(VIDEO_SUFFIXES)
        else Source(path, path, partial(_one, _read_file, path, max_pixels, how))
        for path in images
    ]


def _failed(name: str, origin: str, problem: str) -> Source:
    return Source(name, origin, partial(_one, _fail, problem))


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


def _read_file(path: str, max_pixels: int, how: Loading) -> np.ndarray:
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ImageError('is missing') from error
    except (OSError, ValueError) as error:  # ValueError: a zero in the name
        raise ImageError(f'cannot be read ({error})') from error
    return read_image(content, max_pixels, how)


def _frames(path: str) -> int:
    """Return how many frames a video states to have, at least 1."""
    try:
        with open_video(path) as video:
            return max(1, video.frame_cnt)
    except ImageError:
        return 1
