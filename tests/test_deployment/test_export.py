"""What is exported, against the libraries' own predictions, and the graphs of it."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from mmsr4ir.deployment import export
from mmsr4ir.deployment.export import ExportError, ExportPart, difference, trace
from mmsr4ir.engine.build import build_model
from mmsr4ir.models.batch import Batch
from mmsr4ir.registry import MODELS
from toys import toy_config

NETWORKS = dict(
    edsr=dict(
        type='mmagic.EDSRNet',
        in_channels=3,
        out_channels=3,
        mid_channels=8,
        num_blocks=1,
        upscale_factor=2,
    ),
    msrresnet=dict(
        type='mmagic.MSRResNet',
        in_channels=3,
        out_channels=3,
        mid_channels=8,
        num_blocks=1,
        upscale_factor=2,
    ),
    bilinear=dict(type='mmsr4ir.InterpolateUpsampler', scale=2),
    # Without shifted windows the sizes are as hard, and its graph is smaller.
    swinir=dict(
        type='mmagic.SwinIRNet',
        upscale=2,
        in_chans=3,
        img_size=16,
        window_size=8,
        img_range=1.0,
        depths=[1],
        embed_dim=4,
        num_heads=[2],
        mlp_ratio=2,
        upsampler='pixelshuffledirect',
        resi_connection='1conv',
    ),
)
SHAPES = [(1, 17, 22), (3, 16, 16), (2, 11, 40)]


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmengine'):
        yield


def toy(part: str = 'sr', **changes) -> ExportPart:
    return ExportPart(MODELS.build(toy_config(**changes)).eval(), part).eval()


def restored(model, lr):
    """By the model itself."""
    scale = model.degradation.scale
    size = tuple(scale * length for length in lr.shape[-2:])
    inputs = torch.zeros(len(lr), 3, *size)
    return model.super_resolve_batch(Batch(inputs, [], [size] * len(lr), inputs, lr))


@pytest.mark.parametrize('sr_range', [1.0, 255.0])
@pytest.mark.parametrize('name', NETWORKS)
@torch.no_grad()
def test_sr_is_what_the_model_restores(name, sr_range):
    recipe = dict(task=dict(update='task', losses=dict(task_sr=1.0)))
    model = MODELS.build(
        toy_config(sr=NETWORKS[name], sr_range=sr_range, recipe=recipe, tdp=None)
    ).eval()
    part = ExportPart(model, 'sr')
    # Of SwinIR's windows: whole, in part, and smaller than one or than half of one.
    for shape in ((16, 24), (17, 9), (5, 30), (2, 3)):
        lr = torch.rand(2, 3, *shape)
        got = part(lr)
        assert list(got) == ['sr']
        assert torch.equal(got['sr'], restored(model, lr))


@pytest.mark.parametrize('name', ['edsr', 'swinir'])
def test_graphs_for_any_batch_and_size(name, tmp_path):
    part = toy(sr=NETWORKS[name])
    program = trace(part, (12, 12))
    path = tmp_path / 'sr.onnx'
    export.save_onnx(program, ['sr'], dict(scale='2'), path)
    onnx = export.load_onnx(path)
    for shape in SHAPES:
        assert difference(part, program.module(), shape) < 1e-6
        assert 0 < difference(part, onnx, shape) < 1e-5
    if name == 'swinir':  # also where there is less than a window
        assert difference(part, onnx, (1, 3, 10)) < 1e-5


def shipped(name: str, **options):
    cfg = Config.fromfile(f'configs/sr4ir/{name}.py')
    cfg.merge_from_dict(
        {'model.sr.mid_channels': 8, 'model.sr.num_blocks': 1, **options}
    )
    return build_model(cfg)


def by_the_library(model, lr):
    """T's own input, from files as T reads them: BGR in [0, 255]."""
    scope = type(model.task).__module__.split('.')[0]
    with DefaultScope.overwrite_default_scope(scope):
        from mmdet.structures import DetDataSample
        from mmpretrain.structures import DataSample
        from mmseg.structures import SegDataSample

        sample = dict(mmdet=DetDataSample, mmpretrain=DataSample, mmseg=SegDataSample)
        images = restored(model, lr).flip(1) * 255
        size = tuple(images.shape[-2:])
        return model.task.data_preprocessor(
            dict(
                inputs=list(images),
                data_samples=[
                    sample[scope](
                        metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size)
                    )
                    for _ in lr
                ],
            ),
            training=False,
        )


