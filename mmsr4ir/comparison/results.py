"""What finished parts of a comparison say: metrics, gap closed, fairness."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS

from mmsr4ir.utils.configs import as_list, registered_class

from .costs import total_training
from .methods import METHODS, ComparisonError
from .runner import Progress, read_json

# The number by which each metric of the three libraries ranks methods.
_MAIN_METRIC = dict(
    CocoMetric='coco/{0}_mAP',
    VOCMetric='pascal_voc/mAP',
    IoUMetric='mIoU',
    Accuracy='accuracy/top1',
)


# Of SRQuality and TeacherDistance, mmdet's CrowdHumanMetric, and mmseg's DepthMetric.
_LESS_IS_BETTER = set(
    'LPIPS NIQE TFD mMR abs_rel sq_rel rmse rmse_log log10 silog'.split()
)


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
        ComparisonError: If no metric of ``test_evaluator`` gives such numbers, or if
            less of this one is better.
    """
    if metric.rpartition('/')[2] in _LESS_IS_BETTER:
        raise ComparisonError(
            f'--metric {metric}: less of it is better, and methods are compared by '
            'numbers of which more is better: choose another one'
        )
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
                metrics = {key: finite(value) for key, value in test['metrics'].items()}
                run |= read_json(work.part.folder / 'trained.json')
                run |= dict(metrics=metrics, lr_digest=test.get('lr_digest'))
                run['total'] = total_training(work.part)
                if is_usable(metrics, metric):
                    run['task'] = metrics[metric]
                else:
                    run |= dict(
                        state='failed',
                        reason=(f'its test gave no {metric}: nothing was detected?'),
                    )
                for name in QUALITY if METHODS[method].test_on != 'hr' else ():
                    if metrics.get(f'sr/{name}') is not None:
                        run[name] = metrics[f'sr/{name}']
            runs[work.part.seed] = run
        result[method] = dict(title=METHODS[method].title, runs=runs)
    add_gap_closed(result)
    add_means(result)
    return result


def is_usable(metrics: Mapping, metric: str) -> bool:
    """Return whether a test gave a number; pycocotools gives -1 where it has none."""
    return finite(metrics.get(metric, -1)) not in (None, -1)


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
    others = sorted({key for one in tests for key in one if is_usable(one, key)})
    raise ComparisonError(
        f'no test gave a number for {metric!r}: either the test data have no ground '
        'truth for it (see ann_file, data_prefix and the classes of test_dataloader), '
        'or nothing was detected (train longer)'
        + f', or another metric was meant: give --metric one of {others}'
        * bool(others)
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


def add_means(result: dict) -> None:
    """Add mean and standard deviation over the seeds of what the runs have."""
    for row in result.values():
        for key in ('task', 'gap_closed', 'iter_time', *QUALITY):
            values = [
                run[key] for run in row['runs'].values() if run.get(key) is not None
            ]
            if values:
                row[key] = dict(
                    mean=statistics.fmean(values),
                    runs=len(values),
                    std=statistics.stdev(values) if len(values) > 1 else None,
                )


def conditions(methods: Mapping[str, Mapping]) -> list[dict]:
    """List what the times of iterations depend on, noted when they were taken.

    Args:
        methods: Of :func:`collect`.

    Returns:
        list: For each number of trainings at once and each machine the runs.
    """
    groups: dict[tuple, list[str]] = {}
    for row in methods.values():
        for seed, run in row['runs'].items():
            if run.get('iter_time') is not None:
                key = run['jobs'], run['machine']
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
    own = cfg.get('comparison') or {}
    lines.append(
        'Settings of their own (`comparison` in the config): '
        + (', '.join(own) if own else 'none')
    )
    return lines


QUALITY = dict(PSNR='.2f', SSIM='.3f', LPIPS='.3f', NIQE='.2f', TFD='.4f')


def finite(value: Any) -> Any:
    """Return a value, or None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
