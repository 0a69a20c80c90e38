"""The task network's resize after the SR network, against the libraries' pipelines."""

import copy

import numpy as np
import pytest
import torch
from lr_models import compare, tiny_config, tiny_model
from mmdet.datasets.transforms import PackDetInputs
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.config import ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmpretrain.datasets.transforms import PackInputs
from mmseg.datasets.transforms import PackSegInputs

from mmsr4ir.apis.inferencer import sample_class
from mmsr4ir.deployment import export
from mmsr4ir.models.prediction.lr_input import LRInput
from mmsr4ir.registry import MODELS
from toys import toy_config, toy_data

SCOPES = dict(det='mmdet', seg='mmseg', cls='mmpretrain')
PACKS = dict(det=PackDetInputs, seg=PackSegInputs, cls=PackInputs)
KEEP = dict(type='Resize', scale=(200, 120), keep_ratio=True)
RESIZES = dict(
    keep_ratio=KEEP,
    to_one_size=dict(type='Resize', scale=(96, 80), keep_ratio=False),
    shrink=dict(type='Resize', scale=(50, 40), keep_ratio=True),
    bicubic=dict(KEEP, interpolation='bicubic'),
    drawn=dict(
        type='RandomChoiceResize', scales=[(100, 80), (150, 110)], keep_ratio=True
    ),
    padded=[
        KEEP,
        dict(
            type='Pad', size_divisor=48, pad_val=dict(img=(114.0, 100.0, 50.0), seg=255)
        ),
    ],
)


def loaded(kind: str, size, seed: int) -> dict:
    """What the transforms of a pipeline get: an image with labels of its kind."""
    rng = np.random.default_rng(seed)
    # With fractions, so that OpenCV rounds nothing either.
    results = dict(
        img=rng.uniform(0, 255, (*size, 3)).astype(np.float32),
        img_shape=size,
        ori_shape=size,
        img_id=seed,
        img_path='none',
        gt_label=1,
    )
    if kind == 'seg':
        results |= dict(
            gt_seg_map=rng.integers(0, 4, size, dtype=np.uint8),
            seg_fields=['gt_seg_map'],
        )
    if kind == 'det':
        results |= dict(
            gt_bboxes=HorizontalBoxes(
                [[2.0, 3, 20, 22], [10, 5, 47, 38]], dtype=torch.float32
            ),
            gt_bboxes_labels=np.array([0, 1]),
            gt_ignore_flags=np.array([0, 1]),
        )
        masks = (rng.random((2, *size)) < 0.5).astype(np.uint8)
        results['gt_masks'] = (
            BitmapMasks(masks, *size)
            if seed
            else PolygonMasks(
                [
                    [np.array([2.0, 3, 20, 3, 20, 22])],
                    [np.array([10.0, 5, 47, 5, 47, 38])],
                ],
                *size,
            )
        )
    return results


def model_of(kind: str, task_resize, **changes):
    cfg = tiny_config(kind)
    cfg.model.task_resize = task_resize
    cfg.model.update(changes)
    preprocessor = (cfg if kind == 'cls' else cfg.model.task).data_preprocessor
    preprocessor['size_divisor' if kind == 'seg' else 'pad_size_divisor'] = 16
    if kind == 'det':
        preprocessor.pad_mask = True
    return tiny_model(kind, cfg)


def batch_of(kind: str, transforms, sizes, training: bool) -> dict:
    init_default_scope(SCOPES[kind])
    pipeline = Compose([*copy.deepcopy(transforms), PACKS[kind]()])
    items = [pipeline(loaded(kind, size, seed)) for seed, size in enumerate(sizes)]
    return dict(
        inputs=[one['inputs'] for one in items],
        data_samples=[one['data_samples'] for one in items],
    )


