"""Records of images: the metric from them against the libraries' own metrics."""

import json

import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement
from mmpretrain.evaluation import Accuracy
from mmseg.evaluation import IoUMetric
from pycocotools.cocoeval import COCOeval
from scipy.stats import t as student

from mmsr4ir.analysis.results import score
from mmsr4ir.comparison.resampling import (
    class_values,
    flips,
    image_scores,
    paired_bootstrap,
    statistic,
)
from mmsr4ir.evaluation import ImageRecord
from mmsr4ir.utils.errors import DataError

CLASSES = ('a', 'b', 'c')


def evaluate(samples, out, *metrics, **settings) -> tuple[dict, dict]:
    """What a test of the samples gives, and the record that it writes."""
    evaluator = Evaluator([*metrics, ImageRecord(str(out), **settings)])
    evaluator.dataset_meta = dict(classes=CLASSES)
    for start in range(0, len(samples), 3):
        evaluator.process(samples[start : start + 3])
    return evaluator.evaluate(len(samples)), json.loads(out.read_text())


def value(record, metric, weights=None):
    """The task metric, each image as often as its weight says; None: unknown."""
    compute = statistic(record, metric)
    weights = np.ones(len(record['images'])) if weights is None else np.array(weights)
    return compute and compute(weights[None].astype(float))[0]


def labels(seed: int, count: int = 30) -> list[dict]:
    rng = np.random.default_rng(seed)
    return [
        dict(
            img_path=f'/data/{i}.jpg',
            pred_score=torch.from_numpy(rng.dirichlet(np.ones(3))).float(),
            pred_label=torch.tensor([0]),
            gt_label=torch.tensor([rng.integers(3)]),
        )
        for i in range(count)
    ]


def maps(seed: int, count: int = 7) -> list[dict]:
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(count):
        truth = rng.integers(0, 1 + i % 3, (1, 9, 8))
        found = np.where(rng.random(truth.shape) < 0.7, truth, 2)
        truth[rng.random(truth.shape) < 0.2] = 9
        samples.append(
            dict(
                img_path=f'/data/{i}.png',
                pred_sem_seg=dict(data=torch.from_numpy(found)),
                gt_sem_seg=dict(data=torch.from_numpy(truth).to(torch.uint8)),
            )
        )
    return samples


def boxes(seed: int, count: int = 8) -> tuple[list[dict], dict]:
    """Samples and the COCO file of their truth, which is not in their own order."""
    rng = np.random.default_rng(seed)
    samples, annotations = [], []
    names = {7: 'a', 9: 'z', 3: 'b', 5: 'c'}  # the test data have no class z
    for i in range(count):
        corner = rng.uniform(0, 150, (6, 2))
        size = rng.uniform(12, 120, (6, 2))
        size[:2] /= 4  # small, medium and large ones
        size[4:] += 90
        label = rng.integers(0, 3, 6) if i else np.zeros(6, int)
        for (x, y), (w, h), one in zip(corner, size, label, strict=True):
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=50 - i,
                    bbox=[x, y, w, h],
                    area=0.8 * w * h,
                    category_id=(7, 3, 5)[one],
                    iscrowd=int(rng.random() < 0.1),
                )
            )
        truth = np.hstack([corner, corner + size])
        pick = rng.integers(0, 6, 14)
        found = truth[pick] + rng.normal(0, 5, (14, 4))
        shown = np.where(rng.random(14) < 0.8, label[pick], rng.integers(0, 3, 14))
        samples.append(
            dict(
                img_path=f'/data/{i}.jpg',
                img_id=50 - i,
                ori_shape=(300, 300),
                pred_instances=dict(
                    bboxes=torch.from_numpy(found).float(),
                    # Many are equal, though not within an image: there the order of
                    # its copies would count.
                    scores=torch.from_numpy(rng.permutation(20)[:14] / 20).float(),
                    labels=torch.from_numpy(shown),
                ),
            )
        )
    coco = dict(
        images=[dict(id=50 - i, file_name=f'{i}.jpg') for i in range(count)],
        # One category that the test data do not have.
        categories=[dict(id=i, name=name) for i, name in names.items()],
        annotations=annotations
        + [dict(annotations[0], id=len(annotations) + 1, category_id=9)],
    )
    return samples, coco


