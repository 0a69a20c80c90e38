"""Verdicts on planted data: SR must help, cannot help, or nobody can tell.

Each record is that of a test in which a method gets a share of the images, pixels or
objects right; the task metric is computed from it.
"""

import math
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from mmsr4ir.comparison import verdict as product
from mmsr4ir.comparison.methods import METHODS
from mmsr4ir.comparison.resampling import statistic
from mmsr4ir.comparison.results import add_gap_closed, add_means

METRICS = dict(
    classification='accuracy/top1', segmentation='mIoU', detection='coco/bbox_mAP'
)
SIZES = dict(classification=300, segmentation=40, detection=30)
DIGITS = dict(classification=4, segmentation=2, detection=3)


def label_image(truth, rng, quality):
    true = int(truth.integers(2))
    right = rng.random() < quality
    return dict(true_label=true, label=true if right else 1 - true, score=0.5)


def map_image(truth, rng, quality):
    true = truth.multinomial(400, [0.5, 0.5])
    common = rng.binomial(true, np.clip(quality + rng.normal(0, 0.08), 0, 1))
    found = common + (true - common)[::-1]
    areas = dict(common=common, predicted=found, true=true)
    return dict(classes=[0, 1]) | {key: area.tolist() for key, area in areas.items()}


def box_image(truth, rng, quality):
    true = np.array([[100.0 * i, 0.0, 50.0, 50.0] for i in range(4)])
    shift = np.where(rng.random(4) < quality, rng.uniform(0, 6, 4), 70)
    found = np.hstack([true[:, :2], true[:, :2] + true[:, 2:]])
    found[:, 1::2] += shift[:, None]
    return dict(
        true_boxes=true.tolist(),
        true_labels=[0, 0, 1, 1],
        areas=[2500.0] * 4,
        crowd=[0] * 4,
        boxes=found.tolist(),
        labels=[0, 0, 1, 1],
        scores=rng.random(4).tolist(),
        id=None,
    )


MAKERS = dict(classification=label_image, segmentation=map_image, detection=box_image)


def value(record, metric):
    """The task metric, each image once."""
    return statistic(record, metric)(np.ones((1, len(record['images']))))[0]


def decide(rows, *args, **settings):
    """The verdict on the rows as :func:`.results.collect` completes them."""
    add_gap_closed(rows)
    add_means(rows)
    return product.decide(rows, *args, **settings)


def plant(kind, qualities, seeds, images=None, spread=0.0, number=0):
    """Runs and records of methods with these qualities.

    ``spread`` is that of the quality over the trainings.
    """
    rng = np.random.default_rng(number)
    rows, records = {}, {}
    for method, quality in qualities.items():
        runs = {}
        for seed in range(seeds):
            own, truth = quality + rng.normal(0, spread), np.random.default_rng(number)
            record = records[method, seed] = dict(
                kind=kind,
                classes=['a', 'b'],
                images=[
                    dict(name=str(i)) | MAKERS[kind](truth, rng, own)
                    for i in range(images or SIZES[kind])
                ],
            )
            task = round(value(record, METRICS[kind]), DIGITS[kind])
            runs[seed] = dict(state='done', task=task)
        rows[method] = dict(title=METHODS[method].title, runs=runs)
    return rows, records, METRICS[kind]


LADDER = dict(h2t=0.95, l2t=0.5, l2t_kd=0.6, s2t=0.7)


@pytest.mark.parametrize(
    'kind, seeds',
    [
        ('classification', 1),
        ('classification', 2),
        ('classification', 3),
        ('segmentation', 1),
        ('segmentation', 3),
        ('detection', 1),
        ('detection', 3),
    ],
)
def test_sr_must_help(kind, seeds):
    planted = plant(kind, LADDER | dict(sr4ir=0.9), seeds, spread=0.01)
    verdict = decide(*planted)
    assert verdict.outcome == 'helps' and verdict.use == 'sr4ir', verdict.text
    assert (verdict.best, verdict.with_sr, verdict.without_sr) == (
        'sr4ir',
        'sr4ir',
        'l2t_kd',
    )
    task = {
        name: np.array([run['task'] for run in row['runs'].values()])
        for name, row in planted[0].items()
    }
    difference = task['sr4ir'] - task['l2t_kd']
    noise = verdict.noise
    assert noise.difference == pytest.approx(difference.mean(), abs=0.01)
    gap = task['h2t'] - task['l2t']
    closed = np.mean((task['sr4ir'] - task['l2t']) / gap)
    assert verdict.gap_closed['sr4ir'] == pytest.approx(closed)
    assert verdict.margin == pytest.approx(0.02 * gap.mean())
    assert f'SR4IR closes {100 * closed:.0f} %' in verdict.text
    assert verdict.text.endswith('So SR helps here: use SR4IR.')
    # Two methods with SR: half of the error is left for each.
    assert noise.level == pytest.approx(0.975)
    if seeds == 3:
        # A linear model of methods and seeds, by least squares; H→T takes no part.
        values = np.array([task[name] for name in task if name != 'h2t'])
        rows, columns = (axis.ravel() for axis in np.indices(values.shape))
        design = np.hstack([np.eye(4)[rows], np.eye(3)[columns]])
        fit = design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
        error = np.sqrt(2 * ((fit - values.ravel()) ** 2).sum() / 6 / 3)
        want = stats.t.interval(0.975, 6, difference.mean(), error)
        assert noise.test == 'seeds' and noise.interval == pytest.approx(want)
        assert "Student's t over the paired differences of 3 seeds" in verdict.text
        assert 'pooled over 4 methods' in verdict.text
        assert 'noise of training' not in verdict.text
    else:
        assert noise.test == 'images' and noise.images == SIZES[kind]
        assert f'bootstrap over {SIZES[kind]} test images' in verdict.text
        assert 'does not see the noise of training' in verdict.text


