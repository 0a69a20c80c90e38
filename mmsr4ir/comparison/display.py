"""What a person sees while a comparison runs."""

import time
from collections.abc import Sequence
from datetime import timedelta

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from .runner import Progress

_COLOURS = dict(
    training='cyan',
    testing='cyan',
    done='green',
    failed='red',
    skipped='yellow',
    waiting='dim',
)


class Display:
    """A live table of all parts; plain lines where the output is no terminal.

    Args:
        console: Where to write; standard output by default.
        interval: Seconds between two plain lines of a part.
    """

    def __init__(self, console: Console | None = None, interval: float = 30.0) -> None:
        self.console = console or Console()
        self.interval = interval
        self._live = Live(console=self.console, refresh_per_second=2)
        self._told: dict[int, tuple[str, float]] = {}

    def __enter__(self) -> 'Display':
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def __call__(self, works: Sequence[Progress]) -> None:
        """Show the progress of all parts."""
        if self.console.is_terminal:
            self._live.update(progress_table(works))
            return
        for work in works:
            state, when = self._told.get(id(work), ('waiting', 0.0))
            now = time.monotonic()
            if work.state != state or (
                work.state == 'training' and now - when > self.interval
            ):
                self._told[id(work)] = work.state, now
                text = f'{work.part.title}: {work.state} {position(work)}'
                # What a tool says in brackets is no markup.
                self.console.print(Text(text.rstrip()), soft_wrap=True)


def position(work: Progress) -> str:
    """Say where a training is and how long it takes, or why a part failed."""
    if work.reason:
        return f'({work.reason})'
    record = work.record()
    if work.state != 'training' or not record:
        return ''
    left = ''
    if record['iter_time']:
        seconds = round(record['iter_time'] * (record['iters'] - record['iter']))
        left = f', {timedelta(seconds=seconds)} left'
    epoch = min(record['epoch'] + 1, record['epochs'])
    return (
        f'epoch {epoch}/{record["epochs"]}, iteration '
        f'{record["iter"]}/{record["iters"]}{left}'
    )


def progress_table(works: Sequence[Progress]) -> Table:
    """Make a table with a row for each part."""
    table = Table(box=None)
    for name in ('method', 'seed', 'state', '', ''):
        table.add_column(name)
    for work in works:
        record = work.record()
        share = record['iter'] / record['iters'] if record else 0.0
        table.add_row(
            work.part.info.title,
            str(work.part.seed),
            f'[{_COLOURS[work.state]}]{work.state}',
            ProgressBar(
                total=1.0, completed=1.0 if work.state == 'done' else share, width=24
            ),
            Text(position(work)),
        )
    return table
