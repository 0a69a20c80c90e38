"""What several tests share."""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

# Before torch looks for GPUs: the expected numbers are those of a CPU. A GPU that this
# variable names is seen by what tests the served ops on all devices.
os.environ.setdefault('CUDA_VISIBLE_DEVICES', '-1')

import cv2
import numpy as np
import pytest
import torch

import mmsr4ir  # noqa: F401  (before anything imports mmcv.ops)

ROOT = Path(__file__).parents[1]
LIMIT = 300  # seconds that a tool may take
sys.path.insert(0, str(Path(__file__).parent / 'helpers'))
torch.set_num_threads(1)  # two workers with all cores each wait for each other


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first; met last, one worker would end long after."""
    slow = {item.path for item in items if item.get_closest_marker('slow')}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(scope='session')
def coco_root(tmp_path_factory) -> Path:
    """A COCO data set of 6 + 3 images, in two sizes, with two classes and masks."""
    root = tmp_path_factory.mktemp('coco')
    rng = np.random.default_rng(0)
    for split, count in (('train', 6), ('val', 3)):
        (root / split).mkdir()
        images, annotations = [], []
        for i in range(count):
            height, width = ((64, 64), (64, 48))[i % 2]
            picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            for j, (x, y, w, h) in enumerate(((4, 4, 24, 20), (20, 30, 22, 28))):
                picture[y : y + h, x : x + w] = (255, 0, 0) if j else (0, 255, 0)
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=i,
                        category_id=j + 1,
                        bbox=[x, y, w, h],
                        area=w * h,
                        iscrowd=0,
                        segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
                    )
                )
            name = f'{i}.jpg' if i % 3 else f'{i}.png'
            cv2.imwrite(str(root / split / name), picture)
            images.append(dict(id=i, file_name=name, height=height, width=width))
        (root / f'{split}.json').write_text(
            json.dumps(
                dict(
                    images=images,
                    annotations=annotations,
                    categories=[dict(id=1, name='green'), dict(id=2, name='blue')],
                )
            )
        )
    return root


@pytest.fixture(scope='session')
def tiny_options():
    """Command line settings that put the demo's config on the `coco_root` data."""

    def options(root: Path, **more) -> list[str]:
        settings = {'model.num_classes': 2, 'randomness.seed': 0}
        for loader in ('train', 'val', 'test'):
            split = 'train' if loader == 'train' else 'val'
            at = f'{loader}_dataloader'
            settings |= {
                f'{at}.dataset.data_root': f'{root}/',
                f'{at}.dataset.ann_file': f'{split}.json',
                f'{at}.dataset.metainfo.classes': '"[green,blue]"',
                f'{at}.batch_size': 2,
                f'{at}.num_workers': 0,
                f'{at}.persistent_workers': False,
            }
        for evaluator in ('val_evaluator', 'test_evaluator'):
            settings[f'{evaluator}.0.ann_file'] = f'{root}/val.json'
        settings |= {
            'train_cfg.max_epochs': 2,
            'train_cfg.val_interval': 2,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.alternate.warmup': 1,
            'default_hooks.logger.interval': 1,
        } | more
        return ['--cfg-options', *(f'{k}={v}' for k, v in settings.items())]

    return options


@pytest.fixture(scope='session')
def run_tool(tmp_path_factory):
    """Run a tool as a user does; return the finished process.

    Python tools start quickly, in a fork of tool_server.py, but not those with
    ``fresh``, which a variable needs that Python or a package reads at its start.
    """
    server = ToolServer(tmp_path_factory.mktemp('tools'))

    def run(*command, ok: bool = True, env: dict | None = None, fresh: bool = False):
        command = [str(part) for part in command]
        if command[0] == sys.executable and not fresh:
            process = server.run(command, env)
        else:
            process = subprocess.run(
                command,
                cwd=ROOT,
                text=True,
                timeout=LIMIT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment() | (env or {}),
            )
        if ok:
            assert process.returncode == 0, process.stdout
        return process

    yield run
    server.close()


def environment() -> dict[str, str]:
    """The environment of a tool."""
    return os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')


class ToolServer:
    """The process of tool_server.py; it starts with the first tool."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.process, self.count = folder, None, 0

    def start(self) -> None:
        with open(self.folder / 'server.txt', 'w') as log:
            self.process = subprocess.Popen(
                [sys.executable, 'tests/helpers/tool_server.py'],
                cwd=ROOT,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment(),
            )

    def close(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def run(
        self, command: list[str], env: dict | None = None
    ) -> subprocess.CompletedProcess:
        """As ``subprocess.run``; what a tool leaves running is killed."""
        if self.process is None:
            self.start()
        self.count += 1
        output = self.folder / f'{self.count}.txt'
        output.write_text('')
        try:
            with suppress(BrokenPipeError):  # it has ended; the answer says why
                print(
                    json.dumps(
                        dict(
                            argv=command[1:],
                            env=environment() | (env or {}),
                            output=str(output),
                        )
                    ),
                    file=self.process.stdin,
                    flush=True,
                )
            code, late = self.wait(self.answer())
        except BaseException:  # whatever comes next gets another server
            self.close()
            raise
        if late:
            raise subprocess.TimeoutExpired(command, LIMIT, output.read_text())
        return subprocess.CompletedProcess(command, code, output.read_text())

    def wait(self, pid: int) -> tuple[int, bool]:
        """The exit status of a tool, and whether it was killed for its time."""
        late = []

        def end():
            late.append(True)
            os.killpg(pid, SIGKILL)

        timer = threading.Timer(LIMIT, end)
        timer.start()
        try:
            code = self.answer()
        finally:
            timer.cancel()
        with suppress(ProcessLookupError):
            os.killpg(pid, SIGKILL)
        return code, bool(late)

    def answer(self) -> int:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(
                'the server of the tools has ended: '
                + (self.folder / 'server.txt').read_text()[-3000:]
            )
        return int(line)