@pytest.mark.parametrize(
    'kind, seeds',
    [
        ('classification', 1),
        ('classification', 3),
        ('segmentation', 1),
        ('segmentation', 3),
        ('detection', 1),
    ],
)
def test_sr_cannot_help(kind, seeds):
    worse = dict(h2t=0.95, l2t=0.6, l2t_kd=0.8, s2t=0.5, sr4ir=0.55)
    verdict = decide(*plant(kind, worse, seeds, spread=0.01))
    assert verdict.outcome == 'does not help' and verdict.best == 'l2t_kd'
    assert verdict.noise.interval[1] < 0 and verdict.use == 'l2t_kd'
    assert verdict.text.endswith(
        'So SR does not help here: use L→T+KD, which needs no SR network.'
    )
    # As good as without: it sees what it would have seen, up to a little.
    rows, records, metric = plant(kind, dict(h2t=0.95, l2t=0.5), seeds)
    rows['sr4ir'] = dict(title='SR4IR', runs=rows['l2t']['runs'])
    records |= {('sr4ir', seed): records['l2t', seed] for seed in range(seeds)}
    verdict = decide(rows, records, metric)
    assert verdict.outcome == 'does not help' and verdict.use == 'l2t'
    assert verdict.noise.test == 'images' and verdict.noise.interval == (0, 0)
    if seeds == 3:
        rows['sr4ir'] = dict(
            title='SR4IR',
            runs={
                seed: dict(task=run['task'] * (1 + 1e-3 * seed))
                for seed, run in rows['l2t']['runs'].items()
            },
        )
        verdict = decide(rows, records, metric)
        assert verdict.noise.test == 'seeds' and verdict.noise.difference > 0
        assert verdict.outcome == 'does not help', verdict.text
        assert 'a gain would be below 2% of the gap' in verdict.text


@pytest.mark.parametrize('seeds', [1, 3])
@pytest.mark.parametrize('kind', METRICS)
def test_too_small_to_tell(kind, seeds):
    near = dict(h2t=0.95, l2t=0.5, sr4ir=0.51)
    rows, records, metric = plant(kind, near, seeds, images=8, spread=0.03, number=1)
    verdict = decide(rows, records, metric)
    assert verdict.outcome == 'undecided', verdict.text
    assert verdict.use == 'l2t' and 'until then use L→T' in verdict.text
    low, high = verdict.noise.interval
    assert low <= 0 < verdict.margin < high
    noise = verdict.noise
    target = max(noise.difference, verdict.margin - noise.difference)
    if seeds == 1:
        assert verdict.images_needed == math.ceil(8 * ((high - low) / 2 / target) ** 2)
        assert 'undecided, it needs more seeds, at least 3, or about' in verdict.text
        # Without a record of the images nothing is known of the noise.
        verdict = decide(rows, {}, metric)
        assert verdict.outcome == 'undecided' and verdict.noise.interval is None
        assert 'no records of the test images' in verdict.text
        # Nor is it where the test had another metric than the records.
        rows['l2t']['runs'][0]['task'] += 2
        assert decide(rows, records, metric).noise.interval is None
        return

    def half(count):
        quantile = stats.t.ppf(1 - (1 - noise.level) / 2, count - 1)
        return quantile * noise.std_error * (3 / count) ** 0.5

    found = verdict.seeds_needed
    assert found is None or half(found) < target <= half(found - 1)
    if found is None:
        assert half(100) >= target and 'more than 100 seeds' in verdict.text
    else:
        assert f'about {found} seeds (now 3)' in verdict.text


