"""From finished parts to tables, a chart and picture grids."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsr4ir.models.recipes import NETWORKS
from mmsr4ir.utils.files import write_whole
from mmsr4ir.utils.tables import markdown_table

from .breakdown import breakdown
from .costs import ITERATIONS
from .flips import draw_flips
from .methods import METHODS
from .pictures import bar_chart, stack_pictures, trade_off
from .results import QUALITY, collect, conditions, fairness, finite
from .runner import Progress
from .testing import PANELS, load_record
from .verdict import Verdict, decide

#: So many images of each kind are drawn where SR changes the answer.
FLIPS = 4
_TFD = (
    ' TFD: the distance of the features of H→T (same seed) of the image and of its HR '
    'image; 0 is equal.'
)


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
    ]
    rows = []
    for row in methods.values():

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
        rows.append([row['title'], *cells])
    lines = [report['verdict']['text'], '', markdown_table(head, rows)]
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
        + '.'
        + (_TFD if 'TFD' in quality else ''),
        '',
        'What an image costs at inference:',
        '',
        costs_table(report),
        '',
        *([*report['breakdown'], ''] if report['breakdown'] else []),
        *(f'- {line}' for line in report['flips']),
        *[''] * bool(report['flips']),
        'What the networks of each method had in all, with the runs that they come '
        'from (first seed):',
        '',
        totals_table(report),
        '',
        'What the methods had in common:',
        '',
        *(f'- {t}' for t in report['fairness']),
    ]
    return '\n'.join(lines) + '\n'


def costs_table(report: Mapping) -> str:
    """Return what an image costs at inference, by method."""
    head = ['method', 'S: ms', 'T: ms', 'peak MiB']
    head += [f'{n}: {w}' for w in ('parameters', 'FLOPs') for n in 'ST']
    sizes, rows = report['complexity'], []
    for method, row in report['methods'].items():
        cost = report['inference'].get(method, {})
        restores = METHODS[method].restores
        cells = [
            f'{cost["sr_ms"]:.1f}' if 'sr_ms' in cost else '-',
            f'{cost["task_ms"]:.1f}' if 'task_ms' in cost else '-',
            f'{cost["mib"]:.0f}' if 'mib' in cost else '-',
        ]
        for what in ('params', 'flops'):
            cells += [
                _short(sizes.get('sr', {}).get(what)) if restores else '0',
                _short(sizes.get('task', {}).get(what)),
            ]
        rows.append([row['title'], *cells])
    known = [cost for cost in report['inference'].values() if 'sr_ms' in cost]
    failed = {c['reason'] for c in report['inference'].values() if 'reason' in c}
    lines = [markdown_table(head, rows), '']
    if known:
        lines.append(
            f'Times are medians of {ITERATIONS} images, one at a time, on '
            f'{known[0]["machine"]}; T with its post-processing. The peak is that of '
            f'the {known[0]["of"]}. '
        )
    lines += [f'Not timed: {reason}. ' for reason in sorted(failed)]
    lines.append('FLOPs are those of one image; a multiply-add counts as 2.')
    return '\n'.join(lines)


def totals_table(report: Mapping) -> str:
    """Return what each method's networks were trained with in all."""
    head = [
        'method',
        *(f'{what} of {name}' for name in 'ST' for what in ('updates', 'images')),
        'hours',
        'teacher',
    ]
    rows = []
    for row in report['methods'].values():
        run = row['runs'].get(report['seeds'][0], {})
        total = run.get('total')
        rows.append(
            [
                row['title'],
                *(
                    [
                        *(
                            f'{total[what][network]:,}'
                            for network in NETWORKS
                            for what in ('updates', 'images')
                        ),
                        f'{total["hours"]:.2f}',
                        'yes' if total['teacher'] else 'no',
                    ]
                    if total
                    else '-' * (len(head) - 1)
                ),
            ]
        )
    return markdown_table(head, rows)


def _taken(times: Sequence[Mapping]) -> str:
    """Say under which conditions times were taken, and which are not comparable."""
    texts = [f'{group["jobs"]} at once, {group["machine"]}' for group in times]
    if len(times) < 2:
        return ''.join(f'; {text}' for text in texts)
    return '; **not under the same conditions**: ' + '; '.join(
        f'{text} ({", ".join(group["runs"])})'
        for text, group in zip(texts, times, strict=True)
    )


def table_csv(report: dict) -> str:
    """Return the raw numbers, one row for each method and seed."""
    metric = report['metric']
    columns = ['method', 'seed', 'state', metric, 'gap_closed', *QUALITY, 'iter_time']
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval='', extrasaction='ignore')
    writer.writeheader()
    for method, row in report['methods'].items():
        for seed, run in row['runs'].items():
            number = {metric: run.get('task')}
            writer.writerow(run | number | dict(method=method, seed=seed))
    return text.getvalue()


def write_report(
    works: Sequence[Progress],
    cfg: Config,
    methods: Sequence[str],
    metric: str,
    complexity: dict,
    out: Path,
    inference: dict | None = None,
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
        inference: Of :func:`.costs.inference_costs`, or None.

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
        inference=inference or {},
        fairness=fairness(works, cfg),
    )
    records = {
        (work.part.method, work.part.seed): load_record(work.part)
        for work in works
        if work.state == 'done' and work.part.method in methods
    }
    cost = {
        method: dict(ms=found['sr_ms'] + found['task_ms'], mib=found['mib'])
        for method, found in report['inference'].items()
        if 'sr_ms' in found
    }
    verdict = decide(report['methods'], records, metric, cost=cost)
    report['verdict'] = asdict(verdict)
    report['flips'] = drawn_flips(works, verdict, report['seeds'][0], out)
    report['breakdown'] = breakdown(report['methods'], records, metric)
    report['times'] = conditions(report['methods'])
    write_whole(out / 'results.json', json.dumps(report, indent=1, allow_nan=False))
    write_whole(out / 'results.csv', table_csv(report))
    write_whole(out / 'results.md', markdown(report))
    write_whole(out / 'results.png', bar_chart(report))
    if chart := trade_off(report):
        write_whole(out / 'trade_off.png', chart)
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


def drawn_flips(
    works: Sequence[Progress], verdict: Verdict, seed: int, out: Path
) -> list[str]:
    """Draw where the best method with S and the best without differ; say what."""
    parts = {
        work.part.method: work.part
        for work in works
        if work.part.seed == seed and work.state == 'done'
    }
    plain, sr = (
        parts.get(name or '') for name in (verdict.without_sr, verdict.with_sr)
    )
    return draw_flips(plain, sr, out, FLIPS) if plain and sr else []


def _short(number: float | None) -> str:
    if number is None:
        return '-'
    for size, unit in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if number >= size:
            return f'{number / size:.3g} {unit}'
    return f'{number:.0f}'
