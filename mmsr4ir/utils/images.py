"""Read any image file in 8 bits, as a training does, or say why that cannot be.

Pixels are those that a training gets (OpenCV, in colour, see
:mod:`mmsr4ir.datasets.checks.images`): 16 bits become 8, transparency is dropped, CMYK
is converted, a picture with an EXIF orientation is turned. Pillow reads the files that
OpenCV cannot read, and of an animation the first picture. Pillow also detects truncated
files, which OpenCV would fill with grey. A training may load in another way
(:class:`~mmsr4ir.utils.loading.Loading`).
"""

import struct
import warnings
import zlib
from io import BytesIO

import cv2
import mmcv
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import SR4IRError
from .loading import USUAL, Loading

# What Pillow's decoders raise on files that are damaged or no images at all.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
EXIF_ORIENTATION = 0x0112
# Every file of these that PIL reads can be read by OpenCV, too.
COMMON_FORMATS = ('JPEG', 'PNG', 'BMP', 'PPM')
#: More than this many pixels are refused, unless asked for.
MAX_PIXELS = 100_000_000


class ImageError(SR4IRError, ValueError):
    """An image cannot be used; the message says why."""


def read_image(
    content: bytes, max_pixels: int = MAX_PIXELS, how: Loading = USUAL
) -> np.ndarray:
    """Decode an image file.

    Args:
        content: Of the file.
        max_pixels: A file that claims to have more is refused before it is decoded.
            Pillow refuses more than about 179 million by itself.
        how: How a training loads it.

    Returns:
        np.ndarray: (height, width, C), uint8, RGB if C is 3. By default C is 3 for all
        files.

    Raises:
        ImageError: If the file is empty, truncated, no image, too large, or has more
            than 8 bits a channel that ``how`` does not reduce.
    """
    if not content:
        raise ImageError('is empty (0 bytes)')
    if how.backend == 'tifffile':
        return _by_tifffile(content, max_pixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(BytesIO(content)) as image:
                check_pixels(*image.size, max_pixels)
                image.load()
                turned = image.getexif().get(EXIF_ORIENTATION, 1) != 1
                loaded = None
                if image.format in COMMON_FORMATS or not (turned and how.turns):
                    loaded = _by_opencv(content, how)
                return _by_pillow(image, how) if loaded is None else loaded
    except ImageError:
        raise
    except UnidentifiedImageError as error:  # its text is an address in memory
        raise ImageError(
            'is truncated or no image (of no format that is known)'
        ) from error
    except BROKEN as error:
        raise ImageError(f'is truncated or no image ({error})') from error


def from_pillow(
    image: Image.Image, max_pixels: int = MAX_PIXELS, how: Loading = USUAL
) -> np.ndarray:
    """Convert an image of Pillow as if it had been read from a file.

    Args:
        image: Of any mode with 8 bits a channel or less, such as RGB, L, RGBA and P.
        max_pixels: Largest number of pixels allowed.
        how: How a training loads files.

    Returns:
        np.ndarray: (height, width, C), uint8, RGB if C is 3, see :func:`read_image`.

    Raises:
        ImageError: If the image is too large, has more than 8 bits a channel, or its
            file is truncated or closed.
    """
    check_pixels(*image.size, max_pixels)
    try:
        return _by_pillow(image, how)
    except ImageError:
        raise
    except BROKEN as error:  # the pixels are only read now
        raise ImageError(f'cannot be converted to RGB ({error})') from error


def check_array(
    image: np.ndarray, max_pixels: int = MAX_PIXELS, channels: int = 3
) -> np.ndarray:
    """Check that an array is an image; return it with three channels or more.

    Args:
        image: (height, width, 3), RGB, (height, width) or
            (height, width, ``channels``); uint8.
        max_pixels: Largest number of pixels allowed.
        channels: Of the images that networks take.

    Raises:
        ImageError: If the array is no image of this kind, or too large.
    """
    is_float = np.issubdtype(image.dtype, np.floating)
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] not in (3, channels))
        or not image.size
    ):
        raise ImageError(
            f'is an array {image.shape} of {image.dtype}: give (height, width, 3), '
            'RGB, or (height, width), of uint8'
            + f', or (height, width, {channels})' * (channels != 3)
            + (', such as (255 * image).round().astype("uint8")' * is_float)
        )
    check_pixels(image.shape[1], image.shape[0], max_pixels)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def fit_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Return an image with the channels that networks take.

    Args:
        image: (height, width, C), uint8, RGB if C is 3.
        channels: If it is 1, RGB becomes gray.

    Raises:
        ImageError: If the image has another number of channels.
    """
    if image.shape[2] == channels:
        return image
    if image.shape[2] == 3 and channels == 1:
        return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)[..., None]
    raise ImageError(
        f'has {image.shape[2]} channel{"s" * (image.shape[2] > 1)}, and the networks '
        f'take {channels}: give images as in the training'
    )


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Check that an image is not larger than is wanted.

    Raises:
        ImageError: If the image has more than ``max_pixels`` pixels.
    """
    if width * height > max_pixels:
        raise ImageError(
            f'has {width} x {height} pixels, more than max_pixels={max_pixels}: raise '
            'that if the file is what you think it is'
        )


def _by_opencv(content: bytes, how: Loading) -> np.ndarray | None:
    try:
        image = mmcv.imfrombytes(content, flag=how.color_type, backend='cv2')
    except cv2.error:
        return None
    return None if image is None else _as_loaded(image)


def _by_tifffile(content: bytes, max_pixels: int) -> np.ndarray:
    try:
        image = mmcv.imfrombytes(content, backend='tifffile')
    except (ImportError, *BROKEN) as error:
        raise ImageError(f'cannot be read by tifffile ({error})') from error
    check_pixels(image.shape[1], image.shape[0], max_pixels)
    return _as_loaded(image)


def _as_loaded(image: np.ndarray) -> np.ndarray:
    """Return what MMCV loaded as (height, width, C), uint8, RGB if C is 3."""
    if image.dtype != np.uint8:
        raise ImageError(
            f'is loaded as {image.dtype}, and not in 8 bits: convert it to 8 bits a '
            'channel'
        )
    image = image if image.ndim == 3 else image[..., None]
    return np.ascontiguousarray(image[..., ::-1]) if image.shape[2] == 3 else image


def _by_pillow(image: Image.Image, how: Loading = USUAL) -> np.ndarray:
    if image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        raise ImageError(
            f'has pixels of a kind that is not read ({image.format or "Pillow"}, mode '
            f'{image.mode}): convert it to 8-bit PNG'
        )
    if how.turns:
        image = ImageOps.exif_transpose(image)
    if how.color_type == 'unchanged' and image.mode != 'P':
        pixels = np.atleast_3d(np.asarray(image))
        return pixels[..., [2, 1, 0, 3]] if pixels.shape[2] == 4 else pixels
    return np.atleast_3d(np.asarray(image.convert('L' if how.is_gray else 'RGB')))
