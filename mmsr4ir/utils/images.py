"""Read any image file as RGB, 8 bits, or say why that cannot be.

Pixels are those that a training gets (OpenCV, in colour, see
:mod:`mmsr4ir.datasets.checks.images`): 16 bits become 8, transparency is dropped, CMYK
is converted, a picture with an EXIF orientation is turned. Pillow reads the files that
OpenCV cannot read, and of an animation the first picture. Pillow also detects truncated
files, which OpenCV would fill with grey.
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


def read_image(content: bytes, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image file.

    Args:
        content: Of the file.
        max_pixels: A file that claims to have more is refused before it is decoded.
            Pillow refuses more than about 179 million by itself.

    Returns:
        np.ndarray: (height, width, 3), RGB, uint8.

    Raises:
        ImageError: If the file is empty, truncated, no image or too large.
    """
    if not content:
        raise ImageError('is empty (0 bytes)')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(BytesIO(content)) as image:
                check_pixels(*image.size, max_pixels)
                image.load()
                turned = image.getexif().get(EXIF_ORIENTATION, 1) != 1
                loaded = None
                if image.format in COMMON_FORMATS or not turned:
                    loaded = _by_opencv(content)
                return _by_pillow(image) if loaded is None else loaded
    except ImageError:
        raise
    except UnidentifiedImageError as error:  # its text is an address in memory
        raise ImageError(
            'is truncated or no image (of no format that is known)'
        ) from error
    except BROKEN as error:
        raise ImageError(f'is truncated or no image ({error})') from error


def from_pillow(image: Image.Image, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Convert an image of Pillow as if it had been read from a file.

    Args:
        image: Of any mode with 8 bits a channel or less, such as RGB, L, RGBA and P.
        max_pixels: Largest number of pixels allowed.

    Returns:
        np.ndarray: (height, width, 3), RGB, uint8.

    Raises:
        ImageError: If the image is too large, has more than 8 bits a channel, or its
            file is truncated or closed.
    """
    check_pixels(*image.size, max_pixels)
    try:
        return _by_pillow(image)
    except ImageError:
        raise
    except BROKEN as error:  # the pixels are only read now
        raise ImageError(f'cannot be converted to RGB ({error})') from error


def check_array(image: np.ndarray, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Check that an array is an image; return it as RGB.

    Args:
        image: (height, width, 3), RGB, or (height, width); uint8.
        max_pixels: Largest number of pixels allowed.

    Raises:
        ImageError: If the array is no image of this kind, or too large.
    """
    is_float = np.issubdtype(image.dtype, np.floating)
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or (image.ndim == 3 and image.shape[2] != 3)
        or not image.size
    ):
        raise ImageError(
            f'is an array {image.shape} of {image.dtype}: give (height, width, 3), '
            'RGB, or (height, width), of uint8'
            + (', such as (255 * image).round().astype("uint8")' * is_float)
        )
    check_pixels(image.shape[1], image.shape[0], max_pixels)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


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


def _by_opencv(content: bytes) -> np.ndarray | None:
    try:
        return mmcv.imfrombytes(
            content, flag='color', channel_order='rgb', backend='cv2'
        )
    except cv2.error:
        return None


def _by_pillow(image: Image.Image) -> np.ndarray:
    if image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        raise ImageError(
            f'has pixels of a kind that is not read ({image.format or "Pillow"}, mode '
            f'{image.mode}): convert it to 8-bit PNG'
        )
    return np.asarray(ImageOps.exif_transpose(image).convert('RGB'))
