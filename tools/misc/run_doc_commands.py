"""Run the commands of README.md and docs/en as a reader does, page by page.

A page is read in a simple way, so that a writer needs no marks:

- Each line of a block ``shell``, ``bash`` or ``sh`` is a command; a line that ends with
  a backslash goes on.
- A block ``python`` whose first line is a comment with a path, as
  ``# configs/sr4ir/mine.py``, is that file. It is written before what follows is run.
- What is in :data:`NOT_RUN` is not run; all the rest is. A page may use what the
  commands of README.md have made, and nothing of another page; a command that stands
  in README.md too has been run.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LANGUAGES = ('shell', 'bash', 'sh')
_FENCE = re.compile(r'^ *```(.*?) *$')
_NAMED = re.compile(r'^# ([\w./-]+\.py)$')
#: Commands that cannot be run here (a pattern, and the reason). Their arguments and the
#: files that they name are checked all the same, by tests/test_docs.py.
NOT_RUN = {
    'git clone *': 'needs the address of the repository and a network',
    '. .venv/bin/activate': 'the environment of this interpreter is used',
    'make *': 'takes minutes; CI sets up, lints and tests, and its tests run the demo',
    '*pip install *': 'needs a network; `make setup` installs in the same way',
    '* CONFIG*': 'CONFIG stands for any config',
    'NNODES=*': 'needs several machines',
    '*tools/dist_* configs/*_coco.py*': 'COCO must be downloaded',
    '*tools/train.py configs/*_coco.py*': 'COCO must be downloaded',
    '*published2mmsr4ir.py *': "needs the authors' files; "
    'tests/test_cli/test_published_converter.py makes some',
    '*sr4ir_det_x8.pth*': "needs the authors' files and PASCAL VOC",
    '*/BCCD*': 'BCCD must be downloaded',
    '*/photos*': 'the photographs must be downloaded',
    '*_photos*': 'the photographs must be downloaded',
    '*_cars.py*': 'the photographs must be downloaded',
    '*_bccd.py*': 'BCCD must be downloaded',
    '*_camvid.py*': 'CamVid must be downloaded',
    '*_cifar10.py*': 'CIFAR-10 must be downloaded',
    '* clip.mp4 *': 'clip.mp4 stands for any video; tests/test_cli/test_demos.py '
    'makes one',
    '*demo/web_demo.py *': 'serves until it is interrupted; '
    'tests/test_cli/test_web.py runs it',
    '* large.png *': 'takes half an hour; the figure is in the performance report',
    '*benchmark_train.py * compile *': 'needs a C++ compiler, and minutes',
    '*tools/slurm_*': 'needs Slurm',
}
#: What makes a command short: options put behind it, by the tool.
SHORTER = {
    'tools/dataset_converters/make_textured_shapes.py': '--num-train 8 --num-val 4',
    'tools/analysis_tools/benchmark_inference.py': '--iterations 2 --warmup 1',
    'tools/analysis_tools/benchmark_train.py': '--iterations 1 --warmup 1 --no-memory',
    'tools/compare.py': '--seeds 0 --methods h2t',
    'tests/helpers/kill_command_line.py': '--moments 2',
    'tests/helpers/long_run.py': '--iterations 240 --steady 60',
}
# What does not belong to a checkout.
_LEFT_OUT = shutil.ignore_patterns(
    '.*',
    'data',
    'work_dirs',
    'demo_output',
    'build',
    'dist',
    '*.egg-info',
    '__pycache__',
    'checkpoints',
)


@dataclass(frozen=True)
class Command:
    """A command of a page, with its number of the line."""

    page: str
    line: int
    text: str

    @property
    def where(self) -> str:
        """The page and the line."""
        return f'{self.page}:{self.line}'

    @property
    def reason(self) -> str | None:
        """Why it is not run; None if it is."""
        return next(
            (
                reason
                for pattern, reason in NOT_RUN.items()
                if fnmatchcase(self.text, pattern)
            ),
            None,
        )

    @property
    def shortened(self) -> str:
        """What is run in its place."""
        words = shlex.split(self.text)
        more = [options for tool, options in SHORTER.items() if tool in words]
        return ' '.join([self.text, *more])


@dataclass(frozen=True)
class File:
    """A file that a page tells the reader to write."""

    page: str
    path: str
    content: str


def list_pages() -> list[str]:
    """Return README.md and the pages of docs/en.

    Returns:
        list[str]: README.md, docs/en/index.md, the guides in the order of its links
            and the reports by their names.
    """
    index = 'docs/en/index.md'
    linked = re.findall(r'\]\(([\w-]+\.md)\)', (ROOT / index).read_text())
    guides = [f'docs/en/{name}' for name in dict.fromkeys(linked)]
    reports = sorted((ROOT / 'docs/en/reports').glob('*.md'))
    return [
        'README.md',
        index,
        *guides,
        *(report.relative_to(ROOT).as_posix() for report in reports),
    ]


def read_page(page: str, text: str) -> Iterator[Command | File]:
    """Yield the commands and files of a page in their order."""
    for language, first, lines in blocks(text):
        named = _NAMED.match(lines[0]) if lines else None
        if language == 'python' and named:
            yield File(page, named[1], '\n'.join(lines) + '\n')
        if language in _LANGUAGES:
            command, start = '', 0
            for number, line in enumerate(lines, first):
                start = start if command else number
                command += line.strip().removesuffix('\\')
                if not line.endswith('\\'):
                    if command and not command.startswith('#'):
                        yield Command(page, start, command)
                    command = ''


def blocks(text: str) -> Iterator[tuple[str, int, list[str]]]:
    """Language, number of the first line, and lines of each fenced block."""
    language, first, lines = None, 0, []
    for number, line in enumerate(text.splitlines(), 1):
        fence = _FENCE.match(line)
        if not fence:
            lines.append(line)
        elif language is None:
            language, first, lines = fence[1], number + 1, []
        else:
            yield language, first, lines
            language = None


def run_page(
    page: str, folder: Path, known: Collection[str] = ()
) -> tuple[list[str], str | None]:
    """Run a page's commands up to the first that fails.

    Args:
        page: The page.
        folder: A copy of the repository.
        known: Commands that were run there before.

    Returns:
        tuple: What ran, and the end of the failed one's output or None.
    """
    done = []
    for part in read_page(page, (folder / page).read_text()):
        if isinstance(part, File):
            (folder / part.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / part.path).write_text(part.content)
        elif not part.reason and part.text not in known:
            start = time.time()
            process = subprocess.run(
                ['bash', '-euo', 'pipefail', '-c', part.shortened],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment(folder),
            )
            print(
                f'{time.time() - start:6.1f} s  {part.where}: {part.shortened}',
                flush=True,
            )
            done.append(part.text)
            if process.returncode:
                return done, (
                    f'{process.stdout[-3000:]}\nerror: {part.where}: this '
                    f'command failed: {part.shortened}'
                )
    return done, None


def environment(folder: Path) -> dict[str, str]:
    """Make this interpreter ``python`` and this checkout's copy the package."""
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    own = dict(PATH=path, PYTHONPATH=str(folder), PYTHONWARNINGS='ignore')
    return dict(OMP_NUM_THREADS='1') | os.environ | own