def repeated(samples: list[dict], coco: dict, weights) -> tuple[list[dict], dict]:
    """The samples as often as their weights say, each an image of its own."""
    more, truth = [], dict(coco, images=[], annotations=[])
    for number, i in enumerate(np.repeat(np.arange(len(samples)), weights)):
        # In the order of the ids of the originals: it decides between equal scores.
        image_id = 1000 * samples[i]['img_id'] + number
        more.append(dict(samples[i], img_id=image_id))
        truth['images'].append(dict(id=image_id, file_name='x'))
        for one in coco['annotations']:
            if one['image_id'] == samples[i]['img_id']:
                number_of = len(truth['annotations']) + 1
                truth['annotations'].append(dict(one, image_id=image_id, id=number_of))
    return more, truth


class Exact(COCOeval):
    """COCO's numbers before CocoMetric rounds them."""

    stats_seen: list[np.ndarray] = []

    def summarize(self):
        super().summarize()
        self.stats_seen.append(self.stats)


def coco_stats(samples, coco, folder, monkeypatch) -> tuple[dict, np.ndarray, dict]:
    monkeypatch.setattr('mmdet.evaluation.metrics.coco_metric.COCOeval', Exact)
    path = folder / 'truth.json'
    path.write_text(json.dumps(coco))
    found, record = evaluate(
        samples,
        folder / 'record.json',
        CocoMetric(ann_file=str(path)),
        ann_file=str(path),
    )
    return found, Exact.stats_seen.pop(), record


def test_detection(tmp_path, monkeypatch):
    samples, coco = boxes(0)
    names = ['', '_50', '_75', '_s', '_m', '_l']
    found, stats, record = coco_stats(samples, coco, tmp_path, monkeypatch)
    assert not any(key.startswith('record/') for key in found)
    for name, want in zip(names, stats, strict=False):
        got = value(record, f'coco/bbox_mAP{name}')
        assert got == pytest.approx(want, abs=1e-12) and 0.02 < want < 0.98
        assert round(got, 3) == found[f'coco/bbox_mAP{name}']
    rng = np.random.default_rng(1)
    weights = rng.multinomial(len(samples), np.full(8, 1 / 8), size=4)
    got = [statistic(record, f'coco/bbox_mAP{name}')(weights) for name in names]
    for i, one in enumerate(weights):
        stats = coco_stats(*repeated(samples, coco, one), tmp_path, monkeypatch)[1]
        # COCO says -1 where there is no object of that size.
        assert np.nan_to_num([draws[i] for draws in got], nan=-1) == pytest.approx(
            stats[:6], abs=1e-12
        )
    assert np.mean(class_values(record, 'coco/bbox_mAP')) == pytest.approx(
        value(record, 'coco/bbox_mAP')
    )
    assert value(record, 'pascal_voc/mAP') is None


def test_images_of_the_file_that_are_not_tested_count(tmp_path, monkeypatch):
    samples, coco = boxes(2)
    _, stats, record = coco_stats(samples[2:], coco, tmp_path, monkeypatch)
    assert value(record, 'coco/bbox_mAP') == pytest.approx(stats[0], abs=1e-12)
    assert [image['name'] for image in record['images']][-2:] == ['0.jpg', '1.jpg']
    with pytest.raises(DataError, match='no category of the classes'):
        (tmp_path / 'q').write_text(json.dumps(dict(categories=[dict(id=1, name='q')])))
        evaluate(samples, tmp_path / 'record.json', ann_file=str(tmp_path / 'q'))
    with pytest.raises(DataError, match='ann_file=.*cannot be read'):
        ImageRecord('x', ann_file=str(tmp_path / 'none.json'))


