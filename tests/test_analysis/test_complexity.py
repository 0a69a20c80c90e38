"""Against counts by hand, and by the shapes that the layers see."""

import json
import math
import sys

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

import toys
from mmsr4ir.analysis.complexity import (
    complexity,
    count_flops,
    count_networks,
    sample_image,
)
from mmsr4ir.engine.build import build_model


def config() -> Config:
    return Config(dict(model=toys.toy_config(), default_scope='mmengine'))


def test_toys_by_hand():
    # S: a convolution from 3 to 12 channels on 8 x 10 LR pixels, and BatchNorm.
    sr = 2 * 8 * 10 * 12 * 3 * 9
    # T: strides of 2 and 2, then a 1 x 1 convolution and a linear layer on the mean.
    task = 2 * (8 * 10 * 4 * 3 * 9 + 4 * 5 * 4 * (4 * 9 + 4) + 4 * 3)
    parameters = dict(
        sr=12 * 27 + 12 + 24, task=4 * 27 + 4 + 8 + 4 * 36 + 4 + 16 + 4 + 12 + 3
    )
    counts = complexity(config(), (16, 20))
    assert counts['sr'] == dict(params=parameters['sr'], flops=sr, pixels=(8, 10))
    assert counts['task'] == dict(
        params=parameters['task'], flops=task, pixels=(16, 20)
    )
    assert counts['sum'] == dict(params=sum(parameters.values()), flops=sr + task)


def test_detector_with_its_heads():
    model = build_model(Config.fromfile('configs/sr4ir/faster-rcnn_edsr_tiny.py'))
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(img_shape=(96, 128), scale_factor=(1.0, 1.0)))
    seen = dict(rpn=0, roi=0, rest=0)

    def look(name):
        def hook(module, inputs, output):
            part = name.split('_')[0] if name.startswith(('rpn', 'roi')) else 'rest'
            # Each value of the output is a product with one row of weights.
            seen[part] += 2 * output.numel() * module.weight[0].numel()

        return hook

    for name, module in model.task.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(look(name))
    counts = count_networks(model, torch.rand(1, 3, 96, 128), [sample])
    assert seen['rpn'] and seen['roi']
    assert counts['task']['flops'] == sum(seen.values())


def test_size_of_the_first_test_image(coco_root):
    cfg = Config.fromfile('configs/sr4ir/faster-rcnn_edsr_tiny.py')
    cfg.test_dataloader.dataset.data_root = f'{coco_root}/'
    cfg.test_dataloader.dataset.ann_file = 'val.json'
    cfg.test_dataloader.dataset.metainfo = dict(classes=('green', 'blue'))
    # 64 x 64 pixels, which the detector makes 80 x 80 and the preprocessor 96 x 96; in
    # the validation it would be another size.
    cfg.test_dataloader.dataset.pipeline[1].scale = (80, 80)
    model = build_model(cfg)
    counts = count_networks(model, *sample_image(cfg, model))
    assert counts['sr']['pixels'] == (16, 16) and counts['task']['pixels'] == (96, 96)
    cfg.model.task_resize.test[0].scale = (80, 80)
    given = complexity(cfg, (64, 64))
    assert [given[name]['pixels'] for name in ('sr', 'task')] == [(16, 16), (96, 96)]
    cfg.test_dataloader.dataset.ann_file = 'none.json'
    with pytest.raises(ValueError, match='--shape HEIGHT WIDTH.*none.json'):
        complexity(cfg)


def deformable(x):
    offsets = torch.zeros(1, 2 * 9, 6, 8)
    return deform_conv2d(x, offsets, torch.zeros(4, 3, 3, 3), padding=1)


def encoder(x):
    """The path of an eval pass that is one operation to torch, with 8 channels."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    return layer(x.flatten(0, 2)[None].reshape(1, 18, 8))


@pytest.mark.parametrize(
    'run, flops',
    [
        (lambda x: F.scaled_dot_product_attention(x, x, x), 2 * 2 * 3 * 6 * 6 * 8),
        (lambda x: torch.ones(5, 6) @ x, 2 * 3 * 5 * 8 * 6),
        (deformable, 2 * 6 * 8 * 4 * 3 * 9),
        # Four projections of 18 tokens, two products of attention, two linear layers.
        (encoder, 2 * (4 * 18 * 8 * 8 + 2 * 18 * 18 * 8 + 2 * 18 * 8 * 16)),
        (lambda x: F.interpolate(x, scale_factor=2), 0),
        (lambda x: F.conv2d(x, torch.ones(6, 1, 3, 3), groups=3), 2 * 4 * 6 * 6 * 9),
        (
            lambda x: (
                F.conv2d(x, torch.ones(4, 3, 3, 3, requires_grad=True)).sum().backward()
            ),
            2 * 2 * 4 * 6 * 4 * 3 * 9,
        ),
    ],
)
def test_operations_by_hand(run, flops):
    fast = torch.backends.mha.get_fastpath_enabled()
    with torch.set_grad_enabled(run.__name__ == '<lambda>'):
        assert count_flops(lambda: run(torch.rand(1, 3, 6, 8))) == flops
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_what_cannot_be_run_is_nan_with_a_reason(monkeypatch):
    model, said = build_model(config()), []
    monkeypatch.setattr(
        'mmsr4ir.analysis.complexity.print_log', lambda text, *_: said.append(text)
    )
    monkeypatch.setattr(model.task, 'forward', lambda *args, **options: 1 / 0)
    counts = count_networks(model, torch.rand(1, 3, 16, 16), None)
    assert math.isnan(counts['task']['flops']) and math.isnan(counts['sum']['flops'])
    assert counts['sr']['flops'] > 0 and counts['sum']['params'] > 0
    assert len(said) == 1 and 'ZeroDivision' in said[0]
    assert 'FLOPs of the task network (ToyTask) cannot be counted' in said[0]


def test_what_is_missing_is_named():
    with pytest.raises(ValueError, match='--shape HEIGHT WIDTH.*no test_dataloader'):
        complexity(config())
    with pytest.raises(ValueError, match='positive'):
        complexity(config(), (0, 8))
    with pytest.raises(ValueError, match='no mmsr4ir.SR4IR as its model but mmsr4ir.T'):
        complexity(Config(dict(model=dict(type='mmsr4ir.ToyTask'))))


def test_tool(run_tool, tmp_path):
    out = tmp_path / 'deep' / 'flops.json'
    text = run_tool(
        sys.executable,
        'tools/analysis_tools/get_flops.py',
        'configs/sr4ir/resnet18_edsr_tiny.py',
        '--shape',
        64,
        50,
        '--out',
        out,
    ).stdout
    counts = json.loads(out.read_text())
    assert [counts[name]['pixels'] for name in ('sr', 'task')] == [[16, 13], [64, 50]]
    # EDSR: the first and the last convolution, 4 blocks, one after them, two that
    # quadruple the pixels.
    low, c = 16 * 13, 32
    edsr = (
        2
        * 9
        * low
        * (3 * c + 4 * 2 * c * c + c * c + 4 * c * c + 4 * 4 * c * c + 16 * 3 * c)
    )
    assert counts['sr']['flops'] == edsr
    assert f'{edsr / 1e6:.3f} M' in text and 'LR image: 16 x 13 pixels' in text
