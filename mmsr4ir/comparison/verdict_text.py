"""What a verdict holds, and its paragraph."""

from collections.abc import Mapping
from dataclasses import dataclass

Cost = Mapping[str, float | None]

#: From so many seeds on, the spread between them is taken as the noise.
SEEDS = 3
#: The share of the gap between L→T and H→T below which a gain does not matter.
MARGIN = 0.02
#: A verdict that needs more seeds than this says no number.
MOST_SEEDS = 100


@dataclass(frozen=True)
class Noise:
    """A difference of two methods and how sure it is.

    Attributes:
        difference: Positive if SR is better; over the seeds that both methods have.
        seeds: These seeds.
        level: Of the interval: 0.95, or more if several methods were compared.
        interval: Confidence interval of the difference; None if it is not known.
        std_error: Of the difference; None if it is not known.
        test: What the noise was taken from, ``'seeds'`` or ``'images'``; None if it is
            not known.
        images: How many test images the bootstrap drew from; None without one.
        pooled: Over how many methods the spread of the seeds was pooled.
    """

    difference: float
    seeds: tuple[int, ...]
    level: float
    interval: tuple[float, float] | None = None
    std_error: float | None = None
    test: str | None = None
    images: int | None = None
    pooled: int = 2


@dataclass(frozen=True)
class Verdict:
    """What :func:`.verdict.decide` found; a method is named by its key in ``METHODS``.

    Attributes:
        outcome: ``'helps'``, ``'does not help'``, ``'undecided'`` (more seeds or images
            are needed), or ``'unknown'`` (methods are missing).
        best: The best method, the oracle left out; None if no method has a number.
        with_sr: The best method with an SR network, or None.
        without_sr: The best method without one, or None.
        noise: Their difference and how sure it is; None if they have no seed in common.
        margin: The gain that does not matter, in units of the metric.
        gap_closed: By method, the share of the gap between L→T and H→T that it closes.
        seeds_needed: How many seeds would decide, or None.
        images_needed: How many test images would decide, or None.
        cost: What :func:`.verdict.decide` was given, of the two methods.
        use: The method to use, or None.
        text: All of that as a paragraph.
    """

    outcome: str
    best: str | None
    with_sr: str | None
    without_sr: str | None
    noise: Noise | None
    margin: float
    gap_closed: dict[str, float]
    seeds_needed: int | None
    images_needed: int | None
    cost: dict[str, Cost]
    use: str | None
    text: str = ''


def paragraph(
    verdict: Verdict,
    metric: str,
    values: Mapping[str, float],
    titles: Mapping[str, str],
    compared: int,
) -> str:
    """Put a verdict into three to six sentences.

    Args:
        verdict: Without its text.
        metric: The task metric.
        values: Its mean by method.
        titles: The methods' names.
        compared: Among how many methods the best one was chosen.
    """
    digits = 3 if all(abs(value) <= 1 for value in values.values()) else 2
    sentences = _best(verdict, metric, values, titles, digits)
    if verdict.with_sr and verdict.without_sr:
        sentences += _noise(verdict, compared, digits)
    sentences += _gap_and_cost(verdict, titles)
    return ' '.join([*sentences, _conclusion(verdict, titles)])


def _best(
    verdict: Verdict,
    metric: str,
    values: Mapping[str, float],
    titles: Mapping[str, str],
    digits: int,
) -> list[str]:
    """Say which method is best, and by how much."""
    best, sr, plain = verdict.best, verdict.with_sr, verdict.without_sr
    if best is None:
        return ['No method has a result.']
    text = f'{titles[best]} is the best method here ({metric} {values[best]:.{digits}f}'
    other = plain if best == sr else sr
    if other is None or verdict.noise is None:
        return [f'{text}).']
    lead = verdict.noise.difference if best == sr else -verdict.noise.difference
    kind = 'without an SR network' if other == plain else 'with an SR network'
    # Methods that lack a seed may change places on those that both have.
    place = 'ahead of' if lead >= 0 else 'but, on the seeds that both have, behind'
    return [
        f'{text}), {abs(lead):.{digits}f} {place} {titles[other]} '
        f'({values[other]:.{digits}f}), the best {kind}.'
    ]


