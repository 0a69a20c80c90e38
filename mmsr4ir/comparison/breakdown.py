"""The task metric in parts: by the size of objects, or by the difficulty of classes."""

from collections.abc import Mapping, Sequence

import numpy as np

from mmsr4ir.utils.tables import markdown_table

from .methods import METHODS
from .resampling import Record, class_values

_SIZES = dict(s='small', m='medium', l='large')
_THIRDS = ('hardest third', 'middle', 'easiest third')


def breakdown(
    methods: Mapping[str, Mapping],
    records: Mapping[tuple[str, int], Record | None],
    metric: str,
) -> list[str]:
    """Write the parts of the metric as a table.

    Args:
        methods: Of :func:`.results.collect`.
        records: By method and seed, what the test found in each image.
        metric: The task metric.

    Returns:
        list[str]: Lines; none where the metric has no parts.
    """
    return by_size(methods, metric) or by_class(methods, records, metric)


def by_size(methods: Mapping[str, Mapping], metric: str) -> list[str]:
    """Write COCO's metric by the size of objects, the mean over the seeds."""
    kind = metric.removesuffix('_50').removesuffix('_75')
    rows = []
    for row in methods.values():
        cells = []
        for key in _SIZES:
            found = [
                run.get('metrics', {}).get(f'{kind}_{key}')
                for run in row['runs'].values()
            ]
            cells.append([v for v in found if v is not None and v != -1])
        rows.append((row['title'], cells))
    kept = [
        i for i in range(len(_SIZES)) if any(cells[i] for _, cells in rows)
    ]  # COCO says -1 where there is no object of a size
    if not kept:
        return []
    names = [list(_SIZES.values())[i] for i in kept]
    return [
        f'`{kind}` by the size of objects, as COCO has them (below 32 x 32 pixels, '
        'up to 96 x 96, above):',
        '',
        markdown_table(
            ['method', *names],
            [
                [title, *(_mean(cells[i]) for i in kept)]
                for title, cells in rows
                if any(cells)
            ],
        ),
    ]


def by_class(
    methods: Mapping[str, Mapping],
    records: Mapping[tuple[str, int], Record | None],
    metric: str,
) -> list[str]:
    """Write the metric by classes of three difficulties, the mean over the seeds.

    All methods on LR images say together how difficult a class is, by the mean of their
    values. A single method as the judge would come out too low in the hardest third and
    too high in the easiest, because its own noise would sort the classes.
    """
    found = {}
    for method in methods:
        values = [
            by[0]
            for (name, _), record in records.items()
            if name == method
            and record
            and (by := class_values(record, metric)) is not None
        ]
        if values and len({len(one) for one in values}) == 1:
            found[method] = np.mean(values, axis=0)
    judges = [name for name in found if METHODS[name].test_on != 'hr'] or list(found)
    if not judges:
        return []
    known = np.flatnonzero(~np.isnan(np.stack(list(found.values()))).any(0))
    if len(known) < len(_THIRDS):
        return []
    mean = np.mean([found[name] for name in judges], axis=0)
    thirds = np.array_split(known[np.argsort(mean[known], kind='stable')], 3)
    counts = ', '.join(str(len(third)) for third in thirds)
    return [
        'Mean over classes by how difficult they are for all methods on LR images '
        f'together ({counts} classes), each class as one:',
        '',
        markdown_table(
            ['method', *_THIRDS],
            [
                [
                    methods[name]['title'],
                    *(f'{values[third].mean():.3f}' for third in thirds),
                ]
                for name, values in found.items()
            ],
        ),
    ]


def _mean(values: Sequence[float]) -> str:
    return f'{np.mean(values):.3f}' if len(values) else '-'
