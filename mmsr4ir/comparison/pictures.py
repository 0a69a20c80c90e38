"""The bar chart and the picture grids of a comparison."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import matplotlib.figure
import numpy as np

from mmsr4ir.visualization.drawing import encode_png

_LABEL_WIDTH = 70
# How the lines of L→T and H→T are drawn.
_BOUND: dict[str, Any] = dict(color='grey', linestyle='--', linewidth=1)


def bar_chart(report: dict) -> bytes:
    """Draw the task metric of each method, as a PNG file's content.

    Bars are means, dots single seeds, whiskers standard deviations; the dashed lines
    are L→T and H→T, between which the other methods are judged.
    """
    methods = report['methods']
    figure = matplotlib.figure.Figure(figsize=(9, 3.6), layout='constrained')
    axes = figure.subplots()
    rows = [row for row in methods.values() if 'task' in row]
    for i, row in enumerate(rows):
        axes.bar(
            i,
            row['task']['mean'],
            yerr=row['task']['std'],
            capsize=4,
            color='tab:orange' if row['title'] == 'SR4IR' else 'tab:blue',
        )
        values = [run['task'] for run in row['runs'].values() if 'task' in run]
        if len(values) > 1:
            axes.plot([i] * len(values), values, 'k.', markersize=4)
    axes.set_xticks(range(len(rows)), [row['title'] for row in rows])
    axes.set_ylabel(report['metric'])
    for bound in ('l2t', 'h2t'):
        if 'task' in methods.get(bound, {}):
            axes.axhline(methods[bound]['task']['mean'], **_BOUND)
    return _png(figure)


def trade_off(report: dict) -> bytes | None:
    """Draw the task metric against the time of an image, as a PNG file's content.

    The line joins the methods that no other one beats in both (the Pareto front). H→T
    sees HR images, so that it is drawn as a line that nobody has to beat.

    Returns:
        bytes | None: None if fewer than two methods have a number and a time.
    """
    points = {
        row['title']: (cost['sr_ms'] + cost['task_ms'], row['task']['mean'])
        for method, row in report['methods'].items()
        if method != 'h2t'
        and 'task' in row
        and 'sr_ms' in (cost := report['inference'].get(method, {}))
    }
    if len(points) < 2:
        return None
    figure = matplotlib.figure.Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    front = [points[name] for name in pareto_front(points)]
    axes.plot(*zip(*front, strict=True), '-', color='grey')
    for name, point in points.items():
        axes.plot(*point, 'o', label=name)
    oracle = report['methods'].get('h2t', {}).get('task')
    if oracle:
        axes.axhline(oracle['mean'], label='H→T', **_BOUND)
    axes.set_xlabel('milliseconds an image (S and T)')
    axes.set_ylabel(report['metric'])
    figure.legend(loc='outside right upper')
    return _png(figure)


def _png(figure: matplotlib.figure.Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format='png', dpi=120)
    return content.getvalue()


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return the names that no other one beats, from the fastest to the best.

    Args:
        points: Time (less is better) and metric (more is better) by name.
    """
    front: list[str] = []
    ranked = sorted(points, key=lambda name: (points[name][0], -points[name][1]))
    for name in ranked:
        if not front or points[name][1] > points[front[-1]][1]:
            front.append(name)
    return front


def stack_pictures(rows: dict[str, Path], panels: int) -> Iterator[tuple[str, bytes]]:
    """Put the pictures that several runs drew of one image below each other.

    Args:
        rows: Folder of pictures by the method's title. The ground truth, the last panel
            of each picture, is kept in the first row only.
        panels: Number of panels of a picture, all of one width.

    Yields:
        tuple: File name, and PNG file's content.
    """
    if not rows:
        return
    for path in sorted(next(iter(rows.values())).glob('*.png')):
        stack: list[np.ndarray] = []
        for title, folder in rows.items():
            picture = cv2.imread(str(folder / path.name))
            if picture is None:
                continue
            if stack:
                picture[:, picture.shape[1] * (panels - 1) // panels :] = 255
            label = np.full((len(picture), _LABEL_WIDTH, 3), 255, np.uint8)
            cv2.putText(
                label,
                title.replace('→', '>'),
                (4, len(picture) // 2),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.5,
                (0, 0, 0),
                1,
                cv2.LINE_AA,
            )
            stack.append(np.hstack([label, picture]))
        yield path.name, encode_png(np.vstack(stack))
