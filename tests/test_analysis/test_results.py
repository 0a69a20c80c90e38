"""Scores of single images against counts by hand and against pycocotools."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmsr4ir.analysis.results import best_and_worst, draw_result, kind_of, score
from mmsr4ir.visualization.drawing import build_annotator


def boxes(*rows, scores=None, labels=None) -> dict:
    found = dict(
        bboxes=torch.from_numpy(np.array(rows, np.float32)).reshape(-1, 4),
        labels=torch.tensor(labels or [0] * len(rows)),
    )
    return found | (dict(scores=torch.tensor(scores)) if scores else {})


def detection(truth: dict, found: dict) -> dict:
    found.setdefault('scores', torch.zeros(0))
    return dict(gt_instances=truth, pred_instances=found)


A, B = (0, 0, 10, 10), (20, 20, 40, 40)


@pytest.mark.parametrize(
    'truth, found, want',
    [
        (boxes(A, B), boxes(A, B, scores=[0.9, 0.2]), 1.0),
        # The false one comes first: precision 1/2 and 2/3, the better one for both.
        (boxes(A, B), boxes((50, 50, 60, 60), A, B, scores=[0.9, 0.8, 0.7]), 2 / 3),
        (boxes(A, B), boxes(A, scores=[0.9]), 0.5),
        # The same place in another class is no hit; a class that is not there is free.
        (
            boxes(A, B, labels=[0, 1]),
            boxes(A, B, B, scores=[0.9] * 3, labels=[0, 0, 2]),
            0.5,
        ),
        (boxes(A), boxes(), 0.0),
        (boxes(), boxes(A, scores=[0.9]), None),
        (boxes(A), boxes((0, 0, 10, 4.9), scores=[0.9]), 0.0),  # IoU below 0.5
        (boxes(A), boxes((0, 0, 10, 5.1), scores=[0.9]), 1.0),
    ],
)
def test_detection_by_hand(truth, found, want):
    assert score(detection(truth, found), 3) == (
        want if want is None else pytest.approx(want)
    )


def test_detection_as_pycocotools_counts(capsys):
    rng = np.random.default_rng(0)
    for _ in range(5):
        corner = rng.uniform(0, 60, (12, 2))
        truth = np.hstack([corner, corner + rng.uniform(10, 30, (12, 2))])
        found = truth + rng.uniform(-4, 4, truth.shape)
        labels, shown = rng.integers(0, 3, 12), rng.integers(0, 3, 12)
        shown = np.where(rng.random(12) < 0.7, labels, shown)
        confidence = rng.permutation(12) / 12
        coco = COCO()
        coco.dataset = dict(
            info={},
            images=[dict(id=1, width=99, height=99)],
            categories=[dict(id=i) for i in range(3)],
            annotations=[
                dict(
                    id=i + 1,
                    image_id=1,
                    category_id=int(label),
                    iscrowd=0,
                    bbox=[*map(float, (x1, y1, x2 - x1, y2 - y1))],
                    area=float((x2 - x1) * (y2 - y1)),
                )
                for i, ((x1, y1, x2, y2), label) in enumerate(
                    zip(truth, labels, strict=True)
                )
            ],
        )
        coco.createIndex()
        results = coco.loadRes(
            np.column_stack(
                [
                    np.ones(12),
                    found[:, :2],
                    found[:, 2:] - found[:, :2],
                    confidence,
                    shown,
                ]
            )
        )
        judge = COCOeval(coco, results, 'bbox')
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        got = score(
            detection(
                boxes(*truth, labels=labels.tolist()),
                boxes(*found, labels=shown.tolist(), scores=confidence.tolist()),
            ),
            3,
        )
        # COCO samples the curve at 101 places, mmdet measures its whole area.
        assert got == pytest.approx(judge.stats[1], abs=0.03)
        assert 0.2 < got < 1
    capsys.readouterr()


def test_segmentation_by_hand():
    truth = torch.tensor([[[0, 0, 1, 1], [0, 0, 1, 255]]])
    found = torch.tensor([[[0, 0, 0, 1], [0, 2, 1, 1]]])
    # Class 0: 3 in common of 5; class 1: 2 of 3; class 2 is not in the image.
    result = dict(pred_sem_seg=dict(data=found), gt_sem_seg=dict(data=truth))
    assert score(result, 3) == pytest.approx((3 / 5 + 2 / 3) / 2)
    result['gt_sem_seg']['data'] = torch.full_like(truth, 255)
    assert score(result, 3) is None
    result['gt_sem_seg']['data'] = torch.full_like(truth, 7)
    assert score(result, 9, ignore_index=7) is None


def test_classification():
    result = dict(pred_score=torch.tensor([0.1, 0.7, 0.2]), gt_label=torch.tensor([2]))
    assert score(result, 3) == pytest.approx(0.2)
    with pytest.raises(ValueError, match='several labels'):
        score(dict(result, gt_label=torch.tensor([0, 2])), 3)


@pytest.mark.parametrize(
    'scores, count, best, worst',
    [
        ([0.5, None, 0.9, 0.1, 0.7], 1, [2], [3]),
        ([0.5, None, 0.9, 0.1, 0.7], 9, [2, 4], [3, 0]),
        ([0.5], 3, [], [0]),
        ([None], 3, [], []),
    ],
)
def test_best_and_worst(scores, count, best, worst):
    assert best_and_worst(scores, count) == (best, worst)


@pytest.mark.parametrize(
    'results, message',
    [
        ({}, 'no list of predictions'),
        ([], 'no list of predictions'),
        ([dict(pred_panoptic_seg=1)], 'none of pred_instances.*but pred_panoptic_seg'),
        ([dict(pred_score=1)], 'no gt_label: the test pipeline has to load'),
    ],
)
def test_other_files_are_refused(results, message):
    with pytest.raises(ValueError, match=message):
        kind_of(results)


def test_pictures_of_images_in_memory():
    image = np.full((64, 64, 3), 100, np.uint8)

    class Dataset:
        def get_data_info(self, index):
            return dict(img=image + index)

    annotator = build_annotator(
        Config(dict(visualizer=dict(type='mmpretrain.UniversalVisualizer'))),
        dict(classes=('a', 'b')),
    )
    result = dict(
        pred_score=torch.tensor([0.1, 0.9]),
        gt_label=torch.tensor([0]),
        pred_label=torch.tensor([1]),
        sample_idx=3,
    )
    picture = draw_result(result, 3, Dataset(), annotator, 'score 0.100', min_size=128)
    assert picture.shape == (2 * 22 + 128 + 2, 3 * 130, 3)
    plain, found, truth = (
        picture[45:-1, 1 + 130 * i : 129 + 130 * i] for i in range(3)
    )
    assert (plain == 103).all()
    assert (found != plain).any() and (truth != plain).any() and (found != truth).any()
