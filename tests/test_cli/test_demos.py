"""The command lines in demo/, as a process once and then in this one."""

import json
import re
import runpy
import signal
import sys

import cv2
import numpy as np
import pytest
from lr_models import save_run
from PIL import Image

from mmsr4ir.apis import videos
from mmsr4ir.visualization.drawing import write_png

RNG = np.random.default_rng(0)
A, B = (
    RNG.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((32, 40), (24, 64))
)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    save_run('det', folder)
    return folder


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    write_png(folder / 'a.png', A)
    write_png(folder / 'b.png', B)
    (folder / 'cut.png').write_bytes((folder / 'a.png').read_bytes()[:500])
    (folder / 'empty.jpg').write_bytes(b'')
    (folder / 'list.txt').write_text('not an image')
    return folder


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp('clip') / 'clip.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 12.5, (40, 32))
    for i in range(8):
        writer.write(np.roll(A, i, axis=1))
    writer.release()
    return path


@pytest.fixture
def demo(monkeypatch, capsys):
    """Run a demo in this process: exit code (or message) and output."""

    def call(name, *args):
        monkeypatch.setattr(sys, 'argv', [name, *map(str, args)])
        try:
            runpy.run_path(f'demo/{name}.py', run_name='__main__')
            code = 0
        except SystemExit as error:
            code = error.code
        return code, ''.join(capsys.readouterr())

    return call


def test_a_folder_with_bad_files(run, photos, tmp_path, run_tool):
    process = run_tool(
        sys.executable,
        'demo/image_demo.py',
        run,
        photos,
        '--out-dir',
        tmp_path,
        '--batch-size',
        2,
        ok=False,
    )
    assert process.returncode == 1
    text = process.stdout
    assert f'2 images are in {tmp_path}' in text
    assert 'error: 2 could not be used:' in text
    assert f'{photos}/cut.png is truncated or no image' in text
    assert f'{photos}/empty.jpg is empty (0 bytes)' in text
    assert text.count('1 files that are no images are left out: list.txt') == 1
    assert 'Inference' in text
    for name, image in (('a', A), ('b', B)):
        restored = np.asarray(Image.open(tmp_path / 'restored' / f'{name}.png'))
        assert (restored == image.repeat(4, 0).repeat(4, 1)).all()
        found = json.loads((tmp_path / 'preds' / f'{name}.json').read_text())
        assert found['size'] == list(image.shape[:2]) and found['bboxes']
        assert (tmp_path / 'vis' / f'{name}.png').is_file()


def test_good_files_only(run, photos, tmp_path, demo):
    code, text = demo(
        'image_demo',
        run,
        photos / 'a.png',
        f'{photos}/b*',
        '--out-dir',
        tmp_path,
        '--coordinates',
        'sr',
        '--tile',
        0,
    )
    assert code == 0 and '2 images are in' in text
    found = json.loads((tmp_path / 'preds' / 'a.json').read_text())
    assert found['size'] == [128, 160] and found['coordinates'] == 'sr'


def test_restore_only(run, photos, tmp_path, demo):
    code, _ = demo(
        'image_demo',
        run,
        photos / 'b.png',
        '--out-dir',
        tmp_path,
        '--restore-only',
        '--tile',
        48,
        '--overlap',
        8,
    )
    assert code == 0
    assert [path.name for path in tmp_path.iterdir()] == ['restored']
    assert Image.open(tmp_path / 'restored' / 'b.png').size == (256, 96)


@pytest.mark.parametrize(
    'args, message',
    [
        (('none', 'a.png'), 'neither a config nor a work directory'),
        (
            ('{run}', 'a.png', '--weights', 'none.pth'),
            'there is no checkpoint none.pth',
        ),
        (('{run}', 'a.png', '--tile', '8'), 'tile=8 is too small for overlap=32'),
        (('{run}', 'a.png', '--batch-size', '0'), '--batch-size: 0 is below 1'),
        (('{run}', 'a.png'), 'a.png is missing'),
        (
            ('{run}', 'http://127.0.0.1:9/a.png'),
            'http://127.0.0.1:9/a.png cannot be fetc',
        ),
    ],
)
def test_what_cannot_be(run, args, message, tmp_path, demo):
    code, text = demo(
        'image_demo', *(arg.format(run=run) for arg in args), '--out-dir', tmp_path
    )
    assert code and message in f'{code}{text}'


def test_a_video(run, clip, tmp_path, demo):
    for name in ('out.avi', 'out.mp4'):
        code, text = demo(
            'video_demo', run, clip, '--out', tmp_path / name, '--batch-size', 3
        )
        assert code == 0 and '8 frames at 12.5 a second are in' in text
        video = cv2.VideoCapture(str(tmp_path / name))
        assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 8
        size = (
            video.get(cv2.CAP_PROP_FRAME_WIDTH),
            video.get(cv2.CAP_PROP_FRAME_HEIGHT),
        )
        assert size == (160, 128)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['out.avi', 'out.mp4']