@pytest.mark.parametrize('name', RESIZES)
@pytest.mark.parametrize('kind', ['det', 'seg', 'cls'])
def test_it_is_the_resize_of_the_librarys_pipeline(kind, name):
    """Images, labels and meta information are what Resize makes before the model."""
    transforms = RESIZES[name] if isinstance(RESIZES[name], list) else [RESIZES[name]]
    sizes = ((40, 60), (40, 60)) if kind == 'cls' else ((40, 60), (44, 52))
    model = model_of(kind, RESIZES[name]).train()
    np.random.seed(3)
    want = model.data_preprocessor(batch_of(kind, transforms, sizes, True), True)
    data = model.data_preprocessor(batch_of(kind, [], sizes, True), True)
    before = copy.deepcopy(data['data_samples'])
    np.random.seed(3)
    batch = model.prepare(data['inputs'], data['data_samples'])

    assert batch.inputs.shape == want['inputs'].shape
    # OpenCV's own bicubic and its shrinking have kernels of other precision.
    torch.testing.assert_close(
        batch.inputs, want['inputs'], rtol=0, atol=2e-2 if name == 'bicubic' else 1e-3
    )
    assert batch.lr.shape[-2:] == tuple(-(-side // 4) for side in batch.full)
    assert batch.sizes == list(sizes) and batch.task_sizes != batch.sizes
    for got, other in zip(batch.samples, want['data_samples'], strict=True):
        for key in ('img_shape', 'scale_factor', 'ori_shape'):
            assert got.metainfo[key] == pytest.approx(other.metainfo[key]), key
        if kind == 'det':
            assert got.batch_input_shape == other.batch_input_shape
            for part in ('gt_instances', 'ignored_instances'):
                torch.testing.assert_close(got.get(part).bboxes, other.get(part).bboxes)
                ours, theirs = got.get(part).masks, other.get(part).masks
                if part == 'gt_instances':
                    assert ours.masks[0][0].shape == theirs.masks[0][0].shape
                    np.testing.assert_allclose(ours.to_ndarray(), theirs.to_ndarray())
        if kind == 'seg':
            assert torch.equal(got.gt_sem_seg.data, other.gt_sem_seg.data)
    # What the preprocessor made is not changed.
    for sample, old in zip(data['data_samples'], before, strict=True):
        assert sample.metainfo == old.metainfo


def test_maps_of_panoptic_segmentation_follow():
    """mmdet keeps them as sem_seg, and what they ignore in their meta information."""
    model = model_of('det', KEEP).train()
    sample = batch_of('det', [], ((40, 60),), True)['data_samples'][0]
    labels = torch.arange(2400).reshape(1, 40, 60)
    sample.gt_sem_seg = PixelData(
        sem_seg=torch.nn.functional.pad(labels, (0, 4, 0, 8), value=255),
        metainfo=dict(ignore_index=255),
    )
    size = model.task_resize.rules[True].size((40, 60))
    found = model.task_resize.sample(
        sample, (40, 60), size, (128, 192), labels=True
    ).gt_sem_seg
    assert found.ignore_index == 255 and found.sem_seg.shape == (1, 128, 192)
    assert torch.equal(
        found.sem_seg[:, :120, :180],
        labels.repeat_interleave(3, 1).repeat_interleave(3, 2),
    )
    assert (found.sem_seg[:, 120:] == 255).all()
    assert sample.gt_sem_seg.sem_seg.shape == (1, 48, 64)


@pytest.mark.parametrize(
    'kind, name',
    [
        ('det', 'keep_ratio'),
        ('det', 'padded'),
        ('cls', 'keep_ratio'),
        ('cls', 'padded'),
        ('seg', 'keep_ratio'),  # mmseg takes its own padding for image
    ],
)
def test_predictions_are_in_the_pixels_of_the_file(kind, name):
    transforms = RESIZES[name] if isinstance(RESIZES[name], list) else [RESIZES[name]]
    sizes = ((40, 60), (44, 52)) if kind == 'det' else ((40, 60), (40, 60))
    model = model_of(kind, RESIZES[name], test_on='hr')
    given = batch_of(kind, [], sizes, False)
    found = model.test_step(copy.deepcopy(given))
    alone = model.task.test_step(batch_of(kind, transforms, sizes, False))
    for one, other, size in zip(found, alone, sizes, strict=True):
        compare(kind, one, other, 1)
        assert one.metainfo['img_shape'] == one.metainfo['ori_shape'] == size
        assert {key: value.shape[1:] for key, value in one.images.items()} == dict(
            hr=size, sr=size, lr=(size[0] // 4, size[1] // 4)
        )
        if kind == 'seg':
            assert one.pred_sem_seg.data.shape == (1, *size)
            assert one.gt_sem_seg.data.shape == (1, *size)


@pytest.mark.parametrize('kind', ['det', 'seg', 'cls'])
def test_lr_images_are_restored_first(kind):
    """As the task network alone on the restored image, resized by its library."""
    model = model_of(kind, KEEP)
    given = batch_of(kind, [], ((20, 30),), False)
    if kind == 'seg':
        del given['data_samples'][0].gt_sem_seg
    for coordinates, times in (('lr', 1), ('sr', 4)):
        model.lr_input = LRInput(coordinates)
        (found,) = model.test_step(copy.deepcopy(given))
        init_default_scope(SCOPES[kind])
        results = loaded(kind, (20, 30), 0)
        results['img'] = results['img'].repeat(4, 0).repeat(4, 1)
        results['ori_shape'] = (20 * times, 30 * times)
        results = Compose([copy.deepcopy(KEEP)])(results)
        # From the restored image to the one that is asked for.
        results['scale_factor'] = tuple(
            value * 4 / times for value in results['scale_factor']
        )
        packed = PACKS[kind]()(results)
        (alone,) = model.task.test_step(
            dict(inputs=[packed['inputs']], data_samples=[packed['data_samples']])
        )
        compare(kind, found, alone, 1)
        assert found.images['sr'].shape == (3, 80, 120)
        assert found.metainfo['ori_shape'] == (20 * times, 30 * times)


def test_a_train_step_reaches_s_through_the_resize():
    cfg = toy_config(
        task_resize=dict(type='mmpretrain.ResizeEdge', scale=24, edge='short')
    )
    model = MODELS.build(ConfigDict(cfg)).train()
    data = model.data_preprocessor(toy_data(), True)
    batch = model.prepare(data['inputs'], data['data_samples'])
    assert batch.hr.shape[-2:] == (16, 16) and batch.inputs.shape[-2:] == (24, 24)
    phase = model.recipe[0]
    batch.sr = sr = model.super_resolve_batch(batch)
    (tdp,) = model.term_losses(
        next(term for term in phase.losses if term.name == 'tdp'), batch
    ).values()
    tdp.backward()
    assert all(p.grad.abs().sum() > 0 for p in model.sr.parameters())
    # Independently: normalise, enlarge, run the layer, take the mean difference.
    model.task.eval()

    def features(image):
        mean, std = (
            model.data_preprocessor.get_buffer(name) for name in ('mean', 'std')
        )
        enlarged = torch.nn.functional.interpolate(
            (image * 255 - mean) / std, (24, 24), mode='bilinear'
        )
        return model.task.backbone(enlarged)

    wanted = sum(
        0.5 * (a - b).abs().mean()
        for a, b in zip(features(sr), features(batch.hr), strict=True)
    )
    torch.testing.assert_close(tdp, wanted)


def test_several_sizes_of_an_image_in_test_time_augmentation():
    """With a noted size for each version, which S sees in the image's own size."""
    model = model_of('det', dict(train=None, test=None), test_on='hr')
    given = loaded('det', (40, 60), 0)
    init_default_scope('mmdet')
    for resize in (KEEP, dict(KEEP, scale=(90, 60))):
        pipeline = Compose(
            [
                dict(type='mmsr4ir.NoteTaskSize', resize=resize),
                dict(type='mmsr4ir.PackTaskSize', pack=dict(type='PackDetInputs')),
            ]
        )
        noted = pipeline(copy.deepcopy(given))
        (found,) = model.test_step(
            dict(inputs=[noted['inputs']], data_samples=[noted['data_samples']])
        )
        (alone,) = model.task.test_step(
            {
                key: [value]
                for key, value in Compose(
                    [copy.deepcopy(resize), dict(type='PackDetInputs')]
                )(copy.deepcopy(given)).items()
            }
        )
        compare('det', found, alone, 1)
        assert found.images['hr'].shape == (3, 40, 60)


def test_images_that_are_enlarged_before_s_are_warned_of(monkeypatch):
    """Once, by how much, and with the line that helps."""
    said = []
    monkeypatch.setattr(
        'mmsr4ir.models.batch.print_log', lambda text, *_: said.append(text)
    )

    def logged(transforms, **changes) -> str:
        model, given = (
            model_of('det', **changes),
            batch_of('det', transforms, ((40, 60),) * 2, True),
        )
        said.clear()
        for _ in range(2):
            data = model.data_preprocessor(copy.deepcopy(given), True)
            model.train().prepare(data['inputs'], data['data_samples'])
        return '\n'.join(said)

    text = logged([KEEP], task_resize=None)
    assert text.count('enlarges images') == 1
    assert '3.00 times) before' in text and 'hold 9.0 times the pixels' in text
    assert "model.task_resize='pipeline'" in text
    assert not logged([dict(KEEP, scale=(60, 40))], task_resize=None)
    assert not logged([], task_resize=KEEP)
    # In test-time augmentation, each version is a batch; the first may be a small one.
    model = model_of('det', task_resize=None).eval()
    said.clear()
    for scale, count in (((60, 40), 0), ((180, 120), 1), ((180, 120), 1)):
        given = batch_of('det', [dict(KEEP, scale=scale)], ((40, 60),), False)
        data = model.data_preprocessor(given, False)
        model.prepare(data['inputs'], data['data_samples'])
        assert len(said) == count


def test_what_torch_cannot_do_or_no_config_was_read_for():
    with pytest.raises(ValueError, match="interpolation='lanczos' does not exist"):
        MODELS.build(
            ConfigDict(
                toy_config(
                    task_resize=dict(
                        type='mmcv.Resize', scale=(8, 8), interpolation='lanczos'
                    )
                )
            )
        )
    with pytest.raises(ValueError, match="'pipeline' is for a whole config"):
        MODELS.build(ConfigDict(toy_config(task_resize='pipeline')))


@pytest.mark.parametrize(
    'kind, task_resize, shapes',
    [
        ('seg', KEEP, ((20, 28), (13, 9), (11, 40))),
        ('seg', RESIZES['to_one_size'], ((20, 28), (13, 9))),
        (
            'cls',
            [
                KEEP,
                dict(
                    type='Pad', size=(256, 256), pad_val=dict(img=(114.0, 100.0, 50.0))
                ),
            ],
            ((20, 28),),
        ),
    ],
)
@torch.no_grad()
def test_a_graph_resizes_too(kind, task_resize, shapes):
    model = model_of(kind, task_resize)
    part = export.ExportPart(model, 'pipeline').eval()
    static = len(shapes) == 1
    graph = export.trace(part, shapes[0], static).module()
    for shape in shapes:
        lr = torch.rand(1, 3, *shape)
        got = graph(lr)['logits']
        given = [
            sample_class(model.task)(metainfo=dict(img_shape=shape, ori_shape=shape))
        ]
        image, sample = model.task_resize.loaded(
            model.image_space.to_loaded(model.super_resolve(lr)[0]), given[0]
        )
        data = model.data_preprocessor(
            dict(inputs=[image], data_samples=[sample]), False
        )
        want = model.task(data['inputs'], mode='tensor')
        if kind == 'seg':
            assert got.shape[-2:] == sample.img_shape
            want = torch.nn.functional.interpolate(
                want,
                data['inputs'].shape[-2:],
                mode='bilinear',
                align_corners=model.task.align_corners,
            )[..., : got.shape[-2], : got.shape[-1]]
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


def test_a_rule_that_no_graph_follows_is_refused():
    part = export.ExportPart(
        model_of('cls', dict(type='ResizeEdge', scale=64, edge='short')), 'pipeline'
    )
    with pytest.raises(export.ExportError, match='by a rule .* --static'):
        export.trace(part, (20, 28))
    assert export.trace(part.eval(), (20, 28), static=True)


def test_mmsegs_size_of_a_batch_is_that_of_the_task_network():
    """Images of unequal sizes, all larger than it before and smaller after."""
    cfg = tiny_config('seg')
    cfg.model.task_resize = dict(type='Resize', scale=(30, 20), keep_ratio=True)
    cfg.model.task.data_preprocessor.update(size=(32, 32), size_divisor=None)
    model = tiny_model('seg', cfg).train()
    data = model.data_preprocessor(
        batch_of('seg', [], ((40, 60), (44, 52)), True), True
    )
    batch = model.prepare(data['inputs'], data['data_samples'])
    assert batch.full == (44, 60) and batch.task_full == (32, 32)
    assert batch.task_sizes == [(20, 30), (20, 24)]
    for sample, (_, width) in zip(batch.samples, batch.task_sizes, strict=True):
        labels = sample.gt_sem_seg.data
        assert labels.shape == (1, 32, 32) and (labels[:, 20:] == 255).all()
        assert (labels[..., width:] == 255).all() and (labels[:, :20, :width] < 4).all()
