"""The inferencer for the three tasks: values, files, and what one bad file does."""

import json
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from lr_models import SCALE, save_run, tiny_config, tiny_model
from mmengine.config import Config
from PIL import Image
from pycocotools import mask as coco_mask

from mmsr4ir.apis import SR4IRInferencer
from mmsr4ir.apis.predictions import Result
from mmsr4ir.engine.build import build_model
from mmsr4ir.visualization.drawing import write_png

RNG = np.random.default_rng(0)
A, B = (
    RNG.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in ((32, 40), (24, 64))
)
NAMES = dict(
    det=('horizontal', 'vertical', 'diagonal', 'checker'),
    cls=('checker', 'diagonal', 'horizontal', 'vertical'),
)


@pytest.fixture(scope='module', params=['det', 'seg', 'cls'])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    save_run(request.param, folder)
    return request.param, SR4IRInferencer(folder, show_progress=False)


@pytest.fixture(scope='module')
def det(tmp_path_factory):
    folder = tmp_path_factory.mktemp('run')
    return folder, *save_run('det', folder)


def enlarged(image: np.ndarray) -> np.ndarray:
    return image.repeat(SCALE, axis=0).repeat(SCALE, axis=1)


def alone(inferencer, image: np.ndarray):
    """What the task network finds in the enlarged image."""
    size = tuple(side * SCALE for side in image.shape[:2])
    sample = inferencer.pipeline(image)[1]
    sample.set_metainfo(dict(img_shape=size, ori_shape=size))
    bgr = torch.from_numpy(enlarged(image)[..., ::-1].copy()).permute(2, 0, 1)
    with torch.no_grad():
        return inferencer.model.task.test_step(
            dict(inputs=[bgr], data_samples=[sample])
        )[0]


def test_values(run):
    kind, inferencer = run
    result = inferencer([A, B], score_thr=0.05)
    assert result['names'] == ['image_000000', 'image_000001']
    assert result['failures'] == {}
    for image, found, sr, drawn in zip(
        (A, B),
        result['predictions'],
        result['restored'],
        result['visualization'],
        strict=True,
    ):
        assert (sr == enlarged(image)).all() and sr.dtype == np.uint8
        assert drawn.shape == sr.shape and (drawn != sr).any()
        want = alone(inferencer, image)
        assert found['size'] == list(image.shape[:2])
        assert found['coordinates'] == 'lr'
        if kind == 'det':
            boxes = want.pred_instances
            assert found['labels'] == boxes.labels.tolist() and len(boxes) > 3
            np.testing.assert_allclose(
                found['bboxes'], boxes.bboxes / SCALE, rtol=1e-4, atol=1e-3
            )
            np.testing.assert_allclose(found['scores'], boxes.scores, rtol=1e-4)
            assert found['classes'] == [NAMES['det'][i] for i in found['labels']]
        elif kind == 'seg':
            assert found['sem_seg'].shape == image.shape[:2]
            # A pixel of the image is the middle of 4 x 4 pixels of the restored one.
            full = want.pred_sem_seg.data[0].numpy()
            assert (found['sem_seg'] == full[2::4, 2::4]).mean() > 0.9
        else:
            np.testing.assert_allclose(found['pred_scores'], want.pred_score, rtol=1e-4)
            assert found['pred_label'] == int(want.pred_label)
            assert found['pred_class'] == NAMES['cls'][found['pred_label']]
            assert found['pred_score'] == max(found['pred_scores'])