def test_the_frames_of_a_video_are_the_restored_ones(run, clip, tmp_path, demo):
    code, _ = demo(
        'video_demo', run, clip, '--out', tmp_path / 'out.avi', '--restore-only'
    )
    assert code == 0
    given, made = (cv2.VideoCapture(str(path)) for path in (clip, tmp_path / 'out.avi'))
    for _ in range(8):
        frame, restored = given.read()[1], made.read()[1]
        difference = frame.repeat(4, 0).repeat(4, 1).astype(int) - restored
        assert abs(difference).mean() < 12  # both went through JPEG


def test_a_camera_until_ctrl_c_and_a_stream_until_its_end(
    run, clip, tmp_path, demo, monkeypatch
):
    code, text = demo(
        'video_demo',
        run,
        f'file://{clip}',
        '--out',
        tmp_path / 'b.avi',
        '--restore-only',
    )
    assert code == 0 and '8 frames at 12.5 a second are in' in text
    code, _ = demo(
        'video_demo', run, clip, '--out', tmp_path / 'a.avi', '--restore-only'
    )
    assert (tmp_path / 'a.avi').read_bytes() == (tmp_path / 'b.avi').read_bytes()

    class Camera:
        """Gives frames without end; a user presses Ctrl-C at the third."""

        def __init__(self, number):
            assert number == 2
            self.frames = 0

        def isOpened(self):  # noqa: N802
            return True

        def read(self):
            self.frames += 1
            if self.frames == 3:
                signal.raise_signal(signal.SIGINT)
            return True, np.full((32, 40, 3), (250, 0, 0), np.uint8)

        def get(self, what):
            return 0.0

        def release(self):
            pass

    usual = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(videos.cv2, 'VideoCapture', Camera)
    code, text = demo(
        'video_demo', run, '2', '--out', tmp_path / 'c.avi', '--restore-only'
    )
    assert code == 0 and '3 frames at 25 a second are in' in text
    assert signal.getsignal(signal.SIGINT) == usual
    monkeypatch.undo()
    made = cv2.VideoCapture(str(tmp_path / 'c.avi')).read()[1].mean((0, 1))
    assert made[0] > 200 and max(made[1:]) < 50  # blue, in OpenCV's order


@pytest.mark.parametrize(
    'video, message',
    [
        ('97', 'error: 97 is no camera that can be opened: check the number'),
        (
            'rtsp://127.0.0.1:9/a',
            'error: rtsp://127.0.0.1:9/a does not answer, or sends no video',
        ),
    ],
)
def test_what_is_no_camera_or_stream(run, video, message, tmp_path, demo):
    code, _ = demo('video_demo', run, video, '--out', tmp_path / 'b.avi')
    assert code.startswith(message) and '\n' not in code
    assert not list(tmp_path.iterdir())


def test_a_video_that_ends_within_a_frame(run, clip, tmp_path, demo):
    content = clip.read_bytes()
    cut = tmp_path / 'cut.avi'
    cut.write_bytes(content[: len(content) * 2 // 3])
    code, text = demo(
        'video_demo', run, cut, '--out', tmp_path / 'out.avi', '--restore-only'
    )
    assert 'error: 1 could not be used:\n' in code and 'cut.avi ends after ' in code
    assert 'of 8 frames' in code
    count = cv2.VideoCapture(str(tmp_path / 'out.avi')).get(cv2.CAP_PROP_FRAME_COUNT)
    assert 2 <= count < 8 and f'{count:.0f} frames at 12.5' in text


@pytest.mark.parametrize('content', [b'', b'no video'])
def test_what_is_no_video(run, content, tmp_path, demo):
    (tmp_path / 'a.mp4').write_bytes(content)
    code, _ = demo('video_demo', run, tmp_path / 'a.mp4', '--out', tmp_path / 'b.mp4')
    assert 'a.mp4 is truncated or no video' in code
    assert not (tmp_path / 'b.mp4').exists()
    code, text = demo('video_demo', run, tmp_path / 'a.mp4', '--out', 'b.gif')
    assert code == 2 and 'it must end in .mp4 or .avi' in text


def test_a_folder_that_cannot_be_written_to(run, photos, demo, tmp_path):
    (tmp_path / 'file').write_text('')
    code, text = demo(
        'image_demo',
        run,
        photos / 'cut.png',
        photos / 'a.png',
        '--out-dir',
        tmp_path / 'file',
        '--device',
        'cpu',
    )
    assert 'Not a directory' in code and 'cut.png' in code
    assert '0 images' in text


@pytest.mark.parametrize('name', ['image_demo', 'video_demo'])
def test_help(name, demo):
    code, text = demo(name, '--help')
    assert code == 0 and '--tile' in text and re.search('xit code (is )?1', text)