def _noise(verdict: Verdict, compared: int, digits: int) -> list[str]:
    """Say whether the difference exceeds the noise, and by which test."""
    noise = verdict.noise
    if noise is None:
        return ['The two have no seed in common, so they cannot be compared.']
    if noise.interval is None:
        return [
            'Whether that exceeds the noise is not known: there are fewer than '
            f'{SEEDS} seeds that differ, and no records of the test images that give '
            'this metric.'
        ]
    low, high = noise.interval
    exceeds = 'exceeds' if low > 0 or high < 0 else 'does not exceed'
    chosen = (
        f', corrected for the choice among {compared} methods,' if compared > 1 else ''
    )
    seeds = len(noise.seeds)
    if noise.test == 'seeds':
        how = f"Student's t over the paired differences of {seeds} seeds"
        if noise.pooled > 2:
            how += f', their spread pooled over {noise.pooled} methods'
    else:
        of = f', mean of {seeds} seeds' if seeds > 1 else ', one seed'
        how = f'paired bootstrap over {noise.images} test images{of}'
    sentences = [
        f'That {exceeds} the noise: the 95 % interval of the gain by SR{chosen} is '
        f'{low:+.{digits}f} to {high:+.{digits}f} ({how}).'
    ]
    if noise.test == 'images':
        sentences.append(
            'This does not see the noise of training, which only more seeds show.'
        )
    return sentences


def _gap_and_cost(verdict: Verdict, titles: Mapping[str, str]) -> list[str]:
    """Say how much of the gap the methods close, and what an image costs."""
    sentences = []
    closed = [
        f'{titles[name]} closes {100 * share:.0f} %'
        for name, share in verdict.gap_closed.items()
        if name != 'l2t'
    ]
    if closed:
        sentences.append(
            f'Of the gap between {titles["l2t"]} and {titles["h2t"]}, '
            f'{" and ".join(closed)}.'
        )
    costs = []
    for name, cost in verdict.cost.items():
        parts = [
            f'{cost[key]:.{digits}f} {unit}'
            for key, unit, digits in (('ms', 'ms', 1), ('mib', 'MiB', 0))
            if cost.get(key) is not None
        ]
        if parts:
            costs.append(f'{" and ".join(parts)} with {titles[name]}')
    if costs:
        sentences.append(f'An image takes {", ".join(costs)}.')
    return sentences


def _conclusion(verdict: Verdict, titles: Mapping[str, str]) -> str:
    """Say what to use, or what is missing."""
    if verdict.use is None:
        lacking = 'with an' if verdict.with_sr is None else 'without an'
        example = 'sr4ir' if verdict.with_sr is None else 'l2t'
        return (
            'Whether SR helps cannot be decided: no method '
            f'{lacking} SR network has a result (add {example} to --methods).'
        )
    use = titles[verdict.use]
    if verdict.outcome == 'helps':
        return f'So SR helps here: use {use}.'
    if verdict.outcome == 'does not help':
        assert verdict.noise is not None and verdict.noise.interval is not None
        slight = (
            f' (a gain would be below {MARGIN:.0%} of the gap, which does not matter)'
        )
        why = slight if verdict.noise.interval[1] > 0 else ''
        return f'So SR does not help here{why}: use {use}, which needs no SR network.'
    if verdict.noise is None or verdict.noise.test != 'seeds':
        more = f'more seeds, at least {SEEDS}'
        if verdict.images_needed:
            more += f', or about {verdict.images_needed:,} test images'
    elif verdict.seeds_needed:
        more = f'about {verdict.seeds_needed} seeds (now {len(verdict.noise.seeds)})'
    else:
        more = f'more than {MOST_SEEDS} seeds, that is, another comparison'
    return (
        f'Whether SR helps is undecided, it needs {more}: until then use {use}, which '
        'needs no SR network.'
    )
