"""Kill ``tools/train.py`` at random moments, resume it, compare with a run never cut.

    python tests/helpers/kill_command_line.py [--moments 10] [--seed 0] [--json FILE]

The command line itself, on the embedded data, with the networks of long_run.py and a
loader worker: 60 iterations in 4 epochs, 2 validations, a checkpoint every seventh
iteration. Compared are all that it logs but times, and the last checkpoint. (Each start
imports for some seconds; kill_and_resume.py forks toys, and so kills more often.)
"""

import argparse
import json
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from kill_and_resume import final_state
from long_run import ROOT, command

SETTINGS = dict(
    train_cfg__max_epochs=4,
    train_cfg__val_interval=2,
    randomness__seed=3,
    train_dataloader__batch_size=4,
    train_dataloader__dataset__indices=60,
    val_dataloader__dataset__indices=8,
    default_hooks__logger__interval=1,
    default_hooks__checkpoint__interval=7,
    default_hooks__checkpoint__by_epoch=False,
)


def start(folder: Path, resume: bool) -> subprocess.Popen:
    """Start the tool as a user does; its folder is ``folder/work``."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / 'output.txt', 'a') as log:
        return subprocess.Popen(
            command(folder / 'work', *['--resume'] * resume, **SETTINGS),
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )


def runs(folder: Path) -> int:
    """How many times it was started and came so far that it logs."""
    return len(list((folder / 'work').glob('*/vis_data')))


def lines(folder: Path) -> int:
    """How many lines of iterations and validations are logged, of all starts."""
    return sum(map(len, logged(folder).values()))


def attempt(
    folder: Path,
    resume: bool,
    seconds: float | None,
    since: Callable[[Path], int] = runs,
) -> float | None:
    """Run until the end, or for so long after the imports or the first line logged.

    Returns:
        float | None: How long it took to the end; None if it was killed.

    Raises:
        RuntimeError: It failed.
    """
    before = since(folder)
    process = start(folder, resume)
    began = None
    while process.poll() is None:
        time.sleep(0.01)
        if began is None and since(folder) > before:
            began = time.monotonic()
        if None not in (began, seconds) and time.monotonic() - began > seconds:
            process.kill()
            process.wait()
            return None
    if process.returncode:
        raise RuntimeError((folder / 'output.txt').read_text()[-3000:])
    return time.monotonic() - began


def logged(folder: Path) -> dict[str, list[dict]]:
    """All that was logged of each iteration and validation, but times."""
    found = {}
    for path in sorted((folder / 'work').glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                values = json.loads(line)
            except ValueError:  # a kill cut it
                continue
            name = f'{"iteration" if "iter" in values else "epoch"} {values["step"]}'
            found.setdefault(name, []).append(
                {k: v for k, v in values.items() if k not in ('time', 'data_time')}
            )
    return found


def check(moments: int, root: Path, draw: random.Random) -> dict:
    """Run it whole and cut, and compare."""
    whole, cut = root / 'whole', root / 'cut'
    seconds = attempt(whole, False, None)
    reference, end = logged(whole), final_state(whole)
    seen, at, ends = [], [], []

    def compare():
        ends.append(final_state(cut) == end)
        seen.append(logged(cut))
        shutil.rmtree(cut)

    while len(at) < moments:
        since = (runs, lines, lines)[len(at) % 3]
        if attempt(cut, cut.exists(), draw.uniform(0, seconds / 3), since) is None:
            at.append(lines(cut))
        else:  # through: begin anew
            compare()
    attempt(cut, True, None)
    compare()
    again = [
        (name, line) for run in seen for name, found in run.items() for line in found
    ]
    different = [one for one in again if one[1] != reference[one[0]][0]]
    return dict(
        killed=len(at),
        lines_of_a_run=len(reference),
        lines_at_the_kills=at,
        compared=len(again),
        different=len(different),
        missing=sum(name not in run for run in seen for name in reference),
        ends=len(ends),
        equal_ends=sum(ends),
        example=different[:1],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--moments', type=int, default=10)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', type=Path)
    args = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
        result = check(args.moments, Path(root), random.Random(args.seed))
    result['minutes'] = round((time.monotonic() - start) / 60, 1)
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result))


if __name__ == '__main__':
    main()
