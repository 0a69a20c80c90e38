"""From finished parts to tables, a chart and picture grids."""

import csv
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from mmsr4ir.utils.configs import as_list, registered_class
from mmsr4ir.utils.files import write_whole
from mmsr4ir.utils.tables import markdown_table

from .methods import METHODS, ComparisonError
from .pictures import bar_chart, stack_pictures
from .runner import PANELS, Progress, read_json

# The number by which each metric of the three libraries ranks methods.
_MAIN_METRIC = dict(
    CocoMetric='coco/{0}_mAP',
    VOCMetric='pascal_voc/mAP',
    IoUMetric='mIoU',
    Accuracy='accuracy/top1',
)
_QUALITY = dict(PSNR='.2f', SSIM='.3f', LPIPS='.3f', NIQE='.2f')


def main_metric(cfg: Config) -> str:
    """Return the key of the task metric by which a config's methods are compared.

    Raises:
        ComparisonError: If the config tests no task metric, or an unknown one.
    """
    tested = [
        one
        for one in as_list(cfg.get('test_evaluator'))
        if not one['type'].endswith('SRQuality')
    ]
    if not tested:
        raise ComparisonError(
            f'{cfg.filename}: test_evaluator holds no task metric, so that there is '
            'nothing to compare: add that of the task, such as '
            "dict(type='CocoMetric', ann_file=...), IoUMetric or Accuracy"
        )
    kind = tested[0]['type'].split('.')[-1]
    if kind not in _MAIN_METRIC:
        raise ComparisonError(
            f'{cfg.filename}: name the number that {kind} gives by --metric, as it '
            'stands in the log of a test'
        )
    what = tested[0].get('metric', 'bbox')
    return _MAIN_METRIC[kind].format(what if isinstance(what, str) else what[0])


def check_metric_group(cfg: Config, metric: str) -> None:
    """Check that something in ``test_evaluator`` gives numbers of a metric's group.

    The group is what stands before the first ``/``. What numbers it holds is known
    from the first test.

    Raises:
        ComparisonError: If no metric of ``test_evaluator`` gives such numbers.
    """
    groups = []
    for evaluator in as_list(cfg.get('test_evaluator')):
        kind: type[BaseMetric] | None = registered_class(
            METRICS, evaluator, cfg.get('default_scope') or 'mmengine'
        )
        if kind is None:
            return  # the test will say so
        groups.append(evaluator.get('prefix') or kind.default_prefix)
    if not any(
        metric.startswith(f'{group}/') if group else '/' not in metric
        for group in groups
    ):
        starts = sorted(
            {f'{group}/...' if group else 'a name without /' for group in groups}
        )
        raise ComparisonError(
            f'--metric {metric}: the numbers that test_evaluator of {cfg.filename} '
            f'gives are called {" or ".join(starts)}'
        )


def collect(works: Sequence[Progress], methods: Sequence[str], metric: str) -> dict:
    """Collect what the parts have measured, by method and seed.

    Args:
        works: All parts, ended.
        methods: The methods compared.
        metric: Key of the task metric.

    Raises:
        ComparisonError: If no test gave a usable number for this metric.
    """
    tests = {
        id(work): read_json(work.part.folder / 'tested.json')
        for work in works
        if work.state == 'done' and work.part.method in methods
    }
    check_metric([test['metrics'] for test in tests.values()], metric)
    result: dict[str, dict[str, Any]] = {}
    for method in methods:
        runs = {}
        for work in works:
            if work.part.method != method:
                continue
            run: dict[str, Any] = dict(state=work.state, reason=work.reason)
            if work.state == 'done':
                test = tests[id(work)]
                metrics = {
                    key: _finite(value) for key, value in test['metrics'].items()
                }
                run |= read_json(work.part.folder / 'trained.json')
                run |= dict(metrics=metrics, lr_digest=test.get('lr_digest'))
                if is_usable(metrics, metric):
                    run['task'] = metrics[metric]
                else:
                    run |= dict(
                        state='failed',
                        reason=(f'its test gave no {metric}: nothing was detected?'),
                    )
                for name in _QUALITY if METHODS[method].test_on != 'hr' else ():
                    if metrics.get(f'sr/{name}') is not None:
                        run[name] = metrics[f'sr/{name}']
            runs[work.part.seed] = run
        result[method] = dict(title=METHODS[method].title, runs=runs)
    add_gap_closed(result)
    for row in result.values():
        for key in ('task', 'gap_closed', 'iter_time', *_QUALITY):
            values = [
                run[key] for run in row['runs'].values() if run.get(key) is not None
            ]
            if values:
                row[key] = dict(
                    mean=statistics.fmean(values),
                    runs=len(values),
                    std=statistics.stdev(values) if len(values) > 1 else None,
                )
    return result


def is_usable(metrics: Mapping, metric: str) -> bool:
    """Return whether a test gave a number; pycocotools gives -1 where it has none."""
    return _finite(metrics.get(metric, -1)) not in (None, -1)


