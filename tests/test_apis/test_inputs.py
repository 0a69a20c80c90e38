"""What is read of folders, patterns, addresses, videos and lists, in which order."""

import socket
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from io import BytesIO

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.io import decode_image

from mmsr4ir.apis import inputs
from mmsr4ir.apis.inputs import fetch, find_sources, read_items
from mmsr4ir.utils.images import ImageError
from mmsr4ir.visualization.drawing import write_png

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (8, 10, 3), dtype=np.uint8)


def picture(value: int) -> np.ndarray:
    return np.full((8, 10, 3), value, np.uint8)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp('photos')
    for value, name in enumerate(('b.png', 'a.PNG', 'deep/c.png', 'deep/b.png')):
        write_png(root / name, picture(value))
    (root / 'notes.txt').write_text('no image')
    (root / 'bad.jpg').write_bytes(b'')
    return root


def write_video(path, frames: int, codec: str = 'MJPG', fps: float = 12.5) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (64, 48))
    rng = np.random.default_rng(0)
    for i in range(frames):
        noise = rng.integers(0, 40, (48, 64, 3), dtype=np.uint8)
        writer.write(noise + np.uint8(5 * i))
    writer.release()


@pytest.fixture(scope='module')
def server(folder):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    with HTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(folder))) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{http.server_port}'
        http.shutdown()


def read(inputs, **options) -> list[tuple]:
    """Name and value, or name and error."""
    return [
        (item.name, item.error or int(item.image[0, 0, 0]))
        for item in read_items(find_sources(inputs, **options))
    ]


def test_a_folder_in_the_order_of_names(folder, monkeypatch):
    said = []  # whichever logger is the current one after other tests
    monkeypatch.setattr(inputs, 'print_log', lambda text, *_: said.append(text))
    assert read(str(folder)) == [('a', 1), ('b', 0), ('bad', 'is empty (0 bytes)')]
    assert len(said) == 1 and said[0].endswith('left out: notes.txt')


def test_files_patterns_arrays_and_lists_of_them(folder):
    assert read(folder / 'b.png') == [('b', 0)]
    assert read(f'{folder}/**/*.png') == [
        (f'{folder.name}_b', 0),
        ('deep_b', 3),
        ('deep_c', 2),
    ]
    found = [name for name, _ in read(f'{folder}/*')]
    assert found and not any((folder / name).is_dir() for name in found)
    assert read([picture(7), folder / 'b.png', picture(9)[..., 0]]) == [
        ('image_000000', 7),
        ('b', 0),
        ('image_000002', 9),
    ]


def test_bad_ones_keep_their_places(folder):
    assert read(
        [
            folder / 'none.png',
            folder / 'notes.txt',
            folder / 'b.png',
            picture(0).astype(float),
            f'{folder}/*.bmp',
        ]
    ) == [
        ('none', 'is missing'),
        ('notes', read(folder / 'notes.txt')[0][1]),
        ('b', 0),
        (
            'image_000003',
            'is an array (8, 10, 3) of float64: give (height, width, 3), RGB, or '
            '(height, width), of uint8, such as (255 * image).round().astype("uint8")',
        ),
        ('*', 'matches no file'),
    ]
    assert 'is truncated or no image' in read(folder / 'notes.txt')[0][1]
    assert read(folder / 'b.png', max_pixels=79)[0][1].startswith(
        'has 10 x 8 pixels, more than max_pixels=79'
    )
    with pytest.raises(TypeError, match='an input is a int: give paths, .*bytes'):
        find_sources([1])


def encoded(image: Image.Image, **options) -> bytes:
    file = BytesIO()
    image.save(file, 'png', **options)
    return file.getvalue()


