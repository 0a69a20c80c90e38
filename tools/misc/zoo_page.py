"""The page of the coverage: tables of what was tried and what came out."""

import platform
from collections.abc import Iterable, Mapping, Sequence

import torch
from zoo_data import NUM_IMAGES
from zoo_families import EXTRA, FAMILIES, OUT_OF_SCOPE, SETTINGS, SR_NETWORKS
from zoo_networks import HR_SIZE, SPANDREL, TASK, TILE
from zoo_trial import CPU_LIMIT, EDGES, LIMITS, MEMORY_LIMIT

Results = Mapping[tuple[str, str], Mapping]
_INTRO = """\
# Coverage: networks of the model zoos that were trained for one step

`python tools/misc/make_coverage.py` tried one config of each family of the zoos and
wrote this page, on Python {python} and torch {torch}, on a CPU. A family is a folder of
configs, and its config is one of the smallest.

Each row is a config of the zoo with the settings of `configs/_base_/sr4ir_*.py`: its
own pipelines, loops, hooks, metrics and optimizer, one train step of SR4IR on two
images (both phases, TDP loss and patch mix included), and one validation. A row is
green if the data check and the training ended without an error, all losses were
finite, both networks changed, and the validation gave its metrics. The losses are
those of pixels, TDP and task. What differs from a user's config:

- The weights are random, the SR network is a small EDSR at x4, and each data set has
  {images} images of random pixels. The data check is run for mmdet alone, since these
  sets lack most classes of the others.
- Sizes in the pipelines, and in networks that are made for one size, are scaled so that
  the longest is about {det} pixels for mmdet and {seg} for mmseg, unless the column of
  extra lines names another edge. Sizes of mmpretrain stay, but those of networks that
  take any size are at most {cls} pixels.
- In detectors, `num` of samplers is at most {num}, `max_per_img` {max_per_img} and
  `nms_pre` {nms_pre}. Optimizers compute in float32.
- Each trial has at most {seconds} s of CPU time and {memory} GB of memory.
"""
_SR_INTRO = """\
## SR networks

One train step and one val step each, on two images of {size} pixels, with
`{task}`. Those of spandrel (`mmsr4ir.Spandrel`) have the default
sizes of its classes, at x4. spandrel's SeemoRe and IPT take one image at a time and
cannot be validated here.

The column of tiles has the largest difference, in steps of 8 bits, between an image of
96 x 104 LR pixels that the SR network restores at once and the same image in tiles of
{tile} with an overlap of {overlap} pixels. It is large if attention or a mean reaches
further than the overlap.
"""


def page(results: Results) -> str:
    """Return the Markdown page.

    Args:
        results: What each trial returned, or ``error``, by library and family.
    """
    lines = [
        _INTRO.format(
            python=platform.python_version(),
            torch=torch.__version__,
            images=NUM_IMAGES,
            det=EDGES['mmdet'],
            seg=EDGES['mmseg'],
            cls=EDGES['mmpretrain'],
            seconds=CPU_LIMIT,
            memory=MEMORY_LIMIT >> 30,
            **LIMITS,
        ),
        *_summary(results),
    ]
    for library, families in FAMILIES.items():
        rows = [
            (
                family,
                f'`{config}`',
                *_outcome(results, library, family),
                _extra(library, family),
            )
            for family, config in families.items()
        ]
        lines += ['', f'## {library}', '']
        lines += _table(('family', 'config', 'result', 'losses', 'extra lines'), rows)
    lines += ['', *_sr_tables(results), '', *_out_of_scope()]
    return '\n'.join(lines) + '\n'


def count(results: Results, library: str, families: Iterable[str]) -> dict[str, int]:
    """Count the families of a library that are green, red and not tried."""
    words = [_word(results.get((library, family))) for family in families]
    return {word: words.count(word) for word in ('green', 'red', 'not tried')}


def _word(result: Mapping | None) -> str:
    if result is None:
        return 'not tried'
    return 'red' if 'error' in result else 'green'


def _summary(results: Results) -> list[str]:
    rows = []
    tried = {**FAMILIES, 'mmagic': SR_NETWORKS}
    totals: dict[str, int] = {}
    for library, families in tried.items():
        counts = count(results, library, families)
        counts |= {'out of scope': len(OUT_OF_SCOPE[library])}
        rows.append((library, *counts.values(), _percent(counts)))
        totals = {key: totals.get(key, 0) + value for key, value in counts.items()}
    rows.append(('**all**', *totals.values(), _percent(totals)))
    in_scope = totals['green'] + totals['red'] + totals['not tried']
    text = (
        f'{totals["green"]} of the {in_scope} families in scope are green '
        f'({_percent(totals)}), {totals["red"]} red and {totals["not tried"]} not '
        f'tried; {totals["out of scope"]} families are out of scope.'
    )
    heads = ('library', 'green', 'red', 'not tried', 'out of scope', 'green in scope')
    return [text, '', *_table(heads, rows)]


def _percent(counts: Mapping[str, int]) -> str:
    in_scope = counts['green'] + counts['red'] + counts['not tried']
    return f'{100 * counts["green"] / in_scope:.0f} %'


def _outcome(results: Results, library: str, family: str) -> tuple[str, str]:
    """Return the columns of the result and of the losses."""
    result = results.get((library, family))
    if result is None or 'error' in result:
        # The first sentence; what follows may be paths of this machine.
        reason = (result or {}).get('error', '').split('. ')[0][:200]
        return (f'**{_word(result)}** {_escape(reason)}'.strip(), '-')
    return 'green', ', '.join(f'{value:.3g}' for value in result['losses'].values())


def _extra(library: str, family: str) -> str:
    """Return the settings that a family needs besides, and what to install."""
    settings = SETTINGS.get((library, family), {})
    words = [f'`{key}={value!r}`' for key, value in settings.items()]
    return ', '.join(words + EXTRA.get((library, family), [])) or '-'


def _sr_tables(results: Results) -> list[str]:
    task = TASK.split('/')[1]
    edge, overlap = TILE
    rows = []
    for library, names in (('mmagic', SR_NETWORKS), ('spandrel', SPANDREL)):
        for name in names:
            tiles = results.get((library, name), {}).get('tiles')
            network = SR_NETWORKS[name]['type'] if library == 'mmagic' else name
            rows.append(
                (
                    library,
                    name,
                    f'`{network}`',
                    *_outcome(results, library, name),
                    '-' if tiles is None else f'{tiles:.2g}',
                )
            )
    heads = ('from', 'family', 'network', 'result', 'losses', 'tiles')
    intro = _SR_INTRO.format(size=HR_SIZE, task=task, tile=edge, overlap=overlap)
    return [intro, *_table(heads, rows)]


def _out_of_scope() -> list[str]:
    rows = []
    for library, families in OUT_OF_SCOPE.items():
        for reason in dict.fromkeys(families.values()):
            names = [name for name, why in families.items() if why == reason]
            rows.append((library, ', '.join(names), reason))
    return ['## Out of scope', '', *_table(('library', 'families', 'reason'), rows)]


def _table(heads: Sequence[str], rows: Iterable[Sequence]) -> list[str]:
    lines = [heads, ['---'] * len(heads), *rows]
    return ['| ' + ' | '.join(map(str, line)) + ' |' for line in lines]


def _escape(text: str) -> str:
    """Keep a text within its cell of a table."""
    return text.replace('|', '\\|').replace('<', '&lt;')
