"""Every kind of image file as RGB of 8 bits, or the reason why not."""

from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mmsr4ir.utils.images import (
    ImageError,
    check_array,
    fit_channels,
    from_pillow,
    read_image,
)
from mmsr4ir.utils.loading import Loading

RNG = np.random.default_rng(0)
RGB = cv2.resize(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8), (40, 30))


def encoded(image: Image.Image, kind: str = 'png', **options) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_plain_and_grey():
    assert (read_image(encoded(Image.fromarray(RGB))) == RGB).all()
    grey = read_image(encoded(Image.fromarray(RGB[..., 0])))
    assert (grey == RGB[..., :1]).all() and grey.shape == (30, 40, 3)
    black_white = read_image(encoded(Image.fromarray(RGB[..., 0]).convert('1')))
    assert set(np.unique(black_white)) == {0, 255}


@pytest.mark.parametrize('kind', ['png', 'tiff'])
@pytest.mark.parametrize('channels', [1, 3])
def test_16_bits_become_the_higher_8(kind, channels):
    deep = RGB[..., :channels].astype(np.uint16) * 256 + 7
    content = cv2.imencode(f'.{kind}', deep[..., ::-1])[1].tobytes()
    # OpenCV rounds some of them, for training as well.
    difference = read_image(content).astype(int) - RGB[..., :channels]
    assert abs(difference).max() <= (1 if (kind, channels) == ('tiff', 3) else 0)


def test_transparency_is_dropped_as_in_training():
    alpha = np.dstack([RGB, np.zeros((30, 40), np.uint8)])
    assert (read_image(encoded(Image.fromarray(alpha))) == RGB).all()


def test_cmyk_is_converted():
    red = Image.new('CMYK', (40, 30), (0, 255, 255, 0))
    found = read_image(encoded(red, 'jpeg', quality=95))
    assert found.shape == (30, 40, 3)
    assert found[..., 0].min() > 200 and found[..., 1:].max() < 60


@pytest.mark.parametrize('kind', ['jpeg', 'webp', 'png', 'tiff'])
def test_exif_rotation(kind):
    image = np.zeros((30, 40, 3), np.uint8)
    image[:, :20] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise: what is left comes to the top
    found = read_image(encoded(Image.fromarray(image), kind, exif=exif))
    assert found.shape == (40, 30, 3)
    assert found[:18].min() > 240 and found[22:].max() < 15


def test_files_are_loaded_as_the_pipeline_does():
    grey, stored = Loading('grayscale'), Loading('color_ignore_orientation')
    content = encoded(Image.fromarray(RGB))
    want = (RGB @ [0.299, 0.587, 0.114])[..., None]
    assert abs(read_image(content, how=grey) - want).max() < 1.1  # OpenCV's rounding
    assert abs(fit_channels(RGB, 1) - want).max() < 1.1
    thermal = encoded(Image.fromarray(RGB[..., 0]))
    assert (read_image(thermal, how=grey) == RGB[..., :1]).all()
    assert (fit_channels(read_image(thermal), 1) == RGB[..., :1]).all()
    four = np.dstack([RGB, RGB[..., :1] // 2])
    found = read_image(encoded(Image.fromarray(four)), how=Loading('unchanged'))
    assert (found == four[..., [2, 1, 0, 3]]).all()  # as OpenCV loads them
    assert (found == from_pillow(Image.fromarray(four), how=Loading('unchanged'))).all()
    with pytest.raises(ImageError, match='has 4 channels, and the networks take 3'):
        fit_channels(found, 3)
    deep = cv2.imencode('.png', RGB.astype(np.uint16) * 256)[1].tobytes()
    with pytest.raises(ImageError, match='is loaded as uint16, and not in 8 bits'):
        read_image(deep, how=Loading('unchanged'))
    exif = Image.Exif()
    exif[0x0112] = 6
    for kind in ('png', 'webp'):
        options = dict(exif=exif, lossless=True) if kind == 'webp' else dict(exif=exif)
        turned = encoded(Image.fromarray(RGB), kind, **options)
        assert (read_image(turned, how=stored) == RGB).all()
        assert read_image(turned).shape == (40, 30, 3)
    six = np.dstack([RGB, RGB])
    tifffile.imwrite(file := BytesIO(), six)
    found = read_image(file.getvalue(), how=Loading('unchanged', 'tifffile'))
    assert (found == six).all()


def test_the_first_picture_of_an_animation():
    frames = [Image.fromarray(RGB[..., 0] // (i + 1)) for i in range(3)]
    found = read_image(
        encoded(frames[0], 'gif', save_all=True, append_images=frames[1:])
    )
    assert found.shape == (30, 40, 3) and (found == RGB[..., :1]).all()


def test_one_pixel_and_very_wide():
    assert read_image(encoded(Image.new('RGB', (1, 1), (1, 2, 3)))).tolist() == [
        [[1, 2, 3]]
    ]
    assert read_image(encoded(Image.new('RGB', (30000, 4)))).shape == (4, 30000, 3)


@pytest.mark.parametrize(
    'content, message',
    [
        (b'', r'is empty \(0 bytes\)'),
        (b'hello, I am a text', 'is truncated or no image'),
        (encoded(Image.fromarray(RGB))[:-700], 'is truncated or no image'),
        (encoded(Image.fromarray(RGB), 'jpeg')[:-300], 'is truncated or no image'),
        (
            encoded(Image.fromarray(RGB[..., 0].astype(np.float32)), 'tiff'),
            'convert it to 8-bit PNG',
        ),
    ],
)
def test_what_cannot_be_read(content, message):
    with pytest.raises(ImageError, match=message):
        read_image(content)


def test_a_limit_is_looked_at_before_decoding():
    bomb = encoded(Image.new('1', (14000, 12000)))  # 168 million pixels in 20 kB
    with pytest.raises(ImageError, match='has 14000 x 12000 pixels, more than max_pix'):
        read_image(bomb)
    with pytest.raises(ImageError, match='has 40 x 30 pixels, more than max_pixels=9'):
        read_image(encoded(Image.fromarray(RGB)), max_pixels=9)
    worse = encoded(Image.new('1', (20000, 20000)))
    with pytest.raises(ImageError, match='decompression bomb'):
        read_image(worse, max_pixels=10**9)


def test_arrays():
    assert check_array(RGB) is RGB
    assert (check_array(RGB[..., 0]) == RGB[..., :1]).all()
    for bad in (RGB.astype(np.float32), RGB[..., :2], RGB[:0], RGB[0, 0]):
        with pytest.raises(ImageError, match='is an array .*give'):
            check_array(bad)
    with pytest.raises(ImageError, match='more than max_pixels'):
        check_array(RGB, 100)
