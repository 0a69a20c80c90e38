"""The page in a headless Chromium, as a person uses it, and what is kept from it."""

import http.client
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
from lr_models import save_run
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from skimage.metrics import peak_signal_noise_ratio

WAIT = 120_000  # ms, for a machine that is busy
CHROMIUM = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
]
# Limits of the server of these tests.
MEGABYTES, PIXELS, RESTORED = 0.3, 40_000, 160_000


def textured(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack(
        [
            127 + 120 * np.sin(x / 2.5),
            127 + 120 * np.cos(y / 3),
            255 * ((x // 8 + y // 8) % 2),
        ],
        -1,
    ).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, 'png')
    return file.getvalue()


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(('127.0.0.1', 0))
        return listening.getsockname()[1]


@pytest.fixture(scope='module')
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('run')
    save_run('det', folder)
    return folder


@pytest.fixture(scope='module')
def server(run, tmp_path_factory):
    """The command of a user; ``url`` of the page, ``files`` of the server."""
    port, temporary = free_port(), tmp_path_factory.mktemp('temporary')
    process = subprocess.Popen(
        [
            sys.executable,
            '-u',
            'demo/web_demo.py',
            run,
            '--port',
            str(port),
            '--score-thr',
            '0.05',
            '--max-megabytes',
            str(MEGABYTES),
            '--max-pixels',
            str(PIXELS),
            '--max-task-pixels',
            str(RESTORED),
        ],
        env=environment() | dict(TMPDIR=str(temporary)),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if f'http://127.0.0.1:{port}' in line:
            break
    else:
        pytest.fail(f'the server ended: {"".join(lines)}')
    (files,) = temporary.glob('mmsr4ir_web_*')
    yield SimpleNamespace(url=f'http://127.0.0.1:{port}', files=files, port=port)
    process.send_signal(signal.SIGTERM)
    for _ in range(600):
        if not files.exists():
            break
        time.sleep(0.1)
    left = files.exists()
    process.kill()
    process.wait()
    assert not left, 'what was uploaded and made must go with the server'


def environment() -> dict:
    return os.environ | dict(
        PYTHONPATH=str(Path(__file__).parents[2]),
        OMP_NUM_THREADS='1',
        PYTHONWARNINGS='ignore',
    )


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    program = shutil.which('chromium') or shutil.which('chromium-browser')
    if program is None:
        pytest.fail(
            'the tests of the web page need Chromium: install the package '
            'chromium (Debian: apt-get install chromium)'
        )
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path_factory.mktemp('profile'),
            executable_path=program,
            args=CHROMIUM,
            viewport=dict(width=1400, height=900),
        )
        context.set_default_timeout(WAIT)
        expect.set_options(timeout=WAIT)
        yield context
        context.close()


@pytest.fixture
def page(browser, server):
    """The page, newly opened; ``hosts`` are those that answered it."""
    tab = browser.new_page()
    tab.hosts = set()
    missing = []

    def note(answer) -> None:
        tab.hosts.add(urlsplit(answer.url).hostname)
        if answer.status == 404:
            missing.append(urlsplit(answer.url).path)

    tab.on('response', note)
    tab.goto(server.url)
    yield tab
    assert not missing
    tab.close()


def upload(page, content: bytes, name: str = 'mine.png') -> None:
    page.locator('#image input[type=file]').set_input_files(
        dict(name=name, mimeType='image/png', buffer=content)
    )


def run_it(page, choice: str | None = None) -> None:
    expect(page.locator('#image .file-preview')).to_be_visible()
    if choice is not None:
        page.get_by_label(choice).check()
    page.locator('#run').click()


def download(page, name: str) -> bytes:
    with page.expect_download() as coming:
        page.locator(f'#files a[download="{name}"]').click()
    assert coming.value.suggested_filename == name
    return coming.value.path().read_bytes()


def read(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(content)))


def rows(page) -> dict[str, tuple[str, str]]:
    cells = [
        row.locator('td').all_inner_texts()
        for row in page.locator('#scores tbody tr').all()
    ]
    return {name: (enlarged, restored) for name, enlarged, restored in cells}


def test_upload_run_and_download(page):
    image = textured(96, 128)
    upload(page, png(image))
    run_it(page)  # degraded as the model restores, unless something else is chosen
    expect(page.locator('#note')).to_have_text(
        '32 x 24 pixels were restored to 128 x 96.'
    )
    lr, sr = read(download(page, 'lr.png')), read(download(page, 'sr.png'))
    assert lr.shape == (24, 32, 3)
    assert (sr == lr.repeat(4, 0).repeat(4, 1)).all()  # the S of the tests
    psnr = peak_signal_noise_ratio(image, sr)
    table = rows(page)
    assert float(table['PSNR (dB)'][1]) == pytest.approx(psnr, abs=0.01)
    assert float(table['PSNR (dB)'][0]) != float(table['PSNR (dB)'][1])
    assert 'SSIM' in table
    for side, name in enumerate(('lr', 'sr')):
        found = json.loads(download(page, f'{name}_found.json'))
        assert found['degraded_by'] == 4 and found['size'] == [96, 128]
        best = max(found['scores'])
        label = found['classes'][found['scores'].index(best)]
        assert table[label][side].startswith(f'{best:.2f}')
        assert read(download(page, f'{name}_drawn.png')).shape == (96, 128, 3)
    assert (read(download(page, 'sr_drawn.png')) != sr).any()
    assert page.hosts == {'127.0.0.1'}  # nothing was fetched from elsewhere


def test_the_slider_shows_lr_on_its_left_and_sr_on_its_right(page):
    upload(page, png(textured(96, 128)))
    run_it(page)
    for where in ('#plain', '#drawn'):
        both, slider = (
            page.locator(f'{where} {part}')
            for part in ('.compare', 'input[type=range]')
        )
        both.scroll_into_view_if_needed()
        page.wait_for_function(
            '[...document.querySelectorAll(".compare img")].every('
            'image => image.complete && image.naturalWidth)'
        )
        shots = {}
        for key in ('Home', 'End'):
            slider.press(key)
            shots[key] = read(both.screenshot())
        box = both.bounding_box()
        page.mouse.click(box['x'] + box['width'] / 2, box['y'] + box['height'] * 0.95)
        assert float(slider.input_value()) == pytest.approx(50, abs=3)
        half = read(both.screenshot())
        lr, sr = (shots[key].astype(int) for key in ('End', 'Home'))
        height, width = half.shape[:2]
        for start, end, shown in ((1, 4, lr), (6, 9, sr)):  # without line and names
            part = (
                slice(height // 5, -height // 5),
                slice(width * start // 10, width * end // 10),
            )
            difference = abs(lr[part] - sr[part]).mean()
            assert difference > 1 and abs(half[part] - shown[part]).mean() < (
                difference / 10
            )  # of the scaling, which is not always the same


def test_an_image_as_it_is(page):
    image = textured(40, 64)
    upload(page, png(image))
    run_it(page, 'take it as it is')
    expect(page.locator('#note')).to_contain_text(
        '64 x 40 pixels were restored to 256 x 160.'
    )
    assert (read(download(page, 'sr.png')) == image.repeat(4, 0).repeat(4, 1)).all()
    found = json.loads(download(page, 'sr_found.json'))
    assert found['coordinates'] == 'lr' and found['size'] == [40, 64]
    assert found['degraded_by'] is None and 'PSNR (dB)' not in rows(page)


def test_more_degraded_than_the_model_restores(page):
    upload(page, png(textured(96, 128)))
    run_it(page, 'degrade it x8')
    expect(page.locator('#note')).to_contain_text(
        '16 x 12 pixels were restored to 64 x 48. The image was degraded x8 but is '
        'restored x4: the result has not its size, so there is no PSNR or SSIM.'
    )
    assert 'PSNR (dB)' not in rows(page)


def test_files_that_are_of_no_use_and_then_one_that_is(page):
    good = png(textured(96, 128))
    page.locator('#run').click()
    note = page.locator('#note .error')
    expect(note).to_have_text('Drop an image first.')
    for content, message in (
        (
            b'no picture',
            'This image is truncated or no image (of no format that is known).',
        ),
        (good[: len(good) // 2], 'This image is truncated or no image'),
        (
            png(textured(300, 200)),
            f'This image has 200 x 300 pixels, more than max_pixels={PIXELS}',
        ),
        (
            png(textured(120, 100)),
            'This image would have 400 x 480 pixels once '
            f'restored, more than max_task_pixels={RESTORED}',
        ),
        (
            png(textured(6, 8)),
            'This image has 8 x 6 pixels, but degrading it by 4 needs 11 each way',
        ),
    ):
        upload(page, content)
        run_it(
            page, 'take it as it is' if 'once restored' in message else 'degrade it x4'
        )
        expect(note).to_contain_text(message)
        assert page.locator('.compare').count() == 0
        expect(page.locator('#files')).to_be_hidden()
        page.locator('#image [aria-label="Clear"]').click()
    upload(page, good)
    run_it(page)
    expect(page.locator('#note')).to_contain_text('were restored')
    expect(page.locator('.compare')).to_have_count(2)


def test_a_file_that_is_too_large_is_refused_by_the_page(page):
    upload(page, bytes(int(MEGABYTES * 1e6) + 1))
    expect(page.get_by_text('exceed the maximum allowed size')).to_be_visible()
    expect(page.locator('#image .file-preview')).to_have_count(0)


def post(server, path: str, body: bytes, **headers) -> tuple[int, str]:
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=60)
    connection.request(
        'POST',
        path,
        body,
        {name.replace('_', '-'): value for name, value in headers.items()},
    )
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def post_file(
    server, name: str, content: bytes, field: str = 'files'
) -> tuple[int, str]:
    body = (
        (
            f'--edge\r\nContent-Disposition: form-data; name="{field}"; '
            f'filename="{name}"\r\n\r\n'
        ).encode()
        + content
        + b'\r\n--edge--\r\n'
    )
    return post(
        server,
        '/gradio_api/upload',
        body,
        Content_Type='multipart/form-data; boundary=edge',
    )


def call(server, path: str) -> dict:
    """Have the page's function run on a file, as the page does."""
    session = uuid.uuid4().hex
    status, text = post(
        server,
        '/gradio_api/queue/join',
        json.dumps(
            dict(
                fn_index=0,
                session_hash=session,
                data=[
                    dict(path=path, meta=dict(_type='gradio.FileData')),
                    'take it as it is',
                ],
            )
        ).encode(),
        Content_Type='application/json',
    )
    assert status == 200, text
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=120)
    connection.request('GET', f'/gradio_api/queue/data?session_hash={session}')
    for line in connection.getresponse():
        message = json.loads(line.decode().strip().removeprefix('data:') or '{}')
        if message.get('msg') == 'process_completed':
            return message
    raise AssertionError('no answer')


@pytest.mark.parametrize(
    'name',
    ['../../../outside.png', '/tmp/outside.png', '..', 'a' * 1000, '.ssh/keys', ''],
)
def test_names_from_outside_are_no_paths(server, name):
    before = set(server.files.parent.rglob('*'))
    status, text = post_file(server, name, b'content')
    made = set(server.files.parent.rglob('*')) - before
    if status == 200:
        path = Path(json.loads(text)[0])
        assert path.parent.parent == server.files and path.read_bytes() == b'content'
    else:
        assert status == 400
    assert all(path.is_relative_to(server.files) for path in made)
    assert not Path('/tmp/outside.png').exists()


def test_only_what_was_uploaded_is_read(server, run):
    status, text = post_file(server, 'a.png', png(textured(24, 32)))
    (path,) = json.loads(text)
    assert call(server, path)['success']
    before = set(server.files.rglob('*'))
    for other in (run / 'last_checkpoint', f'{path}/../../../../etc/hostname'):
        answer = call(server, str(other))
        assert not answer['success'] and 'data' not in answer['output']
        assert set(server.files.rglob('*')) == before
    for other in (
        run / 'last_checkpoint',
        '/etc/hostname',
        Path('README.md').resolve(),
    ):
        connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=60)
        connection.request('GET', f'/gradio_api/file={other}')
        assert connection.getresponse().status == 403


def test_addresses_are_no_files(server):
    address = 'https://example.org/a.png'
    before = set(server.files.rglob('*'))
    assert not call(server, address)['success']
    assert set(server.files.rglob('*')) == before
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=60)
    connection.request('GET', f'/gradio_api/file={address}')
    assert connection.getresponse().status == 403


@pytest.mark.parametrize(
    'method, path',
    [
        ('GET', '/gradio_api/file/https://example.org/a.png'),  # would be fetched
        ('GET', '/gradio_api/proxy=https://example.org/a.png'),
        ('POST', '/gradio_api/run/run'),  # beside the queue
        ('POST', '/gradio_api/api/run'),
        ('POST', '/gradio_api/call/run'),
        ('POST', '/gradio_api/process_recording'),  # converts videos
        ('GET', '/gradio_api/run-history/buckets'),  # with the server's token
        ('GET', '/monitoring/summary'),
        ('GET', '/gradio_api/component_server'),
        ('GET', '/gradio_api/%66ile/https://example.org/a.png'),
    ],
)
def test_what_is_not_the_pages_is_not_there(server, method, path):
    connection = http.client.HTTPConnection('127.0.0.1', server.port, timeout=60)
    connection.request(method, path, b'{}', {'Content-Type': 'application/json'})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (404, b'There is nothing here.')


def test_errors_of_gradio_are_not_told(server):
    status, text = post(
        server,
        '/gradio_api/queue/join',
        json.dumps(dict(fn_index=-1, session_hash='a', data=[])).encode(),
        Content_Type='application/json',
    )
    assert (status, text) == (500, 'Internal Server Error')


def test_a_file_that_is_too_large_is_refused_by_the_server(server):
    before = set(server.files.rglob('*'))
    status, text = post_file(server, 'a.png', bytes(int(MEGABYTES * 1e6) + 5000))
    assert status == 413 and 'maximum allowed size' in text
    assert set(server.files.rglob('*')) == before
    assert post_file(server, 'a.png', bytes(int(MEGABYTES * 1e6) - 5000))[0] == 200


@pytest.fixture
def demo(monkeypatch, capsys):
    """Run the command in this process: what it exits with."""
    monkeypatch.setattr(signal, 'signal', lambda *_: None)
    for name in ('GRADIO_TEMP_DIR', 'GRADIO_ANALYTICS_ENABLED'):
        monkeypatch.setenv(name, '')

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['web_demo.py', *map(str, args)])
        with pytest.raises(SystemExit) as error:
            runpy.run_path('demo/web_demo.py', run_name='__main__')
        return error.value.code, ''.join(capsys.readouterr())

    return call


def test_the_command_says_what_is_wrong(run, server, demo, monkeypatch):
    assert 'error: none is neither a config nor a work directory' in demo('none')[0]
    assert 'there is no checkpoint none.pth' in demo(run, '--weights', 'none.pth')[0]
    assert f'{server.port}' in demo(run, '--port', server.port)[0]  # it is taken
    code, text = demo('--help')
    assert code == 0 and '--max-megabytes' in text and 'mmsr4ir[web]' in text
    monkeypatch.delitem(sys.modules, 'mmsr4ir.cli.web_page')
    monkeypatch.setitem(sys.modules, 'gradio', None)
    assert "pip install 'mmsr4ir[web]'" in demo(run)[0]