def test_truth_in_the_samples(tmp_path):
    """Without an annotation file the record has what CocoMetric or VOCMetric takes."""
    samples, coco = boxes(3)
    label = {7: 0, 3: 1, 5: 2}
    for sample in samples:
        truth = [
            one
            for one in coco['annotations'][:-1]
            if one['image_id'] == sample['img_id']
        ]
        sample['instances'] = [
            dict(
                bbox=[x, y, x + w, y + h],
                bbox_label=label[one['category_id']],
                ignore_flag=one['iscrowd'],
            )
            for one in truth
            for x, y, w, h in [one['bbox']]
        ]
    found, record = evaluate(samples, tmp_path / 'a.json', CocoMetric())
    for name in ('bbox_mAP', 'bbox_mAP_s', 'bbox_mAP_50'):
        assert round(value(record, name), 3) == found[f'coco/{name}'] > 0
    for sample in samples:
        instances = sample.pop('instances')
        for key, flag in (('gt_instances', 0), ('ignored_instances', 1)):
            chosen = [one for one in instances if one['ignore_flag'] == flag]
            sample[key] = dict(
                bboxes=torch.tensor([one['bbox'] for one in chosen]).reshape(-1, 4),
                labels=torch.tensor([one['bbox_label'] for one in chosen]),
            )
    _, again = evaluate(samples, tmp_path / 'b.json')
    assert value(again, 'bbox_mAP') == pytest.approx(value(record, 'bbox_mAP'))
    assert image_scores(again) == pytest.approx([score(one, 3) for one in samples])


def test_segmentation(tmp_path):
    samples = maps(0)
    found, record = evaluate(
        samples, tmp_path / 'a.json', IoUMetric(ignore_index=9), ignore_index=9
    )
    for name in ('mIoU', 'mAcc', 'aAcc'):
        assert value(record, name) == pytest.approx(found[name], abs=0.005001)
    weights = [2, 0, 1, 0, 0, 3, 0]
    chosen = [samples[i] for i in np.repeat(np.arange(7), weights)]
    found, _ = evaluate(chosen, tmp_path / 'b.json', IoUMetric(ignore_index=9))
    assert value(record, 'mIoU', weights) == pytest.approx(found['mIoU'], abs=0.005001)
    # Class b is neither in image 0 nor predicted there.
    (alone,) = class_values(dict(record, images=record['images'][:1]), 'mIoU')
    assert np.isnan(alone[1]) and np.nanmean(alone) == pytest.approx(
        value(record, 'mIoU', np.eye(7)[0])
    )
    assert image_scores(record) == pytest.approx([score(one, 3, 9) for one in samples])


def test_classification(tmp_path):
    samples = labels(0)
    found, record = evaluate(samples, tmp_path / 'a.json', Accuracy())
    assert value(record, 'accuracy/top1') == pytest.approx(found['accuracy/top1'])
    weights = np.random.default_rng(0).multinomial(30, np.full(30, 1 / 30))
    chosen = [samples[i] for i in np.repeat(np.arange(30), weights)]
    found, _ = evaluate(chosen, tmp_path / 'b.json', Accuracy())
    assert value(record, 'accuracy/top1', weights) == pytest.approx(
        found['accuracy/top1']
    )
    truth = np.array([one['true_label'] for one in record['images']])
    right = truth == [one['label'] for one in record['images']]
    assert class_values(record, 'accuracy/top1')[0] == pytest.approx(
        [100 * right[truth == i].mean() for i in range(3)]
    )
    assert class_values(record, 'accuracy/top5') is None
    assert image_scores(record) == pytest.approx([score(one, 3) for one in samples])
    assert value(record, 'accuracy/top5') is None
    # Names come from the files, or else are numbers.
    assert record['images'][4]['name'] == '4.jpg'
    del samples[4]['img_path']
    _, record = evaluate(samples, tmp_path / 'a.json')
    assert record['images'][4]['name'] == '000004'
    # Without probabilities there is a label still.
    for sample in samples:
        del sample['pred_score']
    found, record = evaluate(samples, tmp_path / 'a.json', Accuracy())
    assert value(record, 'accuracy/top1') == pytest.approx(found['accuracy/top1'])