@pytest.fixture(scope='module')
def classifier():
    return shipped('resnet18_edsr_tiny')


@pytest.fixture(scope='module')
def segmentor():
    return shipped('deeplabv3_edsr_tiny')


@pytest.fixture(scope='module')
def detector():
    return shipped('faster-rcnn_edsr_tiny', **{'model.task_resize': None})


@pytest.mark.parametrize('divisor', [1, 32])
@torch.no_grad()
def test_classifier(classifier, monkeypatch, divisor):
    monkeypatch.setattr(classifier.task.data_preprocessor, 'pad_size_divisor', divisor)
    lr = torch.rand(2, 3, 9, 12)
    data = by_the_library(classifier, lr)
    assert data['inputs'].shape[-2:] == ((36, 48) if divisor == 1 else (64, 64))
    want = torch.stack(
        [sample.pred_score for sample in classifier.task(**data, mode='predict')]
    )
    got = ExportPart(classifier, 'pipeline')(lr)['logits'].softmax(1)
    torch.testing.assert_close(got, want)
    assert want.std() > 1e-3


@pytest.mark.parametrize('padding', [None, dict(size_divisor=32)])
@torch.no_grad()
def test_segmentor(segmentor, monkeypatch, padding):
    monkeypatch.setattr(segmentor.task.data_preprocessor, 'test_cfg', padding)
    lr = torch.rand(2, 3, 9, 12)
    data = by_the_library(segmentor, lr)
    assert data['inputs'].shape[-2:] == ((64, 64) if padding else (36, 48))
    want = torch.stack(
        [sample.seg_logits.data for sample in segmentor.task(**data, mode='predict')]
    )
    got = ExportPart(segmentor, 'pipeline')(lr)['logits']
    assert got.shape == (2, 5, 36, 48) and want.std() > 1e-3
    torch.testing.assert_close(got, want)


@torch.no_grad()
def test_detector_up_to_its_boxes(detector):
    lr = torch.rand(2, 3, 9, 12)
    data = by_the_library(detector, lr)
    assert data['inputs'].shape[-2:] == (64, 64)  # T pads to multiples of 32
    features = detector.task.extract_feat(data['inputs'])
    scores, boxes = detector.task.rpn_head(features)
    want = (
        {f'feature_{i}': value for i, value in enumerate(features)}
        | {f'head_0_{i}': value for i, value in enumerate(scores)}
        | {f'head_1_{i}': value for i, value in enumerate(boxes)}
    )
    got = ExportPart(detector, 'dense')(lr)
    assert list(got) == list(want) and len(want) == 15
    for name, value in want.items():
        torch.testing.assert_close(got[name], value)


@pytest.mark.parametrize(
    'kind, part, options',
    [
        ('classifier', 'pipeline', {}),
        ('segmentor', 'pipeline', {}),
        ('segmentor', 'pipeline', dict(test_cfg=dict(size_divisor=32))),
        ('detector', 'dense', {}),
    ],
)
def test_graphs_of_both_networks(request, monkeypatch, kind, part, options):
    model = request.getfixturevalue(kind)
    for name, value in options.items():
        monkeypatch.setattr(model.task.data_preprocessor, name, value)
    part = ExportPart(model, part).eval()
    graph = trace(part, (20, 28)).module()
    for shape in ((1, 17, 26), (3, 18, 40), (2, 33, 25)):
        assert difference(part, graph, shape) == 0


def test_graphs_that_hold_for_some_sizes_only(detector):
    """Where the FPN's last level is a single pixel, it is not enlarged but copied."""
    with pytest.raises(ExportError, match='only holds for some sizes: .*Guard failed'):
        trace(ExportPart(detector, 'dense'), (12, 20))