def run_pages(pages: Sequence[str], jobs: int) -> str | None:
    """Run README.md, then the pages, each in a copy of the folder that README.md left.

    Returns:
        str | None: What failed.
    """
    begin = time.time()
    with tempfile.TemporaryDirectory(prefix='mmsr4ir_docs_') as temporary:
        first = Path(temporary) / 'README' / 'mmsr4ir'
        shutil.copytree(ROOT, first, ignore=_LEFT_OUT)
        known, failed = run_page('README.md', first)
        if failed:
            return failed

        def work(page: str) -> tuple[list[str], str | None]:
            folder = Path(temporary) / page.replace('/', '_') / 'mmsr4ir'
            shutil.copytree(first, folder)
            return run_page(page, folder, known)

        with ThreadPoolExecutor(jobs) as pool:
            results = list(pool.map(work, [p for p in pages if p != 'README.md']))
    count = len(known) + sum(len(done) for done, _ in results)
    print(f'{count} commands ran in {time.time() - begin:.0f} s')
    return '\n'.join(text for _, text in results if text) or None


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Run the commands of README.md and docs/en in temporary copies of '
        'this folder, on a smaller data set: those of README.md first, then those of '
        'each page on top of what README.md has made. Exit code 1 with the output of '
        'what fails.',
        epilog='What is not run, and why, is the list NOT_RUN in this file.',
    )
    parser.add_argument(
        '--list', action='store_true', help='only show what is run and what is not'
    )
    parser.add_argument(
        '--pages',
        nargs='+',
        metavar='PAGE',
        help='README.md and only these, as docs/en/configs.md (default: all)',
    )
    parser.add_argument(
        '--jobs', type=int, default=2, metavar='N', help='pages at once (default: 2)'
    )
    args = parser.parse_args()
    unknown = set(args.pages or ()) - set(list_pages())
    if unknown:
        parser.error(f'--pages {sorted(unknown)}: there are {list_pages()}')
    if args.jobs < 1:
        parser.error('--jobs must be at least 1')
    return args


def main() -> None:
    """Run the command line."""
    args = parse_args()
    pages = args.pages or list_pages()
    if args.list:
        for page in pages:
            for part in read_page(page, (ROOT / page).read_text()):
                if isinstance(part, Command):
                    print(
                        f'{part.where}: {part.text}'
                        + (f'  [not run: {part.reason}]' if part.reason else '')
                    )
        return
    failed = run_pages(pages, args.jobs)
    if failed:
        sys.exit(failed)


if __name__ == '__main__':
    main()
