"""The coverage page: which families there are, and what came of trying them.

The page is its own data. A row names a family and its config, or why the family is out
of scope; :func:`update` writes results into the rows. A new family is a new row, with
``-`` in the cells of the result and the losses.
"""

import platform
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

PAGE = Path(__file__).parents[2] / 'docs/en/coverage.md'
SR_HEADING, OUT_HEADING = 'SR networks', 'Out of scope'
Results = Mapping[tuple[str, str], Mapping]


class Row(NamedTuple):
    """A row of one of the page's tables.

    Args:
        number: The number of its line, from 0.
        heading: The heading above it; empty in the summary.
        cells: The texts of its cells.
    """

    number: int
    heading: str
    cells: list[str]


def rows(text: str) -> Iterator[Row]:
    """Yield the rows of all tables of a page, without their heads."""
    heading, lines = '', text.splitlines()
    for number, line in enumerate(lines):
        if line.startswith('## '):
            heading = line[3:]
        is_head = '| ---' in ''.join(lines[number : number + 2])
        if line.startswith('| ') and not is_head:
            yield Row(number, heading, line[2:-2].split(' | '))


def families(text: str) -> dict[str, dict[str, str]]:
    """Return the families to try: library, family, and the name of its config."""
    found: dict[str, dict[str, str]] = {}
    for row in rows(text):
        if row.heading not in ('', SR_HEADING, OUT_HEADING):
            family, config = row.cells[:2]
            found.setdefault(row.heading, {})[family] = config.strip('`')
    return found


def out_of_scope(text: str) -> dict[str, set[str]]:
    """Return the families that are not to be tried, by library."""
    found: dict[str, set[str]] = {}
    for row in rows(text):
        if row.heading == OUT_HEADING:
            found.setdefault(row.cells[0], set()).update(row.cells[1].split(', '))
    return found


def update(text: str, results: Results) -> str:
    """Return the page with new results, and counted anew.

    Args:
        text: The page.
        results: What each trial returned, or ``error``, by library and family. A row
            without one stays as it is.
    """
    lines = text.splitlines()
    words: dict[str, list[str]] = {}
    summary = []
    for number, heading, cells in rows(text):
        if not heading:
            summary.append((number, cells[0]))
            continue
        if heading == OUT_HEADING:
            names = cells[1].split(', ')
            words.setdefault(cells[0], []).extend(['out of scope'] * len(names))
            continue
        key = (cells[0], cells[1]) if heading == SR_HEADING else (heading, cells[0])
        result = results.get(key)
        first = 3 if heading == SR_HEADING else 2
        if result is not None:
            cells[first : first + 2] = outcome(result)
            if heading == SR_HEADING:
                tiles = result.get('tiles')
                cells[5] = '-' if tiles is None else f'{tiles:.2g}'
            lines[number] = _line(cells)
        if key[0] != 'spandrel':  # which is no zoo of families
            words.setdefault(key[0], []).append(word(cells[first]))
    for number, name in summary:
        chosen = words.get(name) or sum(words.values(), [])
        counts = [
            chosen.count(one) for one in ('green', 'red', 'not tried', 'out of scope')
        ]
        percent = f'{100 * counts[0] / sum(counts[:3]):.0f} %'
        lines[number] = _line([name, *map(str, counts), percent])
    # The last row of the summary is that of all libraries.
    text = re.sub(
        r'^\d+ of the \d+ families .*$',
        f'{counts[0]} of the {sum(counts[:3])} families in scope are green '
        f'({percent}), {counts[1]} red and {counts[2]} not tried; {counts[3]} families '
        'are out of scope.',
        '\n'.join(lines) + '\n',
        flags=re.MULTILINE,
    )
    versions = f'on Python {platform.python_version()} and torch {torch.__version__},'
    return re.sub(r'on Python \S+ and torch \S+,', versions, text)


def word(cell: str) -> str:
    """Return what the cell of a result says: ``green``, ``red`` or ``not tried``."""
    if cell == 'green':
        return cell
    return 'red' if cell.startswith('**red**') else 'not tried'


def outcome(result: Mapping) -> tuple[str, str]:
    """Return the cells of the result and of the losses."""
    if 'error' in result:
        # The first sentence; what follows may be paths of this machine.
        reason = result['error'].split('. ')[0][:200]
        reason = reason.replace('|', '\\|').replace('<', '&lt;')
        return f'**red** {reason}', '-'
    return 'green', ', '.join(f'{value:.3g}' for value in result['losses'].values())


def _line(cells: list[str]) -> str:
    return f'| {" | ".join(cells)} |'