def check_metric(tests: Iterable[Mapping], metric: str) -> None:
    """Check that at least one test gave a number by which methods can be compared.

    One without is a method that fails: MMDetection's ``CocoMetric`` gives no number
    where nothing was detected.

    Raises:
        ComparisonError: If no test gave a number for the metric, and at least one ran.
    """
    tests = list(tests)
    if not tests or any(is_usable(metrics, metric) for metrics in tests):
        return
    found = [metrics[metric] for metrics in tests if metric in metrics]
    if found:
        raise ComparisonError(
            f'{metric} is {found[0]} in all tests, so the test data have no ground '
            'truth for it: set ann_file, data_prefix or the classes of '
            'test_dataloader'
        )
    raise ComparisonError(
        f'no test gave a metric {metric!r}; there are {sorted({*chain(*tests)})}: '
        'choose one by --metric; or train longer, if that is the right one and nothing '
        'was detected'
    )


def add_gap_closed(result: dict) -> None:
    """Add, for each seed, (method - L→T) / (H→T - L→T), where H→T is the better."""

    def value(method: str, seed: int) -> float | None:
        return result.get(method, {}).get('runs', {}).get(seed, {}).get('task')

    for row in result.values():
        for seed, run in row['runs'].items():
            best, worst, own = value('h2t', seed), value('l2t', seed), run.get('task')
            if best is None or worst is None or own is None:
                continue
            if best > worst:
                run['gap_closed'] = (own - worst) / (best - worst)


def conditions(methods: Mapping[str, Mapping]) -> list[dict]:
    """List what the times of iterations depend on, noted when they were taken.

    Args:
        methods: Of :func:`collect`.

    Returns:
        list: For each number of trainings at once and each machine the runs; None is
        what early versions did not note.
    """
    groups: dict[tuple, list[str]] = {}
    for row in methods.values():
        for seed, run in row['runs'].items():
            if run.get('iter_time') is not None:
                key = run.get('jobs'), run.get('machine')
                groups.setdefault(key, []).append(f'{row["title"]} seed {seed}')
    return [
        dict(jobs=jobs, machine=machine, runs=runs)
        for (jobs, machine), runs in groups.items()
    ]


def fairness(works: Sequence[Progress], cfg: Config) -> list[str]:
    """Say what the methods had in common, from what was measured while they ran."""
    done = [work for work in works if work.state == 'done']
    lines = []

    def tell(what: str, value, described=lambda v: f'({v})') -> None:
        """Compare within each seed, because seeds differ on purpose."""
        values: dict[int, dict[str, Any]] = {}
        for work in done:
            found = value(work)
            if found is not None:
                values.setdefault(work.part.seed, {})[work.part.method] = found
        for seed, by in values.items():
            groups: dict[Any, list[str]] = {}
            for method, found in by.items():
                groups.setdefault(found, []).append(method)
            if len(groups) > 1:
                lines.append(
                    f'{what}: **not the same** (seed {seed}): '
                    + '; '.join(
                        f'{", ".join(names)} {described(found)}'.rstrip()
                        for found, names in groups.items()
                    )
                )
                return
        if values:
            one = next(iter(next(iter(values.values())).values()))
            count = max(map(len, values.values()))
            lines.append(f'{what}: the same in all {count} {described(one)}'.rstrip())

    tell(
        'Training images, their order and augmentation',
        lambda work: work.record().get('data_digest'),
        lambda v: f'(CRC-32 {v:08x})',
    )
    for network, title in (('task', 'Updates of T'), ('sr', 'Updates of S')):
        tell(
            f'{title}, where it is trained',
            lambda work, network=network: (
                work.record().get('updates', {}).get(network) or None
            ),
        )
    tell(
        'LR images of the test',
        lambda work: read_json(work.part.folder / 'tested.json').get('lr_digest'),
        lambda v: f'(CRC-32 {v:08x})',
    )
    for key in ('train_cfg', 'param_scheduler', 'optim_wrapper'):
        tell(
            f'`{key}`',
            lambda work, key=key: json.dumps(
                work.part.cfg.get(key), default=str, sort_keys=True
            ),
            lambda v: '',
        )
    own = cfg.get('benchmark') or {}
    lines.append(
        'Settings of their own (`benchmark` in the config): '
        + (', '.join(own) if own else 'none')
    )
    return lines


def markdown(report: dict) -> str:
    """Return the table with what is needed to read it."""
    methods = report['methods']
    quality = [
        name for name in _QUALITY if any(name in row for row in methods.values())
    ]
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
            *(show(name, _QUALITY[name]) for name in quality),
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
    columns = ['method', 'seed', 'state', 'task', 'gap_closed', *_QUALITY, 'iter_time']
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
        network: {key: _finite(value) for key, value in row.items()}
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


def _finite(value: Any) -> Any:
    """Return a value, or None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _short(number: float | None) -> str:
    if number is None:
        return '-'
    for size, unit in ((1e9, 'G'), (1e6, 'M'), (1e3, 'k')):
        if number >= size:
            return f'{number / size:.3g} {unit}'
    return f'{number:.0f}'