@pytest.mark.parametrize('thr, labels', [(0, [0, 1, 2, 3]), (1, [])])
def test_a_classifier_that_gives_any_number_of_labels(thr, labels, tmp_path):
    task = dict(
        tiny_config('cls').model.task,
        head=dict(
            type='MultiLabelLinearClsHead', num_classes=4, in_channels=128, thr=thr
        ),
    )
    save_run('cls', tmp_path, task=task)
    result = SR4IRInferencer(tmp_path, show_progress=False)(A, out_dir=tmp_path / 'out')
    found = result['predictions'][0]
    assert found['pred_label'] == labels and len(found['pred_scores']) == 4
    assert found['pred_class'] == [NAMES['cls'][i] for i in labels]
    assert found['pred_score'] == [found['pred_scores'][i] for i in labels]
    written = json.loads((tmp_path / 'out/preds/image_000000.json').read_text())
    assert written['pred_label'] == labels
    assert (tmp_path / 'out/vis/image_000000.png').is_file()


def test_in_the_coordinates_of_the_restored_image(run):
    kind, inferencer = run
    low, high = (
        inferencer(A, coordinates=where)['predictions'][0] for where in ('lr', 'sr')
    )
    assert high['size'] == [32 * SCALE, 40 * SCALE]
    if kind == 'det':
        np.testing.assert_allclose(
            np.array(low['bboxes']) * SCALE, high['bboxes'], rtol=1e-4, atol=1e-3
        )
    elif kind == 'seg':
        want = alone(inferencer, A).pred_sem_seg.data[0].numpy()
        assert (high['sem_seg'] == want).mean() > 0.999
    else:
        assert high['pred_scores'] == low['pred_scores']


def test_a_batch_of_images_of_different_sizes(run):
    kind, inferencer = run
    single = inferencer([A, B, A], draw=False)
    together = inferencer([A, B, A], batch_size=3, draw=False)
    for one, other in zip(single['predictions'], together['predictions'], strict=True):
        if kind == 'det':  # mmdet's padding changes what is near it
            assert len(one['bboxes']) == pytest.approx(len(other['bboxes']), abs=10)
            right, bottom = np.array(other['bboxes'])[:, 2:].max(0)
            assert right <= other['size'][1] and bottom <= other['size'][0]
        elif kind == 'seg':
            assert (one['sem_seg'] == other['sem_seg']).mean() > 0.99
        else:
            np.testing.assert_allclose(
                one['pred_scores'], other['pred_scores'], rtol=1e-3
            )
    assert together['visualization'] == [None] * 3


def test_files(run, tmp_path):
    kind, inferencer = run
    write_png(tmp_path / 'in' / 'a.png', A)
    write_png(tmp_path / 'in' / 'b.png', B)
    (tmp_path / 'in' / 'bad.png').write_bytes(b'')
    result = inferencer(tmp_path / 'in', out_dir=tmp_path / 'out')
    assert result['restored'] == result['visualization'] == [None] * 3
    bad = str(tmp_path / 'in' / 'bad.png')
    assert result['failures'] == {bad: 'is empty (0 bytes)'}
    assert result['predictions'][2] is None
    files = sorted(
        str(p.relative_to(tmp_path / 'out'))
        for p in (tmp_path / 'out').rglob('*')
        if p.is_file()
    )
    maps = ['preds/a.png', 'preds/b.png'] if kind == 'seg' else []
    assert files == sorted(
        maps
        + [
            f'{folder}/{name}'
            for folder, suffix in (
                ('preds', 'json'),
                ('restored', 'png'),
                ('vis', 'png'),
            )
            for name in (f'a.{suffix}', f'b.{suffix}')
        ]
    )
    restored = np.asarray(Image.open(tmp_path / 'out' / 'restored' / 'b.png'))
    assert (restored == enlarged(B)).all()
    written = json.loads((tmp_path / 'out/preds/b.json').read_text())
    found = result['predictions'][1]
    assert written.pop('input') == str(tmp_path / 'in' / 'b.png')
    if kind == 'seg':
        name = written.pop('sem_seg')
        assert (
            np.asarray(Image.open(tmp_path / 'out/preds' / name))
            == found.pop('sem_seg')
        ).all()
    assert written == found