def test_few_images_that_differ_are_not_enough():
    """Four images more and none fewer: the exact test of the signs gives p = 1 / 8."""
    rows, records, metric = plant('classification', dict(l2t=1, sr4ir=1), 1)
    for count, outcome in ((4, 'undecided'), (8, 'helps')):
        for image in records['l2t', 0]['images'][:count]:
            image['label'] = 1 - image['true_label']
        rows['l2t']['runs'][0]['task'] = value(records['l2t', 0], metric)
        assert decide(rows, records, metric).outcome == outcome
    # One image alone has no spread.
    for image in records['l2t', 0]['images'][1:]:
        image['label'] = image['true_label']
    rows['l2t']['runs'][0]['task'] = value(records['l2t', 0], metric)
    verdict = decide(rows, records, metric)
    assert verdict.outcome == 'undecided' and verdict.noise.interval is None


@pytest.mark.parametrize('seeds', [1, 3])
def test_without_an_effect_it_seldom_helps(seeds):
    """The best of five by luck alone, over one that is as good."""
    names = ('h2t', 'l2t', 'l2t_kd', 's2t', 't2s', 's_and_t', 'sr4ir', 'hlf_fm')
    helps = uncorrected = 0
    rng = np.random.default_rng(0)
    for _ in range(200):
        rows, records = {}, {}
        for name in names:
            tasks = rng.normal(60, 2, seeds)
            if seeds == 1:
                right = rng.random(40) < 0.6
                tasks = [round(100 * right.mean(), 4)]
                records[name, 0] = dict(
                    kind='classification',
                    classes=['a', 'b'],
                    images=[
                        dict(name=str(i), label=int(one), true_label=1, score=None)
                        for i, one in enumerate(right)
                    ],
                )
            runs = {seed: dict(task=float(task)) for seed, task in enumerate(tasks)}
            rows[name] = dict(title=METHODS[name].title, runs=runs)
        verdict = decide(rows, records, 'accuracy/top1')
        assert verdict.noise.test == ('images' if seeds == 1 else 'seeds')
        helps += verdict.outcome == 'helps'
        low, high = verdict.noise.interval
        # Half of the interval without the correction.
        freedom = 2 if seeds == 3 else 30
        corrected = stats.t.ppf((1 + verdict.noise.level) / 2, freedom)
        half = (high - low) / 2 * stats.t.ppf(0.975, freedom) / corrected
        uncorrected += verdict.noise.difference > half
    assert helps <= 10
    assert helps < uncorrected


def test_cost_and_runs_that_failed():
    rows = {
        name: dict(title=METHODS[name].title, runs=dict(enumerate(runs)))
        for name, runs in dict(
            h2t=[dict(task=one) for one in (0.9, 0.88, 0.89)],
            l2t=[dict(task=one) for one in (0.5, 0.48, 0.49)],
            sr4ir=[dict(task=one) for one in (0.7, 0.68, 0.689)],
            s2t=[dict(task=0.1), dict(state='failed'), dict(task=None)],
        ).items()
    }
    cost = dict(sr4ir=dict(ms=12.34, mib=250.0), l2t=dict(ms=4.0, mib=None), s2t=None)
    verdict = decide(rows, {}, 'mAP', cost=cost)
    assert verdict.outcome == 'helps' and verdict.best == 'sr4ir'
    assert verdict.noise.difference == pytest.approx(0.2 - 0.001 / 3)
    assert verdict.gap_closed['sr4ir'] == pytest.approx(0.5, abs=0.01)
    assert 'SR4IR is the best method here (mAP 0.690), 0.200 ahead of L→T (0.490)' in (
        verdict.text
    )
    assert (
        'An image takes 12.3 ms and 250 MiB with SR4IR, 4.0 ms with L→T.'
        in verdict.text
    )
    assert 3 <= verdict.text.count('. ') + 1 <= 6
    assert asdict(verdict)['noise']['seeds'] == (0, 1, 2)


@pytest.mark.parametrize(
    'names, use, said',
    [
        (('h2t', 'l2t'), None, 'no method with an SR network has a result (add sr4ir'),
        (
            ('h2t', 'sr4ir'),
            None,
            'no method without an SR network has a result (add l2t',
        ),
        (('h2t',), None, 'No method has a result'),
        (('l2t', 'sr4ir'), 'sr4ir', 'So SR helps here: use SR4IR.'),
    ],
)
def test_missing_methods(names, use, said):
    rows, records, metric = plant('classification', LADDER | dict(sr4ir=0.9), 1)
    verdict = decide({name: rows[name] for name in names}, records, metric)
    assert verdict.use == use and said in verdict.text
    assert ('unknown' if use is None else 'helps') == verdict.outcome
    # Without both ends there is no gap, and no gain is too small.
    assert (verdict.margin > 0) == ({'h2t', 'l2t'} <= set(names))
    assert 'closes' not in verdict.text


def test_seeds_that_do_not_meet():
    rows, records, metric = plant('classification', dict(l2t=0.5, sr4ir=0.9), 2)
    del rows['l2t']['runs'][0], rows['sr4ir']['runs'][1]
    verdict = decide(rows, records, metric)
    assert verdict.outcome == 'undecided' and verdict.noise is None
    assert 'no seed in common' in verdict.text
