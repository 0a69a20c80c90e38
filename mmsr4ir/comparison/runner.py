"""Run a comparison's parts, several at once, and continue an interrupted one."""

import fcntl
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import torch

from mmsr4ir.engine.resume import ResumeError, resume_point
from mmsr4ir.utils.errors import SR4IRError
from mmsr4ir.utils.files import load_json, whole_file, write_json, write_whole

from .methods import ComparisonError, Part
from .testing import make_test_config

# The arguments of Python that start a training and a test.
COMMANDS = dict(train=['-m', 'mmsr4ir', 'train'], test=['-m', 'mmsr4ir', 'test'])
_CONFIGS = dict(train='config', test='test')


class PartError(SR4IRError, RuntimeError):
    """A part's command has failed; the message is its last line."""


@dataclass
class Progress:
    """How far a part is.

    Attributes:
        state: ``waiting``, ``training``, ``testing``; at the end ``done``, ``failed``
            or ``skipped``.
        reason: Why it failed or was skipped.
        trained: Set when the training has ended, well or not.
        ended: Set when the whole has ended.
    """

    part: Part
    state: str = 'waiting'
    reason: str = ''
    trained: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def record(self) -> dict:
        """Read what :class:`~mmsr4ir.engine.RunRecordHook` wrote; {} without a file."""
        return read_json(self.part.folder / 'train' / 'record.json')


def run_parts(
    parts: Sequence[Part],
    out: Path,
    jobs: int = 1,
    images: int = 8,
    display: Callable[[Sequence[Progress]], None] | None = None,
    metric: str | None = None,
) -> list[Progress]:
    """Train and test every part that is not done yet.

    An interrupted training continues from its last checkpoint. A part that
    fails stops only those that need it.

    Args:
        parts: In an order in which each comes after those that it needs.
        out: Folder of the comparison, which is locked until the end.
        jobs: How many run at once.
        images: Number of test images that are drawn.
        display: Called with all progress several times a second.
        metric: The number that methods are compared by. Where the first test has
            others of its kind and not this one, all is stopped.

    Returns:
        list: The progress of each part, all of them ended.

    Raises:
        ComparisonError: If another comparison works in ``out``, or a part there was
            trained with other settings or from networks that are gone, or the
            tests do not give ``metric``.
    """
    with locked(out) as lock:
        for part in parts:
            write_settings(part, parts)
        for part in parts:
            check_origins(part)
        team = Team(parts, jobs, images, lock, metric)
        with ThreadPoolExecutor(jobs) as pool:
            try:
                futures = [pool.submit(team.run, work) for work in team.works]
                while not all(work.ended.is_set() for work in team.works):
                    if display:
                        display(team.works)
                    time.sleep(0.2)
                for future in futures:
                    future.result()
            except BaseException:  # Ctrl-C too: leave no process behind
                team.stop()
                raise
        if display:
            display(team.works)
        return team.works


