"""Whether super-resolution is worth it: the rule and the decision."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from .methods import METHODS
from .resampling import Record, half_width, paired_bootstrap, same_images
from .verdict_text import MARGIN, MOST_SEEDS, SEEDS, Cost, Noise, Verdict, paragraph

__all__ = ['Noise', 'Verdict', 'decide']

#: The share of wrong verdicts that is accepted.
ERROR = 0.05
# How far a difference of two tests, which are rounded, may be from that of the records.
_ROUNDING = dict(detection=0.0011, segmentation=0.0101, classification=0.001)


def decide(
    methods: Mapping[str, Mapping],
    records: Mapping[tuple[str, int], Record | None],
    metric: str,
    cost: Mapping[str, Cost | None] | None = None,
) -> Verdict:
    """Decide whether SR helps. The rule was fixed before any data were seen.

    1. The best method with an SR network is compared with the best one without, each
       the best by its mean over its seeds. H→T sees HR images: it is the oracle and
       takes no part.
    2. With at least three seeds in common, the noise is the spread of the differences
       between methods over these seeds (Student's t), pooled over all methods on LR
       images that have these seeds: the residual of the two-way layout of methods and
       seeds, taken to be the same for all. With two methods that is the paired t-test.
       With one or two seeds, or if all give the same difference, it is the noise of the
       test images (paired bootstrap of the mean of the seeds). The bootstrap does not
       see that another training gives another network.
    3. The interval is that of 95 %, corrected by Bonferroni for the choice of the best
       of several: of the methods with SR for "helps", of those without for "does not
       help". The larger number serves for both. Holm's procedure would change nothing,
       because its first step is Bonferroni's and only one difference is tested.
    4. A gain below 2 % of the gap between L→T and H→T does not matter. If the interval
       ends there or below, SR does not help. Otherwise SR helps if the interval starts
       above 0, and else that is undecided.

    Args:
        methods: ``methods`` of a report, see :func:`.results.collect`: for each method
            a ``title`` and ``runs`` by seed, which have ``task`` if they were tested;
            and ``gap_closed``, with its ``mean``, if there is a gap.
        records: By method and seed, what :class:`mmsr4ir.evaluation.ImageRecord` wrote.
        metric: The task metric; more is better.
        cost: By method ``ms``, milliseconds an image, and ``mib``, peak memory, at
            inference with all of its networks; each may be None.

    Returns:
        Verdict: With the paragraph.
    """
    tasks = {
        name: {
            seed: run['task']
            for seed, run in row['runs'].items()
            if run.get('task') is not None
        }
        for name, row in methods.items()
    }
    means = {
        name: statistics.fmean(by_seed.values())
        for name, by_seed in tasks.items()
        if by_seed and METHODS[name].test_on != 'hr'
    }
    groups = {
        restores: [name for name in means if METHODS[name].restores == restores]
        for restores in (True, False)
    }
    sr, plain = (
        max(names, key=means.__getitem__, default=None) for names in groups.values()
    )
    gaps = _paired(tasks, 'l2t', 'h2t')
    margin = MARGIN * max(0.0, statistics.fmean(gaps.values())) if gaps else 0.0
    noise = None
    if sr and plain:
        level = 1 - ERROR / max(map(len, groups.values()))
        noise = measure(tasks, records, metric, (plain, sr), level)
    outcome = judge(noise, margin) if sr and plain else 'unknown'
    seeds_needed, images_needed = (
        missing_data(noise, margin) if outcome == 'undecided' else (None, None)
    )
    pair = [name for name in (sr, plain) if name]
    closed = {name: methods[name].get('gap_closed') for name in pair}
    costs = {name: (cost or {}).get(name) for name in pair}
    verdict = Verdict(
        outcome=outcome,
        best=max(means, key=means.__getitem__, default=None),
        with_sr=sr,
        without_sr=plain,
        noise=noise,
        margin=margin,
        gap_closed={name: found['mean'] for name, found in closed.items() if found},
        seeds_needed=seeds_needed,
        images_needed=images_needed,
        cost={name: found for name, found in costs.items() if found},
        use=(sr if outcome == 'helps' else plain) if sr and plain else None,
    )
    titles = {name: row['title'] for name, row in methods.items()}
    compared = max(map(len, groups.values()))
    return replace(verdict, text=paragraph(verdict, metric, means, titles, compared))


def _paired(tasks: Mapping[str, Mapping], a: str, b: str) -> dict[int, float]:
    """Return b - a for each seed that both have."""
    before, after = tasks.get(a, {}), tasks.get(b, {})
    return {seed: after[seed] - before[seed] for seed in before if seed in after}


def measure(
    tasks: Mapping[str, Mapping[int, float]],
    records: Mapping[tuple[str, int], Record | None],
    metric: str,
    pair: tuple[str, str],
    level: float,
) -> Noise | None:
    """Measure how sure the difference of two methods is.

    Args:
        tasks: By method and seed the task metric; more is better.
        records: As for :func:`decide`.
        metric: The task metric.
        pair: The methods without SR and with it.
        level: Of the interval.

    Returns:
        Noise | None: None if the methods have no seed in common.
    """
    differences = _paired(tasks, *pair)
    if not differences:
        return None
    seeds = tuple(differences)
    noise = Noise(statistics.fmean(differences.values()), seeds, level)
    if len(seeds) >= SEEDS:
        spread, pooled = pooled_spread(tasks, pair, seeds)
        # Equal differences, up to rounding, say nothing about the spread.
        if spread > 1e-9:
            error = spread / math.sqrt(len(seeds))
            half = half_width(error, (pooled - 1) * (len(seeds) - 1), level)
            interval = noise.difference - half, noise.difference + half
            return replace(
                noise, interval=interval, std_error=error, test='seeds', pooled=pooled
            )
    before, after = (
        [record for seed in seeds if (record := records.get((name, seed)))]
        for name in pair
    )
    if not len(before) == len(after) == len(seeds) or not same_images(
        [*before, *after]
    ):
        return noise
    found = paired_bootstrap(before, after, metric, level=level)
    if found is None or not math.isfinite(found.interval[1]):
        return noise
    # A metric with settings of its own is another one than that of the records.
    if abs(found.difference - noise.difference) > _ROUNDING[before[0]['kind']]:
        return noise
    return replace(
        noise,
        difference=found.difference,
        interval=found.interval,
        std_error=found.std_error,
        test='images',
        images=len(before[0]['images']),
    )


def pooled_spread(
    tasks: Mapping[str, Mapping[int, float]],
    pair: tuple[str, str],
    seeds: Sequence[int],
) -> tuple[float, int]:
    """Estimate how much the difference of two methods varies from seed to seed.

    Args:
        tasks: By method and seed the task metric.
        pair: The two methods, which have all of the seeds.
        seeds: At least two.

    Returns:
        tuple: The standard deviation of a difference, and over how many methods it was
        pooled: all on LR images that have all of the seeds.
    """
    pooled = [
        name
        for name, by_seed in tasks.items()
        if name in pair
        or (METHODS[name].test_on != 'hr' and all(seed in by_seed for seed in seeds))
    ]
    table = np.array([[tasks[name][seed] for seed in seeds] for name in pooled])
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    variance = (rest**2).sum() / ((len(pooled) - 1) * (len(seeds) - 1))
    return math.sqrt(2 * variance), len(pooled)


def judge(noise: Noise | None, margin: float) -> str:
    """Apply the rule of :func:`decide` to an interval.

    Returns:
        str: ``'helps'``, ``'does not help'`` or ``'undecided'``.
    """
    if noise is None or noise.interval is None:
        return 'undecided'
    low, high = noise.interval
    if high <= margin:
        return 'does not help'
    return 'helps' if low > 0 else 'undecided'


def missing_data(noise: Noise | None, margin: float) -> tuple[int | None, int | None]:
    """Estimate how many seeds, or test images, would decide.

    The difference and the spread are taken to stay as they are.

    Returns:
        tuple: Numbers of seeds and of images; None if there is no estimate, or more
        than 100 seeds are needed.
    """
    if noise is None or noise.std_error is None or noise.interval is None:
        return SEEDS, None
    # The interval has to leave 0, or to end below the margin.
    target = max(noise.difference, margin - noise.difference)
    if noise.images is not None:
        half = (noise.interval[1] - noise.interval[0]) / 2
        images = math.ceil(noise.images * (half / target) ** 2) if target > 0 else None
        return SEEDS, images
    spread = noise.std_error * math.sqrt(len(noise.seeds))
    for count in range(len(noise.seeds) + 1, MOST_SEEDS + 1):
        freedom = (noise.pooled - 1) * (count - 1)
        if half_width(spread / math.sqrt(count), freedom, noise.level) < target:
            return count, None
    return None, None
