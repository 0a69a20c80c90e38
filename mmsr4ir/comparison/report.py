"""From finished parts to tables, a chart and picture grids."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsr4ir.utils.files import write_whole
from mmsr4ir.utils.tables import markdown_table

from .methods import METHODS
from .pictures import bar_chart, stack_pictures
from .results import QUALITY, collect, conditions, fairness, finite
from .runner import PANELS, Progress


def markdown(report: dict) -> str:
    """Return the table with what is needed to read it."""
    methods = report['methods']
    quality = [name for name in QUALITY if any(name in row for row in methods.values())]
    head = [
        'method',
        report['metric'],
        'gap closed in %',
        *({'PSNR': 'PSNR in dB'}.get(n, n) for n in quality),
        's per iteration',
        'S: parameters',
        'T: parameters',
        'S: FLOPs',
        'T: FLOPs',
    ]
    rows = []
    sizes = report['complexity']
    for method, row in methods.items():

        def show(key: str, form: str, factor: float = 1.0, row: dict = row) -> str:
            if key not in row:
                return '-'
            found = row[key]
            text = f'{factor * found["mean"]:{form}}'
            if found['std'] is not None:
                text += f' ± {factor * found["std"]:{form}}'
            seeds = len(row['runs'])
            if found['runs'] < seeds:
                text += f' ({found["runs"]} of {seeds} seeds)'
            return text

        cells = [
            show('task', '.3f'),
            show('gap_closed', '.1f', 100.0),
            *(show(name, QUALITY[name]) for name in quality),
            show('iter_time', '.3f'),
        ]
        restores = METHODS[method].restores
        for what in ('params', 'flops'):
            cells += [
                _short(sizes.get('sr', {}).get(what)) if restores else '0',
                _short(sizes.get('task', {}).get(what)),
            ]
        rows.append([row['title'], *cells])
    lines = [markdown_table(head, rows)]
    lost = [
        f'- {row["title"]} seed {seed}: {run["state"]}: {run["reason"]}'
        for row in methods.values()
        for seed, run in row['runs'].items()
        if run['state'] != 'done'
    ]
    if lost:
        lines += ['', 'Missing:', '', *lost]
    seeds = ', '.join(map(str, report['seeds']))
    several = len(report['seeds']) > 1
    lines += [
        '',
        f'`{report["config"]}`; seeds {seeds}'
        + ('; mean ± standard deviation over the seeds' if several else '')
        + '. Gap closed: (method - L→T) / (H→T - L→T), for each seed. The time of an '
        'iteration is its median, with loading'
        + _taken(report['times'])
        + '. FLOPs are those of one image; a multiply-add counts as 2.',
        '',
        'What the methods had in common:',
        '',
        *(f'- {t}' for t in report['fairness']),
    ]
    return '\n'.join(lines) + '\n'


def _taken(times: Sequence[Mapping]) -> str:
    """Say under which conditions times were taken, and which are not comparable."""
    texts = [
        f'{group["jobs"] or "an unknown number"} at once, '
        f'{group["machine"] or "an unknown machine"}'
        for group in times
    ]
    if len(times) < 2:
        return ''.join(f'; {text}' for text in texts)
    return '; **not under the same conditions**: ' + '; '.join(
        f'{text} ({", ".join(group["runs"])})'
        for text, group in zip(texts, times, strict=True)
    )


def table_csv(report: dict) -> str:
    """Return the raw numbers, one row for each method and seed."""
    columns = ['method', 'seed', 'state', 'task', 'gap_closed', *QUALITY, 'iter_time']
    sizes = [
        (network, what) for what in ('params', 'flops') for network in ('sr', 'task')
    ]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(
        [
            *(report['metric'] if c == 'task' else c for c in columns),
            *(f'{network}_{what}' for network, what in sizes),
        ]
    )
    for method, row in report['methods'].items():
        for seed, run in row['runs'].items():
            values = dict(run, method=method, seed=seed)
            writer.writerow(
                [
                    *(values.get(c, '') for c in columns),
                    *(
                        0
                        if network == 'sr' and not METHODS[method].restores
                        else report['complexity'].get(network, {}).get(what, '')
                        for network, what in sizes
                    ),
                ]
            )
    return text.getvalue()


def write_report(
    works: Sequence[Progress],
    cfg: Config,
    methods: Sequence[str],
    metric: str,
    complexity: dict,
    out: Path,
) -> dict:
    """Write ``results.{md,csv,json,png}`` and ``grids/*.png``.

    What an earlier report wrote stays readable whatever happens.

    Args:
        works: All parts, ended.
        cfg: The config that the user gave.
        methods: The methods compared.
        metric: Key of the task metric.
        complexity: Of :func:`mmsr4ir.analysis.complexity.complexity`, or {}.
        out: Folder.

    Returns:
        dict: What the JSON file holds.

    Raises:
        OSError: If a file cannot be written.
    """
    complexity = {  # what could not be counted is NaN
        network: {key: finite(value) for key, value in row.items()}
        for network, row in complexity.items()
    }
    report: dict[str, Any] = dict(
        config=str(cfg.filename),
        metric=metric,
        seeds=sorted({work.part.seed for work in works}),
        methods=collect(works, methods, metric),
        complexity=complexity,
        fairness=fairness(works, cfg),
    )
    report['times'] = conditions(report['methods'])
    write_whole(out / 'results.json', json.dumps(report, indent=1, allow_nan=False))
    write_whole(out / 'results.csv', table_csv(report))
    write_whole(out / 'results.md', markdown(report))
    write_whole(out / 'results.png', bar_chart(report))
    seed = report['seeds'][0]
    rows = {
        work.part.info.title: work.part.folder / 'pictures'
        for work in works
        if work.part.seed == seed
        and work.part.method in methods
        and work.state == 'done'
    }
    for name, picture in stack_pictures(rows, len(PANELS)):
        write_whole(out / 'grids' / name, picture)
    return report


def _short(number: float | None) -> str:
    if number is None:
        return '-'
    for size, unit in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if number >= size:
            return f'{number / size:.3g} {unit}'
    return f'{number:.0f}'
