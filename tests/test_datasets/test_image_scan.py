"""Scanning sees in a file what the loaders of the libraries make of it."""

import io

import cv2
import mmcv
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmcv.transforms import LoadImageFromFile
from PIL import Image

from mmsr4ir.datasets.checks.images import Scan, Scanner, scan_image, scan_mask

PICTURE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


def load(path) -> np.ndarray:
    """As a training does; RGB."""
    return LoadImageFromFile()(dict(img_path=str(path)))['img'][..., ::-1]


def save(path, image: Image.Image, **options):
    image.save(path, **options)
    return str(path)


@pytest.mark.parametrize(
    'name, image, expected',
    [
        ('rgb.png', Image.fromarray(PICTURE), PICTURE),
        ('grey.png', Image.fromarray(PICTURE[..., 0]), PICTURE[..., :1].repeat(3, 2)),
        (
            'palette.png',
            Image.fromarray(PICTURE).quantize(16),
            np.asarray(Image.fromarray(PICTURE).quantize(16).convert('RGB')),
        ),
        (
            'bits.png',
            Image.fromarray(PICTURE[..., 0] > 99),
            (PICTURE[..., :1] > 99).repeat(3, 2) * 255,
        ),
    ],
)
def test_kinds_that_the_loader_keeps(tmp_path, name, image, expected):
    scan = scan_image(save(tmp_path / name, image))
    assert scan == Scan(str(tmp_path / name), (24, 16), image.mode)
    assert np.array_equal(load(tmp_path / name), expected)


def test_16_bits_lose_the_lower_half(tmp_path):
    deep = PICTURE.astype(np.uint16) * 200 + 77
    for name, image, kind in (
        ('grey.png', deep[..., 0], 'I;16 16 bits'),
        ('colour.png', deep, 'RGB 16 bits'),
        ('colour.tif', deep, 'RGB 16 bits'),
    ):
        path = str(tmp_path / name)
        cv2.imwrite(path, image)
        scan = scan_image(path)
        assert (scan.kind, scan.problem, len(scan.notes)) == (kind, None, 1)
        assert 'has 16 bits a channel, which become 8 when loaded' in scan.notes
        loaded = load(path)[..., ::-1]
        change = abs((loaded if image.ndim == 3 else loaded[..., 0]) - image / 256)
        # OpenCV cuts a PNG's lower half off and scales a TIFF, with some rounding
        assert change.max() < (2 if name.endswith('tif') else 1)


def test_transparency_is_dropped(tmp_path):
    image = Image.new('RGBA', (4, 4), (10, 20, 30, 0))
    path = save(tmp_path / 'a.png', image)
    assert load(path)[0, 0].tolist() == [10, 20, 30]
    assert 'has transparency, which the loader drops' in scan_image(path).notes[0]


def test_cmyk_is_converted(tmp_path):
    image = Image.fromarray(PICTURE).convert('CMYK')
    path = save(tmp_path / 'a.jpg', image, quality=100, subsampling=0)
    scan = scan_image(path)
    assert scan.kind == 'CMYK' and 'is CMYK, which the loader m' in scan.notes[0]
    with Image.open(path) as again:
        plain = np.asarray(again.convert('RGB')).astype(int)
    assert abs(load(path) - plain).max() <= 2


@pytest.mark.parametrize(
    'name, certain', [('a.jpg', True), ('a.png', True), ('a.webp', False)]
)  # not by OpenCV before 5
def test_orientation_as_the_loader_sees_it(tmp_path, name, certain):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / name, Image.fromarray(PICTURE), exif=exif)
    scan = scan_image(path)
    assert scan.size == load(path).shape[1::-1] == (16, 24)
    assert ('turned by' in scan.notes[0]) == certain and 'EXIF' in scan.notes[0]


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'MPO', 'TIFF', 'WEBP'])
def test_the_size_is_the_loaders(tmp_path, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    two = dict(save_all=True, append_images=[Image.new('RGB', (9, 9))])
    path = save(
        tmp_path / 'a',
        Image.fromarray(PICTURE),
        format=form,
        exif=exif,
        **(two if form == 'MPO' else {}),
    )
    with Image.open(path) as image:
        assert image.format == form
    # Not cv2.imread, which fails for a TIFF that it has to turn.
    read = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert (
        scan_image(path, whole=False).size
        == load(path).shape[1::-1]
        == read.shape[1::-1]
    )
    assert scan_image(path, whole=False).size == (
        (16, 24) if orientation > 4 else (24, 16)
    )


def test_the_size_goes_by_what_the_loader_takes_for_an_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / 'a.png', Image.fromarray(PICTURE), exif=exif)
    with open(path, 'rb') as file:  # EXIF is moved behind the pixels
        content = file.read()
    start, end = content.index(b'eXIf') - 4, content.index(b'IDAT') - 4
    (tmp_path / 'a.png').write_bytes(
        content[:start] + content[end:-12] + content[start:end] + content[-12:]
    )
    assert scan_image(path, whole=False).size == load(path).shape[1::-1] == (16, 24)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    path = save(tmp_path / 'a.jpg', Image.fromarray(PICTURE), xmp=xmp)
    assert scan_image(path, whole=False).size == load(path).shape[1::-1] == (24, 16)


