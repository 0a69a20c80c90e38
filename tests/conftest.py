"""What several tests share."""
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from signal import SIGKILL

import cv2
import numpy as np
import pytest
import torch

import mmsr4ir  # noqa: F401  (before anything imports mmcv.ops)

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)  # two workers with all cores each wait for each other


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
                picture[y:y + h, x:x + w] = (255, 0, 0) if j else (0, 255, 0)
                annotations.append(dict(
                    id=len(annotations) + 1, image_id=i, category_id=j + 1,
                    bbox=[x, y, w, h], area=w * h, iscrowd=0,
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]]))
            name = f'{i}.jpg' if i % 3 else f'{i}.png'
            cv2.imwrite(str(root / split / name), picture)
            images.append(dict(id=i, file_name=name, height=height, width=width))
        (root / f'{split}.json').write_text(json.dumps(dict(
            images=images, annotations=annotations,
            categories=[dict(id=1, name='green'), dict(id=2, name='blue')])))
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
            'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 2,
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.alternate.warmup': 1,
            'default_hooks.logger.interval': 1,
        } | more
        return ['--cfg-options', *(f'{k}={v}' for k, v in settings.items())]

    return options


@pytest.fixture(scope='session')
def tool_server():
    """A process that starts Python tools quickly, see tool_server.py."""
    with subprocess.Popen(
            [sys.executable, 'tests/tool_server.py'], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=environment()) as server:
        yield server
        server.stdin.close()


@pytest.fixture(scope='session')
def run_tool(tool_server, tmp_path_factory):
    """Run a tool as a user does; return the finished process."""
    folder = tmp_path_factory.mktemp('output')

    def run(*command, ok: bool = True, env: dict | None = None):
        command = [str(part) for part in command]
        if command[0] == sys.executable and command[1].endswith('.py'):
            process = ask(tool_server, command, environment(env), folder / 'output.txt')
        else:
            process = subprocess.run(
                command, cwd=ROOT, text=True, timeout=300, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, env=environment(env))
        if ok:
            assert process.returncode == 0, process.stdout[-4000:]
        return process

    return run


def environment(more: dict | None = None) -> dict[str, str]:
    """The environment of a tool."""
    return os.environ | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1') | (more or {})


def ask(server: subprocess.Popen, command: list[str], env: dict[str, str], output: Path
        ) -> subprocess.CompletedProcess:
    """Have the server run a Python tool; it is killed after 300 s."""
    output.write_text('')
    print(json.dumps(dict(argv=command[1:], env=env, output=str(output))),
          file=server.stdin, flush=True)
    timer = threading.Timer(300, os.kill, (int(server.stdout.readline()), SIGKILL))
    timer.start()
    code = int(server.stdout.readline())
    timer.cancel()
    return subprocess.CompletedProcess(command, code, output.read_text())
