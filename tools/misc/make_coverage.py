"""Try every family on the coverage page under SR4IR and write the results into it.

Each trial runs in a process of its own, within limits of time and memory, and leaves a
JSON file in the work directory, so that a sweep can be interrupted and continued. The
page is updated from these files.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch
from zoo_data import make_data
from zoo_families import SETTINGS, SR_NETWORKS
from zoo_networks import SPANDREL, sr_trial
from zoo_page import PAGE, families, update
from zoo_trial import CPU_LIMIT, MEMORY_LIMIT, trial

FAMILIES = families(PAGE.read_text(encoding='utf-8'))


def trials() -> Iterator[tuple[str, str]]:
    """Yield everything that is tried: library, and family or network."""
    for library, configs in FAMILIES.items():
        for family in configs:
            yield library, family
    for family in SR_NETWORKS:
        yield 'mmagic', family
    for arch in SPANDREL:
        yield 'spandrel', arch


def attempt(library: str, family: str, work: Path) -> dict:
    """Make one trial in this process; return its result.

    Args:
        library: As :func:`trials` yields it.
        family: As :func:`trials` yields it.
        work: The work directory of the sweep.
    """
    if library in FAMILIES:
        settings = SETTINGS.get((library, family), {})
        name = FAMILIES[library][family]
        folder = work / 'runs' / f'{library}-{family}'
        try:
            return trial(library, family, name, settings, work / 'data', folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return sr_trial(library, family)


def _in_child(library: str, family: str, work: Path, result: Path) -> None:
    with (work / 'logs' / f'{result.stem}.txt').open('w') as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
        torch.set_num_threads(1)
        try:
            outcome = attempt(library, family, work)
        except Exception as error:  # whatever goes wrong is the result
            traceback.print_exc()
            first = (str(error).strip() or '-').splitlines()[0]
            outcome = dict(error=f'{type(error).__name__}: {first}'[:400])
        result.write_text(json.dumps(outcome))
        log.flush()
        os._exit(0)  # nothing of the training needs an end in order


def sweep(wanted: list[tuple[str, str]], work: Path) -> None:
    """Make trials one after the other, each in a process forked from this one."""
    processes = multiprocessing.get_context('fork')
    for library, family in wanted:
        result = work / f'{library}-{family}.json'
        start = time.time()
        child = processes.Process(
            target=_in_child, args=(library, family, work, result)
        )
        child.start()
        child.join(10 * CPU_LIMIT)  # a machine that does other work is no failure
        if child.is_alive():
            child.kill()
            child.join()
        if not result.exists():
            reason = f'ended by signal {-(child.exitcode or 0)}: too long or too large'
            result.write_text(json.dumps(dict(error=reason)))
        outcome = json.loads(result.read_text())
        word = outcome.get('error', 'green')
        print(f'{library} {family}: {word} ({time.time() - start:.0f} s)', flush=True)


def prepare(libraries: set[str], work: Path) -> None:
    """Write the data, and import what all trials of some libraries use, once."""
    for folder in ('logs', 'runs'):
        (work / folder).mkdir(parents=True, exist_ok=True)
    if libraries & set(FAMILIES) and not (work / 'data').exists():
        make_data(work / 'data')
    if 'mmseg' in libraries:
        import mmseg.models  # noqa: F401
    if 'mmdet' in libraries:
        import mmdet.models  # noqa: F401
    if libraries:
        import mmpretrain.models  # noqa: F401


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out',
        default=str(PAGE),
        help='where to write the page (default: over itself, %(default)s)',
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/coverage',
        help='folder of results, which are not made again (default: %(default)s)',
    )
    parser.add_argument(
        '--only',
        default='',
        metavar='TEXT',
        help='try only what has this in its library and family, as "mmdet detr"',
    )
    parser.add_argument(
        '--retry', action='store_true', help='try again what failed before'
    )
    parser.add_argument(
        '--write', action='store_true', help='try nothing, write the page'
    )
    args = parser.parse_args()
    work = Path(args.work_dir).absolute()
    wanted = [one for one in trials() if args.only in ' '.join(one)]
    if not wanted:
        sys.exit(f'error: nothing has {args.only!r} in its name')
    if not args.write:
        for library, family in wanted:
            result = work / f'{library}-{family}.json'
            with contextlib.suppress(FileNotFoundError):
                if args.retry and 'error' in json.loads(result.read_text()):
                    result.unlink()
        wanted = [
            one for one in wanted if not (work / f'{one[0]}-{one[1]}.json').exists()
        ]
        prepare({library for library, _ in wanted}, work)
        sweep(wanted, work)
    results = {
        (library, family): json.loads(path.read_text())
        for library, family in trials()
        if (path := work / f'{library}-{family}.json').exists()
    }
    if args.write or not args.only:
        text = update(PAGE.read_text(encoding='utf-8'), results)
        Path(args.out).write_text(text, encoding='utf-8')


if __name__ == '__main__':
    main()