@pytest.mark.parametrize('whole', [False, True])
def test_a_format_that_the_loader_cannot_read(tmp_path, whole):
    path = save(tmp_path / 'a.tif', Image.fromarray(PICTURE[..., 0].astype(np.float32)))
    scan = scan_image(path, whole)
    assert scan.size is None and 'cannot be read by OpenCV, the loader' in scan.problem
    assert scan_image(path, whole=False) == scan_image(path)
    with pytest.raises(AssertionError, match='failed to load'):
        load(path)


@pytest.mark.parametrize('form', ['JPEG', 'PNG', 'MPO', 'BMP', 'TIFF', 'WEBP'])
def test_formats_that_the_loader_reads(tmp_path, form):
    path = save(tmp_path / 'a', Image.fromarray(PICTURE), format=form)
    assert scan_image(path, whole=False) == scan_image(path)
    assert load(path).shape == PICTURE.shape


def test_missing_and_empty_files(tmp_path):
    assert scan_image(str(tmp_path / 'a.png')).problem == 'is missing'
    assert scan_mask(str(tmp_path / 'a.png')).problem == 'is missing'
    (tmp_path / 'a.png').touch()
    assert scan_image(str(tmp_path / 'a.png')).problem == 'is empty (0 bytes)'
    assert scan_mask(str(tmp_path / 'a.png')).problem == 'is empty (0 bytes)'
    assert scan_image(str(tmp_path)).problem == 'is missing'


def encoded(form: str) -> bytes:
    buffer = io.BytesIO()
    smooth = np.kron(PICTURE, np.ones((4, 4, 1), np.uint8))
    Image.fromarray(smooth).save(buffer, form)
    return buffer.getvalue()


WHOLE = {form: encoded(form) for form in ('JPEG', 'PNG', 'BMP', 'TIFF')}


@settings(deadline=None)
@given(form=st.sampled_from(sorted(WHOLE)), share=st.floats(0.01, 0.95))
def test_a_truncated_file_is_found(tmp_path_factory, form, share):
    path = tmp_path_factory.getbasetemp() / f'cut.{form.lower()}'
    path.write_bytes(WHOLE[form])
    assert scan_image(str(path)).problem is None
    path.write_bytes(WHOLE[form][: int(share * len(WHOLE[form]))])
    for scan in (scan_image, scan_mask):
        assert 'truncated or no image' in scan(str(path)).problem


@settings(deadline=None)
@given(form=st.sampled_from(sorted(WHOLE)), data=st.data())
def test_damage_never_raises(tmp_path_factory, form, data):
    content = bytearray(WHOLE[form])
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f'damaged.{form.lower()}'
    path.write_bytes(content)
    assert scan_image(str(path)).path == scan_mask(str(path)).path == str(path)


@settings(deadline=None)
@given(content=st.binary(max_size=60))
@example(b'\x89PNG\r\n\x1a\n')
@example(b'GIF89a\x01')
def test_bytes_that_are_no_image(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / 'bytes.png'
    path.write_bytes(content)
    assert scan_image(str(path)).problem and scan_mask(str(path)).problem


@pytest.mark.parametrize('mode', ['L', 'P', '1'])
def test_a_mask_is_counted(tmp_path, mode):
    values = np.array(
        [[0, 1, 1], [1, 0, 1]] if mode == '1' else [[0, 3, 255], [3, 3, 20]], np.uint8
    )
    image = Image.fromarray(values.astype(bool) if mode == '1' else values)
    if mode == 'P':
        image.putpalette(bytes(range(256)) * 3)
    path = save(tmp_path / 'm.png', image)
    with open(path, 'rb') as file:  # as mmseg's LoadAnnotations reads it
        read = mmcv.imfrombytes(file.read(), flag='unchanged', backend='pillow')
    assert np.array_equal(read.astype(np.uint8), values)
    assert scan_mask(path) == Scan(
        path,
        (3, 2),
        mode,
        counts={
            int(v): int(n)
            for v, n in zip(*np.unique(values, return_counts=True), strict=True)
        },
    )


@pytest.mark.parametrize(
    'values, reason',
    [
        (PICTURE, 'has 3 channels (RGB), not one'),
        (np.full((4, 4), 256, np.uint16), 'values from 256 to 256'),
        (np.full((4, 4), 1.5, np.float32), 'has fractions'),
        (np.full((4, 4), -1, np.int32), 'values from -1 to -1'),
    ],
)
def test_maps_that_mmseg_would_change(tmp_path, values, reason):
    name = 'm.png' if values.dtype in (np.uint8, np.uint16) else 'm.tif'
    scan = scan_mask(save(tmp_path / name, Image.fromarray(values)))
    assert reason in scan.problem and scan.counts is None


def test_16_bit_map_with_small_values_is_fine(tmp_path):
    path = save(tmp_path / 'm.png', Image.fromarray(np.full((2, 5), 255, np.uint16)))
    assert scan_mask(path).problem is None and scan_mask(path).counts == {255: 10}


@pytest.mark.parametrize('shape', [(1, 5), (5, 1), (1, 1)])
def test_the_size_of_a_thin_map(tmp_path, shape):
    path = save(tmp_path / 'm.png', Image.fromarray(np.zeros(shape, np.uint8)))
    assert scan_mask(path).size == shape[::-1]
    assert scan_mask(path).counts == {0: shape[0] * shape[1]}


def test_order_is_kept():
    assert list(Scanner(workers=8).each('train', lambda v: -v, range(50))) == [
        -v for v in range(50)
    ]
