"""Restored beside enlarged: values against the networks run by hand, for each task."""

import copy
import json
from functools import partial

import gradio as gr
import numpy as np
import pytest
import torch
from lr_models import SCALE, save_run
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn import functional as F

from mmsr4ir.apis import SR4IRInferencer
from mmsr4ir.apis.side_by_side import SideBySide, score_rows, write_comparison
from mmsr4ir.cli.web_page import AS_IT_IS, build_page
from mmsr4ir.models.degradations.paired_lr import PairedLR
from mmsr4ir.utils.images import ImageError

IMAGE = np.random.default_rng(0).integers(0, 256, (70, 98, 3), dtype=np.uint8)


@pytest.fixture(scope='module', params=['det', 'seg', 'cls'])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_run(request.param, folder)
    inferencer = SR4IRInferencer(folder, show_progress=False)
    return request.param, SideBySide(inferencer, score_thr=0.05)


def tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None] / 255


def array(image: torch.Tensor) -> np.ndarray:
    return (image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def test_an_image_that_is_degraded(run):
    kind, compare = run
    found = compare(IMAGE, SCALE)
    hr = IMAGE[:68, :96]  # what 4 divides
    lr = array(F.interpolate(tensor(hr), scale_factor=1 / 4, mode='bicubic'))
    assert (found.lr == lr).all()
    sr = lr.repeat(4, 0).repeat(4, 1)  # the S of the tests
    smooth = array(F.interpolate(tensor(lr), scale_factor=4, mode='bilinear'))
    assert (found.restored.restored == sr).all()
    assert abs(found.enlarged.restored.astype(int) - smooth).max() <= 1  # rounding
    ssim = partial(
        structural_similarity,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=2,
    )
    for name, measure in (('PSNR', peak_signal_noise_ratio), ('SSIM', ssim)):
        np.testing.assert_allclose(
            found.quality[name],
            [measure(hr, found.enlarged.restored), measure(hr, sr)],
            rtol=1e-3,
        )
    same(
        found.restored.prediction,
        compare.inferencer(lr, coordinates='sr')['predictions'][0],
    )
    assert found.restored.prediction['size'] == [68, 96]
    assert not equal(found.restored.prediction, found.enlarged.prediction)
    assert [row[0] for row in compare.scores(found)[-2:]] == ['PSNR (dB)', 'SSIM']


def same(one: dict, other: dict) -> None:
    assert one.keys() == other.keys() and equal(one, other)


def equal(one: dict, other: dict) -> bool:
    return all(np.array_equal(one[key], other[key]) for key in one)


def test_the_enlarged_image_is_seen_by_the_same_task_network(run):
    """As if the task network had been given a file of the enlarged image."""
    kind, compare = run
    found = compare(IMAGE, SCALE).enlarged
    inferencer = compare.inferencer
    size = found.restored.shape[:2]
    sample = inferencer.pipeline(found.restored)[1]
    sample.set_metainfo(dict(img_shape=size, ori_shape=size))
    bgr = torch.from_numpy(found.restored[..., ::-1].copy()).permute(2, 0, 1)
    with torch.no_grad():
        want = inferencer.model.task.test_step(
            dict(inputs=[bgr], data_samples=[sample])
        )[0]
    if kind == 'det':  # up to the rounding to 8 bits
        best = slice(0, 5)
        np.testing.assert_allclose(
            found.prediction['scores'][best],
            want.pred_instances.scores[best],
            atol=0.01,
        )
    elif kind == 'seg':
        wanted = want.pred_sem_seg.data[0].numpy()
        assert (found.prediction['sem_seg'] == wanted).mean() > 0.95
    else:
        np.testing.assert_allclose(
            found.prediction['pred_scores'], want.pred_score, atol=0.01
        )


def test_an_image_as_it_is(run):
    _, compare = run
    found = compare(IMAGE, None)
    assert (found.lr == IMAGE).all() and found.quality == {}
    assert (found.restored.restored == IMAGE.repeat(4, 0).repeat(4, 1)).all()
    same(found.restored.prediction, compare.inferencer(IMAGE)['predictions'][0])
    assert found.restored.prediction['coordinates'] == 'lr'


def test_more_degraded_than_it_is_restored(run):
    found = run[1](IMAGE, 8)
    assert found.lr.shape == (8, 12, 3) and found.quality == {}
    assert found.restored.restored.shape == (32, 48, 3)


def test_a_model_of_pairs_has_nothing_to_degrade_with(run):
    inferencer = copy.copy(run[1].inferencer)
    assert run[1].can_degrade
    model = inferencer.model = copy.copy(inferencer.model)
    model._modules = dict(model._modules, degradation=PairedLR('hr', 'lr'))
    compare = SideBySide(inferencer)
    assert not compare.can_degrade
    page = build_page(compare, 'pairs')
    (radio,) = (block for block in page.blocks.values() if isinstance(block, gr.Radio))
    assert radio.value == AS_IT_IS and [name for name, _ in radio.choices] == [AS_IT_IS]


def test_what_cannot_be(run):
    compare = run[1]
    with pytest.raises(ImageError, match='10 x 50 pixels, but degrading it by 4 needs'):
        compare(IMAGE[:50, :10], 4)
    with pytest.raises(ImageError, match='11 x 15 pixels, .* by 16 needs 16 each way'):
        compare(IMAGE[:15, :11], 16)
    limit = compare.inferencer.max_task_pixels
    compare.interpolation.max_task_pixels = 1000
    with pytest.raises(ImageError, match='more than max_task_pixels=1000'):
        compare(IMAGE, None)
    compare.interpolation.max_task_pixels = limit


def test_files(run, tmp_path):
    kind, compare = run
    found = compare(IMAGE, SCALE)
    files = write_comparison(found, tmp_path / 'new')
    names = {
        f'{side}{rest}'
        for side in ('lr', 'sr')
        for rest in (
            '.png',
            '_drawn.png',
            '_found.json',
            *(['_found.png'] * (kind == 'seg')),
        )
    }
    assert {path.name for path in files} == names
    assert (np.asarray(Image.open(files[0])) == found.lr).all()
    for side, result, i in (('lr', found.enlarged, 0), ('sr', found.restored, 1)):
        content = json.loads((tmp_path / 'new' / f'{side}_found.json').read_text())
        assert content['degraded_by'] == 4 and content['size'] == [68, 96]
        assert content['quality']['PSNR'] == found.quality['PSNR'][i]
        if kind == 'det':
            assert content['bboxes'] == result.prediction['bboxes']
        drawn = np.asarray(Image.open(tmp_path / 'new' / f'{side}_drawn.png'))
        assert (drawn == result.picture).all() and drawn.shape == (68, 96, 3)
    assert (
        np.asarray(Image.open(tmp_path / 'new/sr.png')) == found.restored.restored
    ).all()


def boxes(**scores: list[float]) -> dict:
    pairs = [(name, value) for name, values in scores.items() for value in values]
    return dict(
        bboxes=[[0, 0, 1, 1]] * len(pairs),
        classes=[name for name, _ in pairs],
        scores=[value for _, value in pairs],
    )


def test_rows_of_a_detector():
    rows = score_rows(
        boxes(cat=[0.31, 0.62], dog=[0.29], cow=[0.9]),
        boxes(cat=[0.8], cow=[0.5], ant=[0.3]),
        (),
        0.3,
    )
    assert rows == [
        ('cow', '0.90', '0.50'),
        ('cat', '0.62, 0.31', '0.80'),
        ('ant', '-', '0.30'),
    ]
    ((_, many, _),) = score_rows(boxes(cat=[0.5] * 12), boxes(), (), 0.3)
    assert many == ', '.join(['0.50'] * 10) + ' and 2 more'
    assert score_rows(boxes(cat=[0.2]), boxes(), (), 0.3) == []


def test_rows_of_a_segmentor():
    low, high = (
        dict(sem_seg=np.array(pixels, np.uint8))
        for pixels in ([[0, 0], [0, 3]], [[0, 1], [1, 1]])
    )
    assert score_rows(low, high, list('abcd'), 0.3) == [
        ('b', '0.0 %', '75.0 %'),
        ('a', '75.0 %', '25.0 %'),
        ('d', '25.0 %', '0.0 %'),
    ]


def test_rows_of_a_classifier():
    low, high = (
        dict(pred_scores=scores)
        for scores in (
            [0.1, 0.05, 0.6, 0.15, 0.06, 0.04],
            [0.7, 0.1, 0.05, 0.05, 0.06, 0.04],
        )
    )
    assert score_rows(low, high, list('abcdef'), 0.3) == [
        ('a', '10.0 %', '70.0 %'),
        ('c', '60.0 %', '5.0 %'),
        ('d', '15.0 %', '5.0 %'),
        ('b', '5.0 %', '10.0 %'),
        ('e', '6.0 %', '6.0 %'),
    ]