def test_every_kind_of_file(det, tmp_path):
    folder, grey = tmp_path / 'in', A[..., 0]
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.fromarray(grey).save(folder / 'grey.png')
    cv2.imwrite(str(folder / 'deep.png'), grey.astype(np.uint16) * 256)
    Image.fromarray(np.dstack([A, grey])).save(folder / 'alpha.png')
    Image.fromarray(A).convert('CMYK').save(folder / 'cmyk.jpg')
    Image.fromarray(A).save(folder / 'turned.jpg', exif=exif)
    Image.fromarray(grey).save(
        folder / 'moving.gif',
        save_all=True,
        append_images=[Image.fromarray(grey // 2)] * 3,
    )
    inferencer = SR4IRInferencer(det[0], show_progress=False)
    result = inferencer(folder, out_dir=tmp_path / 'out', batch_size=4)
    assert result['failures'] == {}
    sizes = {
        name: found['size']
        for name, found in zip(result['names'], result['predictions'], strict=True)
    }
    assert sizes == dict(
        alpha=[32, 40],
        cmyk=[32, 40],
        deep=[32, 40],
        grey=[32, 40],
        moving=[32, 40],
        turned=[40, 32],
    )
    for name, want in dict(grey=grey, deep=grey, moving=grey, alpha=A).items():
        restored = np.asarray(Image.open(tmp_path / 'out/restored' / f'{name}.png'))
        want = want if want.ndim == 3 else np.dstack([want] * 3)
        assert (restored == enlarged(want)).all()


def test_data_samples(run):
    kind, inferencer = run
    sample, found = (
        inferencer(A, return_datasamples=samples)['predictions'][0]
        for samples in (True, False)
    )
    assert (
        dict(det='pred_instances', seg='pred_sem_seg', cls='pred_score')[kind] in sample
    )
    assert sample.metainfo['ori_shape'] == (32, 40)
    if kind == 'det':
        assert sample.pred_instances.bboxes.tolist() == found['bboxes']


def test_predictions_are_those_of_the_file(run, tmp_path):
    _, inferencer = run
    write_png(tmp_path / 'a.png', A)
    content = (tmp_path / 'a.png').read_bytes()
    tensor = torch.from_numpy(A).permute(2, 0, 1)
    given = [tmp_path / 'a.png', A, tensor, Image.fromarray(A), content]
    found = inferencer(given, draw=False)
    for prediction in found['predictions'][1:]:
        np.testing.assert_equal(prediction, found['predictions'][0])


def test_restore_only(run, tmp_path):
    _, inferencer = run
    result = inferencer([A, B], restore_only=True, tile=32, overlap=8)
    for image, sr in zip((A, B), result['restored'], strict=True):
        assert abs(sr.astype(int) - enlarged(image)).max() <= 1
    assert result['predictions'] == [None, None]
    inferencer([B], restore_only=True, out_dir=tmp_path, tile=32, overlap=8)
    assert [p.name for p in tmp_path.iterdir()] == ['restored']
    written = np.asarray(Image.open(tmp_path / 'restored' / 'image_000000.png'))
    assert (written == result['restored'][1]).all()


def test_one_pixel(run):
    _, inferencer = run
    result = inferencer([A[:1, :1], A], batch_size=2)
    assert result['failures'] == {} and result['restored'][0].shape == (4, 4, 3)
    assert result['predictions'][0]['size'] == [1, 1]


def test_very_wide(run):
    _, inferencer = run
    image = np.zeros((2, 30000, 3), np.uint8)
    image[:, 29000:] = 255
    result = inferencer([image], tile=2048)
    assert result['failures'] == {}
    assert result['restored'][0].shape == (8, 120000, 3)
    assert (result['restored'][0] == enlarged(image)).all()
    assert result['predictions'][0]['size'] == [2, 30000]
    assert result['visualization'] == [None]  # too wide to draw on


def test_an_image_that_no_png_holds_does_not_stop_the_others(run, tmp_path):
    _, inferencer = run
    results = [
        Result(
            name,
            name,
            restored=np.zeros((1, width, 3), np.uint8),
            prediction=dict(pred_label=1),
        )
        for name, width in (('long', 1_000_001), ('short', 9))
    ]
    for result in results:
        inferencer.postprocess(result, out_dir=tmp_path)
    assert '1000001 x 1 pixels cannot be written' in results[0].error
    assert results[1].error is None
    assert sorted(path.name for path in tmp_path.rglob('*.*')) == [
        'short.json',
        'short.png',
    ]


def test_tiles_of_a_convolutional_network(det):
    folder, config, _ = det
    cfg = Config.fromfile(config)
    cfg.model.sr = dict(
        type='mmagic.EDSRNet',
        in_channels=3,
        out_channels=3,
        mid_channels=8,
        num_blocks=2,
        upscale_factor=4,
    )
    torch.manual_seed(0)
    model = build_model(cfg)
    file = folder / 'edsr.pth'
    torch.save(dict(state_dict=model.state_dict()), file)
    inferencer = SR4IRInferencer(cfg, file, show_progress=False)
    image = RNG.integers(0, 256, (90, 70, 3), dtype=np.uint8)
    whole = inferencer(image, tile=None)
    # Six convolutions before the first doubling see 6 pixels, the other three less
    # than 2 more.
    tiled = inferencer(image, tile=40, overlap=16)
    assert abs(whole['restored'][0].astype(int) - tiled['restored'][0]).max() <= 1
    np.testing.assert_allclose(
        whole['predictions'][0]['bboxes'], tiled['predictions'][0]['bboxes'], atol=0.05
    )
    rough = inferencer(image, tile=40, overlap=0)['restored'][0]
    assert (rough != whole['restored'][0]).any()


def test_masks(tmp_path):
    cfg = tiny_config('det')
    head = cfg.model.task.roi_head
    head.mask_roi_extractor = dict(
        head.bbox_roi_extractor,
        roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=1),
    )
    head.mask_head = dict(
        type='FCNMaskHead',
        num_convs=1,
        in_channels=32,
        conv_out_channels=8,
        num_classes=4,
    )
    cfg.model.task.test_cfg.rcnn.mask_thr_binary = 0.5
    model = tiny_model('det', cfg)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    inferencer = SR4IRInferencer(cfg, tmp_path / 'a.pth', show_progress=False)
    result = inferencer(A, return_datasamples=True)
    masks = result['predictions'][0].pred_instances.masks
    found = inferencer(A, out_dir=tmp_path)['predictions'][0]
    assert found['classes'][0] == str(found['labels'][0])  # no names are known
    written = json.loads((tmp_path / 'preds' / 'image_000000.json').read_text())
    assert (coco_mask.decode(written['masks']) == masks.permute(1, 2, 0).numpy()).all()


def test_an_image_that_the_networks_refuse_does_not_stop_the_others(run, monkeypatch):
    _, inferencer = run
    forward = inferencer.model.sr.forward

    taken, left = [], []  # what the refused batch took, and what of it stayed

    def refuse(lr):
        left.extend(one() is not None for one in taken)
        if lr.shape[-1] == 64:
            activation = lr + 1
            taken.append(weakref.ref(activation))
            raise RuntimeError('out of memory')
        return forward(lr)

    monkeypatch.setattr(inferencer.model.sr, 'forward', refuse)
    result = inferencer([A, B, A], batch_size=3)
    assert len(taken) == 2 and left and not any(left)
    assert result['failures'] == {
        'array 1': 'is refused by the networks (RuntimeError: out of memory)'
    }
    assert [found is None for found in result['predictions']] == [False, True, False]


@pytest.mark.parametrize('folder', [None, 'restored'])
def test_a_gpu_that_failed_is_of_no_image(run, monkeypatch, tmp_path, folder):
    """Not so the memory that an image alone is too large for."""
    _, inferencer = run
    error = torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB')

    def fail(lr):
        raise error

    monkeypatch.setattr(inferencer.model.sr, 'forward', fail)
    options = dict(restore_only=True, out_dir=tmp_path) if folder else {}
    assert 'OutOfMemoryError' in inferencer(A, **options)['failures']['array 0']
    kind = getattr(torch, 'AcceleratorError', RuntimeError)
    error = kind('CUDA error: an illegal memory access was encountered')
    with pytest.raises(kind, match='illegal memory access'):
        inferencer(A, **options)


def test_too_large_for_the_task_network(det):
    _, config, checkpoint = det
    inferencer = SR4IRInferencer(
        config, checkpoint, show_progress=False, max_task_pixels=128 * 160
    )
    result = inferencer([A, B], batch_size=2)
    assert result['failures'] == {
        'array 1': 'would have 256 x 96 pixels once restored, more than '
        'max_task_pixels=20480: raise that, or only restore it (restore_only)'
    }
    assert inferencer(B, restore_only=True)['failures'] == {}


def test_where_the_checkpoint_is_looked_for(det, tmp_path):
    folder, config, checkpoint = det
    (tmp_path / Path(config).name).write_text(Path(config).read_text())
    with pytest.raises(ValueError, match='no weights: give the file of a training'):
        SR4IRInferencer(tmp_path)
    (tmp_path / 'last_checkpoint').write_text('/moved/away/epoch_1.pth')
    with pytest.raises(ValueError, match='there is no checkpoint .*epoch_1.pth'):
        SR4IRInferencer(tmp_path)
    (tmp_path / 'epoch_1.pth').write_bytes(Path(checkpoint).read_bytes())
    last = SR4IRInferencer(tmp_path, show_progress=False)
    state = torch.load(checkpoint)
    state['state_dict']['task.rpn_head.rpn_conv.bias'] += 5
    torch.save(state, tmp_path / 'best_coco_bbox_mAP_epoch_1.pth')
    best = SR4IRInferencer(tmp_path, show_progress=False)
    biases = [one.model.task.rpn_head.rpn_conv.bias for one in (best, last)]
    torch.testing.assert_close(biases[0], biases[1] + 5)
    with pytest.raises(ValueError, match='neither a config nor a work directory'):
        SR4IRInferencer(tmp_path / 'none')


def test_the_config_is_that_of_the_training_and_not_of_a_test(det, tmp_path):
    folder, config, checkpoint = det
    cfg = Config.fromfile(config)
    state = torch.load(checkpoint)
    state['meta']['cfg'] = cfg.pretty_text
    torch.save(state, tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    cfg.model.test_on = 'lr'  # as tools/test.py leaves it
    cfg.dump(tmp_path / Path(config).name)
    assert SR4IRInferencer(tmp_path, show_progress=False).model.test_on == 'sr'
    state['meta']['cfg'] = 'import os\nmodel = os.environ'
    torch.save(state, tmp_path / 'epoch_1.pth')
    assert SR4IRInferencer(tmp_path, show_progress=False).model.test_on == 'lr'


def test_settings_that_cannot_be(run):
    _, inferencer = run
    with pytest.raises(ValueError, match="coordinates='hr': use one of"):
        inferencer(A, coordinates='hr')
    with pytest.raises(ValueError, match='tile=8 is too small'):
        inferencer(A, tile=8)
    with pytest.raises(ValueError, match='tile=8 is too small'):
        inferencer(A, tile=8, restore_only=True, out_dir='none')
    with pytest.raises(ValueError, match='unknown argument.*tiles'):
        inferencer(A, tiles=8)
    with pytest.raises(ValueError, match='batch_size=0 must be a positive'):
        inferencer(A, batch_size=0)


def test_the_progress_bar(run, capsys):
    _, inferencer = run
    inferencer.show_progress = True
    inferencer([A, B], draw=False)
    inferencer.show_progress = False
    assert 'Inference' in capsys.readouterr().out