def test_images_in_memory_are_read_as_the_same_image_in_a_file(tmp_path):
    """Each kind of object, alone and mixed, against OpenCV's view of the file."""
    grey, rgb = RNG.integers(0, 256, (8, 10), np.uint8), PIXELS
    rgba = np.dstack([rgb, RNG.integers(0, 256, (8, 10), np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [
        encoded(Image.fromarray(rgb)),
        encoded(Image.fromarray(grey)),
        encoded(Image.fromarray(rgba)),
        encoded(Image.fromarray(rgb).convert('P'), transparency=0),
        encoded(Image.fromarray(grey).convert('LA')),
        encoded(Image.fromarray(rgb), exif=exif),
    ]
    # OpenCV's imdecode, in colour, is what a training reads.
    wanted = [
        cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        for file in files
    ]
    assert wanted[5].shape == (10, 8, 3)  # turned
    pillow = [Image.open(BytesIO(file)) for file in files]
    torch_rgb = torch.from_numpy(rgb).permute(2, 0, 1)
    (tmp_path / 'a.png').write_bytes(files[0])
    mixed = [tmp_path / 'a.png', rgb, grey, torch_rgb, torch.from_numpy(grey)[None]]
    given = pillow + files + [bytearray(files[0]), memoryview(files[1])] + mixed
    wanted += [*wanted, wanted[0], wanted[1]]
    wanted += [wanted[0], wanted[0], wanted[1], wanted[0], wanted[1]]
    for alone, item, same in zip(
        given, read_items(find_sources(given)), wanted, strict=True
    ):
        assert item.error is None and (item.image == same).all(), item
        (single,) = read_items(find_sources(alone))
        assert (single.image == same).all()
    # By torchvision's own reader, whose order of channels is RGB.
    (item,) = read_items(find_sources(decode_image(str(tmp_path / 'a.png'))))
    assert (item.image == rgb).all()


@pytest.mark.parametrize(
    'image, message',
    [
        (
            torch.rand(3, 8, 10),
            'is a tensor (3, 8, 10) of torch.float32: give (3, height, width), RGB, or '
            '(1, height, width), of torch.uint8, such as (255 * image).round().byte()',
        ),
        (
            torch.zeros(8, 10, 3, dtype=torch.uint8),
            'is a tensor (8, 10, 3) of torch.ui',
        ),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 'is a tensor (2, 3, 8, 8) of tor'),
        (torch.zeros(3, 0, 8, dtype=torch.uint8), 'is an array (0, 8, 3) of uint8'),
        (
            Image.fromarray(np.full((8, 10), 300, np.uint16)),
            'has pixels of a kind that is not read (Pillow, mode I;16): convert it to',
        ),
        (Image.new('RGB', (10, 9)), 'has 10 x 9 pixels, more than max_pixels=80'),
        (torch.zeros(3, 9, 10, dtype=torch.uint8), 'has 10 x 9 pixels, more than max'),
        (b'no image', 'is truncated or no image'),
        (b'', 'is empty (0 bytes)'),
    ],
)
def test_an_image_in_memory_that_cannot_be_used(image, message):
    assert read([image, picture(3)], max_pixels=80)[1] == ('image_000001', 3)
    assert read(image, max_pixels=80)[0][1].startswith(message)


def test_an_image_of_pillow_whose_file_is_truncated(tmp_path):
    content = encoded(Image.fromarray(PIXELS))
    image = Image.open(BytesIO(content[: len(content) // 2]))
    assert read(image)[0][1].startswith('cannot be converted to RGB (')


def test_an_empty_folder(tmp_path):
    assert read(tmp_path)[0][1] == 'has no images'


def test_names_differ_and_stay_in_the_folder(folder, tmp_path):
    write_png(tmp_path / 'b.png', picture(5))
    cv2.imwrite(str(tmp_path / 'b.bmp'), picture(6))
    names = [
        name
        for name, _ in read([tmp_path / 'b.png', tmp_path / 'b.bmp', folder / 'b.png'])
    ]
    assert len(set(names)) == 3 and not any('/' in name for name in names)


def test_names_tell_files_apart_that_differ_in_the_suffix_alone(tmp_path):
    for name in ('a.png', 'a.bmp', 'b.png', 'c\\d.png', 'cd.png'):
        cv2.imwrite(str(tmp_path / name), picture(6))
    assert [name for name, _ in read(tmp_path)] == [
        'a_0',
        'a_1',
        'b_2',
        'cd_3',
        'cd_4',
    ]  # the last two in nothing but the name
    (tmp_path / 'cd.png').unlink()
    assert [name for name, _ in read(tmp_path)] == ['a_bmp', 'a_png', 'b', 'cd']


def test_an_image_beside_a_video_is_not_taken_for_a_frame_of_it(tmp_path):
    write_video(tmp_path / 'clip.avi', 2)
    write_png(tmp_path / 'clip_000001.png', picture(5))
    names = [
        name for name, _ in read([tmp_path / 'clip.avi', tmp_path / 'clip_000001.png'])
    ]
    assert names == ['clip_video_000000', 'clip_video_000001', 'clip_000001']


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    names = [letter * 125 + end for letter in ('é', 'è') for end in ('a', 'b')]
    for name in names:  # of 251 bytes, and 255 with the suffix
        cv2.imwrite(str(tmp_path / f'{name}.png'), picture(6))
    found = [name for name, _ in read(tmp_path)]
    assert len(set(found)) == 4
    for name in found:
        write_png(tmp_path / 'out' / f'{name}.png', picture(6))
    assert len(list((tmp_path / 'out').iterdir())) == 4


def test_names_of_nothing_do_not_stop_the_others(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = ['.', '', 'http://', 'http://[::1', 'a\0b.png', '/']
    errors = [text for _, text in read([*odd, folder / 'b.png'])]
    assert errors[-1] == 0 and all(isinstance(text, str) for text in errors[:-1])
    assert 'is no address' in errors[3] and 'cannot be read' in errors[4]


def test_a_link_to_nothing_is_named(tmp_path):
    write_png(tmp_path / 'b.png', picture(5))
    (tmp_path / 'a.png').symlink_to(tmp_path / 'gone.png')
    assert read(tmp_path) == [('a', 'is missing'), ('b', 5)]


def test_addresses(server, folder):
    assert read(f'HTTP{server[4:]}/b.png') == [('b', 0)]
    assert read(f'{server}/deep/c.png?size=3') == [('c', 2)]
    ((name, error),) = read(f'{server}/none.png')
    assert name == 'none' and 'cannot be fetched (HTTP Error 404' in error
    assert 'is truncated or no image' in read(f'{server}/notes.txt')[0][1]
    names = [name for name, _ in read([f'{server}/deep/../../b.png', f'{server}/..'])]
    assert not any('/' in name for name in names)


def test_an_address_that_does_not_answer():
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen()
        url = f'http://127.0.0.1:{silent.getsockname()[1]}/a.png'
        with pytest.raises(ImageError, match='cannot be fetched .*timed out'):
            fetch(url, timeout=0.2)
    with pytest.raises(ImageError, match='cannot be fetched'):
        fetch(url, timeout=5)  # nobody listens any more


def test_a_video(tmp_path):
    write_video(tmp_path / 'clip.avi', 12)
    (source,) = find_sources(tmp_path / 'clip.avi')
    assert source.count == 12 and source.is_video
    items = list(read_items([source]))
    assert [item.name for item in items] == [f'clip_{i:06d}' for i in range(12)]
    assert all(item.image.shape == (48, 64, 3) for item in items)
    brightness = [item.image.mean() for item in items]
    assert brightness == sorted(brightness)


def test_a_video_that_ends_within_a_frame(tmp_path):
    write_video(tmp_path / 'clip.avi', 12)
    content = (tmp_path / 'clip.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(content[: len(content) // 2])
    *frames, last = read_items(find_sources(tmp_path / 'cut.avi'))
    assert 3 <= len(frames) <= 8 and all(item.error is None for item in frames)
    assert last.name == 'cut' and last.error == f'ends after {len(frames)} of 12 frames'


@pytest.mark.parametrize('content', [b'', b'no video', None])
def test_what_is_no_video(content, tmp_path):
    if content is not None:
        (tmp_path / 'a.mp4').write_bytes(content)
    ((name, error),) = read(tmp_path / 'a.mp4')
    assert name == 'a'
    assert error == ('is missing' if content is None else 'is truncated or no video')