class Team:
    """Train and test the parts, each in one thread and its processes.

    Args:
        parts: See :func:`run_parts`.
        jobs: How many run at once.
        images: Number of test images that are drawn.
        lock: File descriptor of the lock, which each process keeps open.
        metric: The number that methods are compared by; None: it is not checked.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        jobs: int,
        images: int,
        lock: int,
        metric: str | None,
    ) -> None:
        # What others wait for comes first.
        needed = {id(need) for part in parts for need in part.needs.values()}
        needed |= {id(part.judge) for part in parts}
        self.works = [
            Progress(part) for part in sorted(parts, key=lambda p: id(p) not in needed)
        ]
        self.by_part = {id(work.part): work for work in self.works}
        self.jobs = jobs
        self.images = images
        self.lock = lock
        self.metric = metric
        self.processes: set[subprocess.Popen] = set()
        self.slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(jobs):
            self.slots.put(slot)
        self.stopped = False

    def run(self, work: Progress) -> None:
        """Do all that a part still lacks; record its failure and do not raise it."""
        try:
            needs = [self.by_part[id(part)] for part in work.part.needs.values()]
            for need in needs:
                need.trained.wait()
            lost = [need for need in needs if not need.part.is_trained]
            if self.stopped or lost:
                work.state = 'skipped'
                work.reason = (
                    f'{lost[0].part.title}, which it needs, {lost[0].state}'
                    if lost
                    else 'stopped'
                )
                return
            self.train_and_test(work)
            work.state = 'done'
        except (PartError, ResumeError, OSError) as error:
            work.state, work.reason = 'failed', str(error)
        finally:
            work.trained.set()
            work.ended.set()

    def train_and_test(self, work: Progress) -> None:
        """Train and test, unless an earlier start has done so.

        A test is done again if it drew another number of images than is asked for now
        (they are spread over the test data, so those of the parts would not match), or
        had another judge.
        """
        part = work.part
        if not part.is_trained:
            work.state = 'training'
            # Before the training: if interrupted, it continues with these networks.
            write_json(part.folder / 'needs.json', origins(part))
            self.call(part, 'train', '--resume')
            last = resume_point(str(part.folder / 'train'), 'auto')
            if last is None:
                raise PartError(f'{part.folder / "train"} has no checkpoint')
            with whole_file(part.checkpoint) as link:
                link.symlink_to(os.path.relpath(last, part.folder))
            write_json(
                part.folder / 'trained.json',
                dict(work.record(), run=uuid4().hex, jobs=self.jobs),
            )
        work.trained.set()
        how = dict(images=self.images, judge=self.judge_of(part))
        tested = read_json(part.folder / 'tested.json')
        if part.is_tested and any(tested.get(k) != v for k, v in how.items()):
            work.state = 'testing'
            shutil.rmtree(part.folder / 'pictures', ignore_errors=True)
            cfg = make_test_config(part, self.images)
            write_whole(part.folder / 'test.py', cfg.pretty_text)
            self.call(part, 'test', '--show-dir', str(part.folder / 'pictures'))
            metrics = max(
                (part.folder / 'test').glob('*/*.json'),
                key=lambda path: path.stat().st_mtime,
            )
            record = read_json(part.folder / 'test' / 'record.json')
            write_json(
                part.folder / 'tested.json',
                dict(metrics=read_json(metrics), **how, **record),
            )
        if part.is_tested and self.metric:
            self.check_metric(part, self.metric)

    def judge_of(self, part: Part) -> str | None:
        """Wait for the part's judge; return its run's name, or None if it failed."""
        if part.judge is None:
            return None
        self.by_part[id(part.judge)].trained.wait()
        if not part.judge.is_trained:
            part.judge = None
            return None
        return read_json(part.judge.folder / 'trained.json').get('run')

    def check_metric(self, part: Part, metric: str) -> None:
        """Check that a test knows the metric, before all others have run.

        A test that gives no metric of this kind proves nothing: MMDetection's test
        gives none if nothing is detected.

        Raises:
            ComparisonError: If the test has metrics of this kind, and not this one;
                all is stopped.
        """
        metrics = read_json(part.folder / 'tested.json')['metrics']
        kind = metric.rpartition('/')[0]
        there = [key for key in metrics if key not in ('time', 'data_time')]
        if kind:
            there = [key for key in there if key.rpartition('/')[0] == kind]
        elif all(key.startswith('sr/') for key in there):
            return
        if there and metric not in there:
            self.stop()
            raise ComparisonError(
                f'the test of {part.title} has no metric {metric!r}; there are '
                f'{sorted(there)}: choose one by --metric. Started again, the '
                'comparison goes on from here'
            )

    def call(self, part: Part, name: str, *arguments: str) -> None:
        """Run one of the package's tools for a part.

        Raises:
            PartError: If the tool failed.
        """
        slot = self.slots.get()
        log = part.folder / f'{name}.log'
        command = tool_command(
            name,
            part.folder / f'{_CONFIGS[name]}.py',
            part.folder / name,
            *arguments,
            checkpoint=part.checkpoint if name == 'test' else None,
        )
        try:
            with log.open('w') as file:
                # The lock is held as long as any process of the comparison lives.
                process = subprocess.Popen(
                    command,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    pass_fds=[self.lock],
                    env=os.environ | slot_settings(slot, self.jobs),
                )
            self.processes.add(process)
            if self.stopped:
                process.terminate()
            code = process.wait()
            self.processes.discard(process)
        finally:
            self.slots.put(slot)
        if code:
            raise PartError(f'{last_line(log)} (the whole output: {log})')

    def stop(self) -> None:
        """End all processes and start no more."""
        self.stopped = True
        for process in list(self.processes):
            process.terminate()


def tool_command(
    name: str, config: Path, work: Path, *more: str, checkpoint: Path | None = None
) -> list[str]:
    """Make the command line of a tool of this package.

    Args:
        name: ``'train'`` or ``'test'``.
        config: The config file.
        work: The work directory.
        *more: Further arguments.
        checkpoint: What to test; None for a training.

    Returns:
        list[str]: The command line, without a data check: the comparison had one.
    """
    files = [config, checkpoint] if checkpoint else [config]
    return [
        sys.executable,
        '-u',
        *COMMANDS[name],
        *map(str, files),
        '--work-dir',
        str(work),
        '--no-data-check',
        *more,
    ]


def slot_settings(slot: int, jobs: int) -> dict[str, str]:
    """Make an environment that keeps parts which run at once apart.

    The CPU cores are shared out, unless ``OMP_NUM_THREADS`` says otherwise, and the
    GPUs are taken in turn.
    """
    settings = dict(PYTHONWARNINGS='ignore')
    if jobs > 1:
        share = max(1, len(os.sched_getaffinity(0)) // jobs)
        settings['OMP_NUM_THREADS'] = os.environ.get('OMP_NUM_THREADS', str(share))
        gpus = [
            gpu for gpu in os.environ.get('CUDA_VISIBLE_DEVICES', '').split(',') if gpu
        ] or [str(i) for i in range(torch.cuda.device_count())]
        if gpus:
            settings['CUDA_VISIBLE_DEVICES'] = gpus[slot % len(gpus)]
    return settings


def write_settings(part: Part, parts: Sequence[Part]) -> None:
    """Write a part's config; check that an earlier start had the same.

    Args:
        part: The one.
        parts: All, among them those that need it.

    Raises:
        ComparisonError: If an earlier start had another config.
    """
    path = part.folder / 'config.py'
    text = part.cfg.pretty_text
    if path.exists():
        if path.read_text() != text:
            folders = [
                part.folder,
                *(other.folder for other in parts if part in other.needs.values()),
            ]
            raise ComparisonError(
                f'{path} is from an earlier start with other settings: choose another '
                f'--out, or remove {" and ".join(map(str, folders))} to train '
                f'{part.title} anew'
                + (', and what takes its network over' if len(folders) > 1 else '')
            )
        return
    write_whole(path, text)


def origins(part: Part) -> dict[str, str | None]:
    """Return the runs that a part's networks come from, by network.

    Each training has a unique name, and a repeated training gets another one.
    """
    return {
        network: read_json(need.folder / 'trained.json').get('run')
        for network, need in part.needs.items()
    }


def check_origins(part: Part) -> None:
    """Check that the networks that a training took over are still there.

    Raises:
        ComparisonError: If a network was trained anew since, or is about to be.
    """
    path = part.folder / 'needs.json'
    if not (part.is_trained or path.exists()):
        return
    now, then = origins(part), read_json(path)
    for network, need in part.needs.items():
        if not need.is_trained or now.get(network) != then.get(network):
            raise ComparisonError(
                f'{part.title} was trained from another {need.title} than that of '
                f'{need.folder}: remove {part.folder} to train it anew too'
            )


@contextmanager
def locked(folder: Path) -> Iterator[int]:
    """Hold a folder for this comparison and its processes alone.

    Raises:
        ComparisonError: If another comparison holds the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / '.lock').open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ComparisonError(
                f'a comparison, or a training that outlived it, is at work in '
                f'{folder}: wait for it or stop it'
            ) from None
        yield file.fileno()


def read_json(path: Path) -> dict:
    """Return a JSON file's content, {} if there is no such file.

    Raises:
        ComparisonError: If the file holds anything else than a dict.
    """
    try:
        content = load_json(path) if path.exists() else {}
    except ValueError as error:
        raise ComparisonError(f'{error}: remove it') from error
    if not isinstance(content, dict):
        raise ComparisonError(f'{path} holds no JSON object: remove it')
    return content


def last_line(log: Path) -> str:
    """Return the last line of a log that says something, where errors stand."""
    lines = [line.strip() for line in log.read_text(errors='replace').splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if line.startswith('error: ')]
    return (errors or lines or ['no output'])[-1][:300]