def test_other_samples_write_nothing(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        'mmsr4ir.evaluation.image_record.print_log',
        lambda text, *_, **__: told.append(text),
    )
    several = dict(labels(0, 1)[0], gt_label=torch.tensor([0, 2]))
    points = BaseDataElement(pred_points=torch.zeros(2))
    for samples in ([*labels(0, 3), several], [points], [*labels(0, 1), *maps(0, 1)]):
        evaluator = Evaluator(ImageRecord(str(tmp_path / 'a.json')))
        evaluator.dataset_meta = dict(classes=CLASSES)
        evaluator.process(samples)
        assert evaluator.evaluate(len(samples)) == {}
    assert len(told) == 3 and all('is not written' in text for text in told)
    assert not (tmp_path / 'a.json').exists()


def test_flips(tmp_path):
    def record(name, rows):
        samples = [
            dict(pred_score=torch.tensor(row), gt_label=torch.tensor([0]))
            for row in rows
        ]
        return evaluate(samples, tmp_path / name, Accuracy())[1]

    right, sure, wrong, lost = (0.6, 0.4, 0), (0.9, 0.1, 0), (0.4, 0.6, 0), (0, 1, 0.0)
    a = record('a', [right, wrong, wrong, sure, right, lost])
    b = record('b', [sure, right, sure, lost, wrong, wrong])
    # 0 and 5 are as right or wrong as before.
    assert flips(a, b, 9) == ([2, 1], [3, 4])
    assert flips(a, b, 1) == ([2], [3])
    _, before = evaluate(maps(0), tmp_path / 'c', ignore_index=9)
    _, after = evaluate(maps(1), tmp_path / 'd', ignore_index=9)
    rise = np.subtract(image_scores(after), image_scores(before))
    gained, fallen = flips(before, after, 3)
    assert gained == list(np.argsort(-rise)[: len(gained)]) and rise[gained[-1]] > 0
    assert fallen == list(np.argsort(rise)[: len(fallen)]) and rise[fallen[-1]] < 0


def test_bootstrap_of_labels_has_the_known_error(tmp_path):
    """The variance of a mean of differences is known without any draw."""
    _, a = evaluate(labels(0, 200), tmp_path / 'a')
    _, b = evaluate(labels(0, 200), tmp_path / 'b')
    rng = np.random.default_rng(5)
    for image in b['images']:
        if rng.random() < 0.3:
            image['label'] = image['true_label']
    difference = np.array(
        [
            (y['label'] == y['true_label']) - float(x['label'] == x['true_label'])
            for x, y in zip(a['images'], b['images'], strict=True)
        ]
    )
    got = paired_bootstrap([a], [b], 'accuracy/top1', draws=2000)
    assert got.difference == pytest.approx(100 * difference.mean())
    assert got.std_error == pytest.approx(100 * difference.std() / 200**0.5, rel=0.06)
    half = got.std_error * student.ppf(0.975, np.count_nonzero(difference) - 1)
    assert got.interval == pytest.approx([got.difference - half, got.difference + half])
    assert paired_bootstrap([a], [b], 'accuracy/top1', 2000) == got
    assert paired_bootstrap([b], [a], 'accuracy/top1', 2000).interval == pytest.approx(
        [-got.interval[1], -got.interval[0]]
    )
    assert paired_bootstrap([a], [a], 'accuracy/top1').interval == (0, 0)
    # The mean of two seeds; a metric that records do not have.
    both = paired_bootstrap([a, a], [b, a], 'accuracy/top1')
    assert both.difference == pytest.approx(got.difference / 2)
    assert paired_bootstrap([a], [b], 'accuracy/top5') is None
