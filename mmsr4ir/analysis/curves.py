"""Draw the logs of several runs in one figure, without a display."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mmsr4ir.utils.files import whole_file

from .logs import Log, LogError, groups

_WIDTH, _HEIGHT, _COLUMNS = 7.5, 3.6, 2
_STYLES = ('-', '--', ':', '-.')


def draw_curves(logs: Sequence[Log], keys: Sequence[str] = ()) -> Figure:
    """Draw a panel for each group of keys, or for each of some keys.

    In a panel of one key the runs differ in colour; in a panel of several the keys
    differ in colour and the runs in line style.

    Args:
        logs: The runs.
        keys: Draw these, each in a panel of its own.

    Raises:
        LogError: If no run has one of ``keys``, or if there is nothing to draw without
            them.
    """
    known = list(dict.fromkeys(key for log in logs for key in log.keys()))
    for key in keys:
        if key not in known:
            raise LogError(f'{key!r} was not logged; there are {", ".join(known)}')
    panels = {key: [key] for key in keys} or groups(logs)
    if not panels:
        raise LogError(
            f'no loss, learning rate or metric among {", ".join(known)}: '
            'name what to draw with --keys'
        )
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (name, members) in zip(axes, panels.items(), strict=False):
        _draw_panel(panel, logs, members)
        panel.set_title(name, fontsize=10)
    for panel in axes[len(panels) :]:
        panel.remove()
    return figure


def _draw_panel(axes: Axes, logs: Sequence[Log], keys: list[str]) -> None:
    colors = matplotlib.colormaps['tab10' if len(keys) <= 10 else 'tab20']
    units = set()
    for i, log in enumerate(logs):
        for j, key in enumerate(keys):
            steps, values, unit = log.curve(key)
            if not steps:
                continue
            units.add(unit)
            by_run = len(keys) == 1
            label = (
                log.name
                if by_run
                else (f'{key} ({log.name})' if len(logs) > 1 else key)
            )
            axes.plot(
                steps,
                values,
                label=label,
                linewidth=1.2,
                color=colors((i if by_run else j) % colors.N),
                linestyle='-' if by_run else _STYLES[i % len(_STYLES)],
                # A curve of few points would not be seen.
                marker='o' if len(steps) < 20 else None,
                markersize=3,
            )
    axes.set_xlabel(' or '.join(sorted(units)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=8)
    lines = len(axes.lines)
    legend = axes.legend(
        loc='center left',
        bbox_to_anchor=(1, 0.5),
        frameon=False,
        fontsize=8 if lines <= 16 else 6.5,
        ncols=1 + lines // 25,
    )
    for text in legend.get_texts():  # names of files, in which $ is no formula
        text.set_parse_math(False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure; the kind of file is its suffix (.png, .pdf, .svg).

    Raises:
        LogError: If Matplotlib writes no file of this kind.
    """
    path = Path(path)
    kind = path.suffix.removeprefix('.').lower()
    kinds = figure.canvas.get_supported_filetypes()
    if kind not in kinds:
        raise LogError(
            f'{path}: the name must end in one of '
            f'{", ".join("." + kind for kind in sorted(kinds))}'
        )
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, format=kind, dpi=120)
