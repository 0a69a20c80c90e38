"""Show everything in a few minutes: make data, train, test, draw, compare.

Everything is done through the command lines that a user has; each is printed before it
runs, and its whole output is kept in demo_output.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from mmsr4ir.utils.configs import CONFIGS
from mmsr4ir.utils.files import write_whole
from mmsr4ir.utils.tables import markdown_table

from .command import command

EXAMPLES = dict(
    det='sr4ir/faster-rcnn_edsr_tiny.py',
    seg='sr4ir/deeplabv3_edsr_tiny.py',
    cls='sr4ir/resnet18_edsr_tiny.py',
)
METRICS = dict(
    det={'mAP': 'coco/bbox_mAP', 'mAP@50': 'coco/bbox_mAP_50'},
    seg={'mIoU in %': 'mIoU', 'accuracy in %': 'aAcc'},
    cls={'accuracy in %': 'accuracy/top1'},
)
# What the task network that SR4IR trained is shown, by `model.test_on`.
INPUTS = dict(hr='HR', lr='LR x4, bilinear', sr='LR x4, restored (SR)')
# A log line about where a training or test is, or the line of a comparison.
PROGRESS = re.compile(r'(?: - INFO - |^)((?:(?:Epoch|Iter|Val|Test) |L→T seed).*\S)')


def run_command(name: str, out: Path, *command: str) -> None:
    """Run a command; show its progress lines and keep all of its output in a file."""
    print(f'\n$ mmsr4ir {" ".join(command)}', flush=True)
    tail: list[str] = []
    with (
        (out / f'{name}.log').open('w') as log,
        subprocess.Popen(
            [sys.executable, '-u', '-m', 'mmsr4ir', *command],
            text=True,
            env=os.environ | dict(PYTHONWARNINGS='ignore'),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        for line in process.stdout or ():
            log.write(line)
            tail = [*tail[-19:], line]
            progress = PROGRESS.search(line)
            if progress:
                print('  ' + progress[1], flush=True)
    if process.returncode:
        sys.exit(
            f'{"".join(tail)}\nerror: this failed; the whole output is in '
            f'{out / name}.log'
        )


def test_metrics(work_dir: Path) -> dict[str, float]:
    """Return the metrics of the newest test in a work dir, as MMEngine writes them."""
    newest = max(work_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    return json.loads(newest.read_text())


def cells(metrics: dict[str, float], task: str, image: str) -> list[str]:
    """Return a table row's numbers: the task's metrics, then the PSNR of the image."""
    values = [f'{metrics[key]:.3f}' for key in METRICS[task].values()]
    return [*values, '-' if image == 'hr' else f'{metrics["sr/PSNR"]:.2f}']


@command
def main() -> None:
    """Make the data, train, test three times, train L→T, and write a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--task', choices=list(EXAMPLES), default='det', help='what is recognised'
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('demo_output'),
        help='folder; that of an earlier demo is emptied',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='passed on to training and testing, as for a shorter demo',
    )
    args = parser.parse_args()
    out, config = args.out.resolve(), str(CONFIGS / EXAMPLES[args.task])

    def options(*more: str) -> list[str]:
        settings = [*args.cfg_options, *more]
        return ['--cfg-options', *settings] if settings else []

    marker = out / '.mmsr4ir_demo'
    if (
        out.exists()
        and not marker.exists()
        and (not out.is_dir() or any(out.iterdir()))
    ):
        sys.exit(
            f'error: {out} holds something else than an earlier demo, which would '
            'be removed: name another folder with --out'
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    marker.touch()

    start = time.time()
    run_command('data', out, 'make-textured-shapes')
    trained = time.time()
    run_command('train', out, 'train', config, '--work-dir', f'{out}/work', *options())
    trained = time.time() - trained
    run_command(
        'compare',
        out,
        'compare',
        config,
        '--methods',
        'l2t',
        '--out',
        f'{out}/compare',
        *options(),
    )
    checkpoint = (out / 'work' / 'last_checkpoint').read_text()
    rows = []
    for test_on, title in INPUTS.items():
        work = out / f'test_{test_on}'
        show = ['--show-dir', f'{out}/pictures'] if test_on == 'sr' else []
        run_command(
            work.name,
            out,
            'test',
            config,
            checkpoint,
            '--work-dir',
            str(work),
            *show,
            *options(f'model.test_on={test_on}'),
        )
        rows.append(
            [f'SR4IR, on {title}', *cells(test_metrics(work), args.task, test_on)]
        )
    results = next((out / 'compare').glob('*/results.json'))
    alone = json.loads(results.read_text())['methods']['l2t']['runs']['0']['metrics']
    rows.insert(-1, [f'L→T, on {INPUTS["lr"]}', *cells(alone, args.task, 'lr')])
    table = markdown_table(['trained by, on', *METRICS[args.task], 'PSNR in dB'], rows)
    text = (
        f'{table}\n\nL→T is the task network alone, trained on LR images. SR4IR x4 '
        f'trained for {trained:.0f} s; the whole demo took '
        f'{time.time() - start:.0f} s.\n'
    )
    write_whole(out / 'results.md', text)
    pictures = len(list((out / 'pictures').glob('*.png')))
    print(f'\n{text}\n{pictures} picture grids are in {out / "pictures"}')
