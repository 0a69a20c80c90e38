"""Against counts by hand, and by the shapes that the layers see."""
import json
import math
import sys

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.nn import functional as F

import toys
from mmsr4ir.analysis.complexity import complexity, count, network_inputs, sample_image
from mmsr4ir.engine.build import build_model


def config() -> Config:
    return Config(dict(model=toys.toy_config(), default_scope='mmengine'))


def test_toys_by_hand():
    # S: a convolution from 3 to 12 channels on 8 x 10 LR pixels, and BatchNorm, which
    # counts two for each value.
    sr = 8 * 10 * 12 * (3 * 9 + 2)
    # T: strides of 2 and 2, then a 1 x 1 convolution and a linear layer on the mean.
    task = 8 * 10 * 4 * (3 * 9 + 2) + 4 * 5 * 4 * (4 * 9 + 4) + 4 * 3
    parameters = dict(sr=12 * 27 + 12 + 24,
                      task=4 * 27 + 4 + 8 + 4 * 36 + 4 + 16 + 4 + 12 + 3)
    counts = complexity(config(), (16, 20))
    assert counts['sr'] == dict(params=parameters['sr'], flops=sr)
    assert counts['task'] == dict(params=parameters['task'], flops=task)
    assert counts['sum'] == dict(params=sum(parameters.values()), flops=sr + task)


def test_detector_with_its_heads():
    model = build_model(Config.fromfile('configs/sr4ir/faster-rcnn_edsr_tiny.py'))
    from mmdet.structures import DetDataSample
    sample = DetDataSample(metainfo=dict(img_shape=(96, 128), scale_factor=(1.0, 1.0)))
    image = torch.rand(1, 3, 96, 128)
    counts = count(model, torch.rand(1, 3, 24, 32), image, [sample])
    seen = dict(rpn=0, roi=0, rest=0)

    def look(name):
        def hook(module, inputs, output):
            part = name.split('_')[0] if name.startswith(('rpn', 'roi')) else 'rest'
            if isinstance(module, nn.BatchNorm2d):
                seen[part] += 2 * output.numel()
            else:  # each value of the output is a product with one row of weights
                seen[part] += output.numel() * module.weight[0].numel()
        return hook

    for name, module in model.task.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            module.register_forward_hook(look(name))
    with torch.no_grad():
        model.task(image, [sample], mode='tensor')
    assert seen['rpn'] and seen['roi']
    # The FPN's interpolation is a function and no module.
    assert sum(seen.values()) < counts['task']['flops'] < 1.001 * sum(seen.values())


def test_size_of_the_first_test_image(coco_root):
    cfg = Config.fromfile('configs/sr4ir/faster-rcnn_edsr_tiny.py')
    cfg.test_dataloader.dataset.data_root = f'{coco_root}/'
    cfg.test_dataloader.dataset.ann_file = 'val.json'
    cfg.test_dataloader.dataset.metainfo = dict(classes=('green', 'blue'))
    # 64 x 64 pixels, which the detector makes 80 x 80 and the preprocessor 96 x 96; in
    # the validation it would be another size.
    cfg.test_dataloader.dataset.pipeline[1].scale = (80, 80)
    model = build_model(cfg)
    sr_input, task_input, samples = network_inputs(model, *sample_image(cfg, model))
    assert sr_input.shape == (1, 3, 16, 16) and task_input.shape == (1, 3, 96, 96)
    assert samples[0].img_shape == (80, 80)
    cfg.model.task_resize.test[0].scale = (80, 80)
    given = network_inputs(
        build_model(cfg), *sample_image(cfg, model, (64, 64)))
    assert [one.shape for one in given[:2]] == [sr_input.shape, task_input.shape]
    cfg.test_dataloader.dataset.ann_file = 'none.json'
    with pytest.raises(ValueError, match='--shape HEIGHT WIDTH.*none.json'):
        complexity(cfg)


class _Product(nn.Module):
    """A feature map that is multiplied in a way of its own, then enlarged."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x):
        if self.how == 'attention':
            x = F.scaled_dot_product_attention(x, x, x)
        elif self.how == 'broadcast':
            x = torch.ones(5, x.shape[-2]) @ x
        elif self.how == 'cdist':
            x = x + torch.cdist(x, x).mean()
        elif self.how == 'function':
            x = _Twice.apply(x)
        elif self.how == 'data':
            raise RuntimeError('this network cannot be traced')
        return x


class _Twice(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x):
        return x * 2


@pytest.mark.parametrize('how, flops', [
    ('attention', 2 * 3 * 6 * 6 * 8), ('broadcast', 3 * 5 * 8 * 6), ('plain', 0)])
def test_products(how, flops):
    model = build_model(config())
    model.sr = _Product(how)
    assert count(model, torch.rand(1, 3, 6, 8), torch.rand(1, 3, 16, 16), [])[
        'sr']['flops'] == flops


@pytest.mark.parametrize('how, reason', [
    ('cdist', 'aten::cdist'), ('function', '_Twice'), ('data', 'cannot be traced')])
def test_what_cannot_be_counted_is_nan_with_a_reason(how, reason, monkeypatch):
    model, said = build_model(config()), []
    monkeypatch.setattr('mmsr4ir.analysis.complexity.print_log',
                        lambda text, **options: said.append(text))
    model.sr = _Product(how)
    counts = count(model, torch.rand(1, 3, 6, 8), torch.rand(1, 3, 16, 16), [])
    assert math.isnan(counts['sr']['flops']) and math.isnan(counts['sum']['flops'])
    assert counts['task']['flops'] > 0 and counts['sum']['params'] > 0
    assert len(said) == 1 and 'S (_Product)' in said[0] and reason in said[0]
    # The network is as it was.
    assert 'forward' not in vars(model.sr) and 'forward' not in vars(model.task)


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
        sys.executable, 'tools/analysis_tools/get_flops.py',
        'configs/sr4ir/resnet18_edsr_tiny.py', '--shape', 64, 50, '--out', out).stdout
    counts = json.loads(out.read_text())
    assert counts['pixels'] == dict(lr=[16, 13], task=[64, 50])
    # EDSR: the first and the last convolution, 4 blocks, one after them, two that
    # quadruple the pixels.
    low, c = 16 * 13, 32
    edsr = 9 * low * (3 * c + 4 * 2 * c * c + c * c + 4 * c * c + 4 * 4 * c * c
                      + 16 * 3 * c)
    assert counts['sr']['flops'] == edsr
    assert f'{edsr / 1e6:.3f} M' in text and 'LR image: 16 x 13 pixels' in text