@pytest.mark.parametrize(
    'kind, part, options, said',
    [
        (
            'detector',
            'pipeline',
            {},
            'boxes of a detector .FasterRCNN.*NMS.*--part dense',
        ),
        ('classifier', 'dense', {}, 'for detectors; ImageClassifier is none'),
        ('segmentor', 'pipeline', dict(test_cfg=dict(mode='slide')), 'mode=whole'),
        (
            'segmentor',
            'pipeline',
            dict(data_preprocessor=dict(test_cfg=dict(size=(64, 64)))),
            'pads to one size',
        ),
    ],
)
def test_what_has_no_such_part(request, monkeypatch, kind, part, options, said):
    model = request.getfixturevalue(kind)
    if 'data_preprocessor' in options:
        monkeypatch.setattr(
            model.task.data_preprocessor,
            'test_cfg',
            options['data_preprocessor']['test_cfg'],
        )
    else:
        for name, value in options.items():
            monkeypatch.setattr(model.task, name, value)
    with pytest.raises(ExportError, match=said):
        ExportPart(model, part)


def test_heads_that_need_more_than_features(detector, monkeypatch):
    monkeypatch.setattr(detector.task, 'rpn_head', None)  # proposals from a file
    with pytest.raises(ExportError, match='FasterRCNN has no RPN or dense head'):
        ExportPart(detector, 'dense')


def test_a_task_of_another_kind(monkeypatch):
    model = MODELS.build(toy_config())
    del model.task.head
    with pytest.raises(ExportError, match='ToyTask is no classifier'):
        ExportPart(model, 'pipeline')


class FixedSize(nn.Module):
    """An S whose forward pass is written for whatever size comes first."""

    def forward(self, x):
        return nn.functional.interpolate(
            x, size=[int(float(2 * length)) for length in x.shape[-2:]]
        )


def test_networks_for_one_size_only():
    part = toy()
    part.sr = FixedSize()
    with pytest.raises(ExportError, match='any batch and size.*--static'):
        trace(part, (12, 20))
    graph = trace(part, (12, 20), static=True).module()
    assert difference(part, graph, (1, 12, 20)) == 0
    with pytest.raises(ExportError, match='refuses a batch of 1 at 12 x 21.*Guard'):
        difference(part, graph, (1, 12, 21))


def test_networks_without_a_graph():
    part = toy()
    part.sr.forward = lambda x: x.repeat(1, 1, 2, 2) if x.sum() > 9 else x
    with pytest.raises(ExportError, match='no graph for one image of one size') as info:
        trace(part, (12, 20), static=True)
    assert '--static' not in str(info.value)


def test_a_difference_is_seen():
    part = toy()
    shape = (1, 4, 6)
    assert difference(part, part, shape) == 0

    def changed(lr, factor):
        return {name: factor * value for name, value in part(lr).items()}

    assert difference(part, lambda lr: changed(lr, 1.25), shape) == pytest.approx(0.25)
    found = difference(part, lambda lr: changed(lr, float('nan')), shape)
    assert found != found
    with pytest.raises(ExportError, match='the graph gives'):
        difference(part, lambda lr: dict(sr=part(lr)['sr'][..., 1:]), shape)
    with pytest.raises(ExportError, match='the graph gives'):
        difference(part, lambda lr: dict(other=part(lr)['sr']), shape)


def test_missing_packages(monkeypatch):
    export.check_onnx_packages()
    monkeypatch.setattr(export, '_PACKAGES', ('onnx', 'no_such_package'))
    with pytest.raises(ExportError, match=r'no_such_package.*mmsr4ir\[export\]'):
        export.check_onnx_packages()


def test_a_full_disk_does_not_end_the_process():
    program = torch.export.export(nn.ReLU(), (torch.ones(2),))
    with pytest.raises(OSError, match='No space left'):
        export.save_program(program, {}, Path('/dev/full'))


def test_a_file_of_a_program_has_its_metadata(tmp_path):
    program = torch.export.export(nn.ReLU(), (torch.ones(2),))
    export.save_program(program, dict(scale='4'), tmp_path / 'a.pt2')
    files = {'metadata.json': ''}
    torch.export.load(tmp_path / 'a.pt2', extra_files=files)
    assert json.loads(files['metadata.json']) == dict(scale='4')
    x = torch.tensor([-1.0, 2.0])
    assert export.load_program(tmp_path / 'a.pt2')(x).tolist() == [0.0, 2.0]
