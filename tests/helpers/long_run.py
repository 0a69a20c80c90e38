"""Does a long training leak memory or open files?

    python tests/helpers/long_run.py [--iterations 2000] [--steady 200] [--only-train]
        [--allocators] [--seed 0] [--out FOLDER] [--json FILE]

Starts ``tools/train.py`` on the embedded data with a detector shrunk so far that an
iteration takes some hundredths of a second, with a validation and a checkpoint after
each epoch (of 120 iterations), and looks at it from outside (/proc) until it ends.
Needs what ``tools/dataset_converters/make_textured_shapes.py`` makes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/sr4ir/faster-rcnn_edsr_tiny.py'
#: The demo's config, small enough to go through thousands of iterations on one core.
SHRUNK = {
    'model.task.backbone.base_channels': 4,
    'model.task.neck.in_channels': '"[4,8,16,32]"',
    'model.task.neck.out_channels': 8,
    'model.task.rpn_head.in_channels': 8,
    'model.task.rpn_head.feat_channels': 8,
    'model.task.roi_head.bbox_roi_extractor.out_channels': 8,
    'model.task.roi_head.bbox_head.in_channels': 8,
    'model.task.roi_head.bbox_head.fc_out_channels': 16,
    'model.sr.mid_channels': 8,
    'model.sr.num_blocks': 1,
    'train_dataloader.dataset.pipeline.2.scale': '"(64,64)"',
    'val_dataloader.dataset.pipeline.1.scale': '"(64,64)"',
}
STEADY = 200  # iterations until everything that is kept is there
BATCH = 2
NEVER = 10**9


def command(
    work: str | Path, *more: str, config: str | Path = CONFIG, **settings
) -> list[str]:
    """The command line of a shrunk training; ``settings`` with ``__`` for a dot."""
    settings = SHRUNK | {k.replace('__', '.'): v for k, v in settings.items()}
    return [
        sys.executable,
        'tools/train.py',
        str(config),
        '--work-dir',
        str(work),
        *more,
        '--cfg-options',
        *(f'{k}={v}' for k, v in settings.items()),
    ]


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    try:
        children = [
            Path(f'/proc/{pid}/task/{task}/children').read_text()
            for task in os.listdir(f'/proc/{pid}/task')
        ]
    except OSError:  # ended meanwhile
        return
    for child in ' '.join(children).split():
        yield from family(int(child))


def memory(pid: int) -> tuple[float, float]:
    """A process' memory in MiB, swapped or not: its share, and all that it sees.

    A page that n processes have from a common parent counts 1/n in the first and 1 in
    the second; the first also rises where a process gets its own copy, the second only
    with what it allocates. Memory for handing over batches counts 1/n in both. Files
    that are mapped (libraries) are left out: they cannot leak, and their share changes
    with whatever else runs on the machine.
    """
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()[1:]
    sizes = {line.split()[0]: int(line.split()[1]) for line in lines}
    return tuple(
        sum(sizes[f'{key}:'] for key in keys) / 1024
        for keys in (
            ('Pss_Anon', 'Pss_Shmem', 'SwapPss'),
            ('Anonymous', 'Pss_Shmem', 'Swap'),
        )
    )


def look(pid: int) -> tuple[float, float, float, int]:
    """(MiB of the process, also counted in full, of its descendants; open files)."""
    sizes, handles = [], 0
    for one in family(pid):
        try:
            sizes.append(memory(one))
            handles += len(os.listdir(f'/proc/{one}/fd'))
        except OSError:  # ended meanwhile
            continue
    return *(sizes[0] if sizes else (0.0, 0.0)), sum(s for s, _ in sizes[1:]), handles


def iteration(work: Path) -> int:
    """The iteration that was logged last."""
    logs = sorted(work.glob('*/vis_data/scalars.json'))
    lines = logs[-1].read_text().splitlines() if logs else []
    return max(
        (
            json.loads(line)['iter']
            for line in lines
            if '"iter"' in line and line.endswith('}')
        ),
        default=0,
    )


def watch(process: subprocess.Popen, work: Path, every: float) -> list[tuple]:
    """Look at a training until it ends: (iteration, \\*:func:`look`)."""
    seen = []
    while process.poll() is None:
        done = iteration(work)
        if done:
            seen.append((done, *look(process.pid)))
        time.sleep(every)
    last = max((one[0] for one in seen), default=0)
    return [one for one in seen if one[1] and one[0] < last]  # before it is taken down


def slope(iterations: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """Least squares: (change per 1,000 iterations, its standard error)."""
    (rise, _), covariance = np.polyfit(iterations / 1000, values, 1, cov=True)
    return float(rise), float(covariance[0, 0] ** 0.5)


def summary(seen: list[tuple], steady: int) -> dict:
    """What the samples from iteration ``steady`` on say.

    The line is laid through the medians of 20 parts of the run: a validation or a
    checkpoint makes memory swing for a moment, and samples close in time are alike.
    """
    table = np.array([one for one in seen if one[0] >= steady], float)
    parts = np.array([np.median(part, 0) for part in np.array_split(table, 20)])
    result = dict(samples=len(table), iterations=[int(table[0, 0]), int(table[-1, 0])])
    for i, name in enumerate(('process', 'in_full', 'workers'), start=1):
        rise, error = slope(parts[:, 0], parts[:, i])
        result[name] = dict(
            first=parts[0, i].round(1),
            last=parts[-1, i].round(1),
            highest=table[:, i].max().round(1),
            slope=round(rise, 2),
            error=round(error, 2),
        )
    result['handles'] = [int(parts[0, 4]), int(parts[-1, 4])]
    result['most_handles'] = int(table[:, 4].max())
    return result


def with_allocators(work: Path) -> Path:
    """A config with tests/helpers/allocators.py, which looks from inside."""
    path = work / 'with_allocators.py'
    path.write_text(
        f'_base_ = [{str(ROOT / CONFIG)!r}]\n'
        "custom_imports = dict(imports=['mmsr4ir', 'allocators'])\n"
        "default_hooks = dict(allocators=dict(type='AllocatorsHook'))\n"
    )
    return path


def allocators(work: Path, steady: int) -> dict:
    """What :class:`allocators.AllocatorsHook` wrote: medians of parts, MiB."""
    lines = [
        json.loads(line) for line in (work / 'allocators.json').read_text().splitlines()
    ]
    lines = [line for line in lines if line['iter'] >= steady]
    result = {}
    for name in lines[0].keys() - {'iter'}:
        table = np.array([(line['iter'], line[name]) for line in lines])
        parts = np.array(
            [np.median(part, 0) for part in np.array_split(table, min(20, len(table)))]
        )
        rise, error = slope(parts[:, 0], parts[:, 1])
        result[name] = dict(
            first=parts[0, 1].round(1),
            last=parts[-1, 1].round(1),
            slope=round(rise, 2),
            error=round(error, 2),
        )
    return result


def run(
    iterations: int,
    seed: int,
    work: Path,
    every: float = 0.5,
    steady: int = STEADY,
    inside: bool = False,
    **settings,
) -> dict:
    """Train and watch; raises RuntimeError if the training fails."""
    images = json.loads(
        (ROOT / 'data/textured_shapes/annotations/train.json').read_text()
    )['images']
    epochs = -(-iterations * BATCH // len(images))
    line = command(
        work,
        **dict(
            dict(
                train_dataloader__batch_size=BATCH,
                train_cfg__max_epochs=epochs,
                train_cfg__val_interval=1,
                default_hooks__checkpoint__interval=1,
                default_hooks__logger__interval=5,
                randomness__seed=seed,
            ),
            **settings,
        ),
        config=with_allocators(work) if inside else CONFIG,
    )
    environment = os.environ | dict(
        PYTHONPATH=os.pathsep.join(
            [str(Path(__file__).parent), os.environ.get('PYTHONPATH', '')]
        )
    )
    with open(work / 'output.txt', 'w') as output:
        process = subprocess.Popen(
            line,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env=environment if inside else None,
        )
        try:
            start = time.monotonic()
            seen = watch(process, work, every)
        finally:
            process.terminate()
    (work / 'samples.json').write_text(json.dumps(seen))
    if process.wait():
        raise RuntimeError((work / 'output.txt').read_text()[-3000:])
    minutes = round((time.monotonic() - start) / 60, 1)
    inner = dict(allocators=allocators(work, steady)) if inside else {}
    return dict(summary(seen, steady), minutes=minutes, **inner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--iterations', type=int, default=2000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--steady',
        type=int,
        default=STEADY,
        help='iterations that are left out (default: %(default)s)',
    )
    parser.add_argument(
        '--only-train',
        action='store_true',
        help='no validation and no checkpoint before the end',
    )
    parser.add_argument(
        '--allocators',
        action='store_true',
        help='also look from inside what the '
        "memory is used for, of glibc's and Python's allocators",
    )
    parser.add_argument('--json', type=Path)
    parser.add_argument('--out', type=Path, help='keep the run here')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = args.out or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        never = dict(
            train_cfg__val_interval=NEVER, default_hooks__checkpoint__interval=NEVER
        )
        result = run(
            args.iterations,
            args.seed,
            work,
            steady=args.steady,
            inside=args.allocators,
            **never if args.only_train else {},
        )
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result))


if __name__ == '__main__':
    main()
