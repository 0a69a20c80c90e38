"""The converters of SR networks, against the originals (`original_networks`)."""

import copy
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import load_checkpoint
from original_networks import (
    DEPTHS,
    DIM,
    HEADS,
    MEAN,
    SIDE,
    WINDOW,
    edsr_net,
    edsr_weights,
    swinir_net,
    swinir_weights,
)
from torch import nn

from mmsr4ir.cli import edsr2mmagic as edsr
from mmsr4ir.cli import swinir2mmagic as swinir
from mmsr4ir.cli import unfold_batch_norm
from mmsr4ir.deployment.batch_norm import unfold_batch_norms
from mmsr4ir.deployment.convert import ConvertError
from mmsr4ir.engine.build import build_model
from mmsr4ir.registry import MODELS
from toys import toy_config, toy_data

TOOLS = Path(__file__).parents[2] / 'tools/model_converters'


def read_config(printed: str) -> dict:
    """The config that a tool prints, run as a user's config file would be."""
    return eval(re.search(r'^model = (dict\(.*\))$', printed, re.M | re.S)[1])


def build(config: dict, path: Path):
    network = MODELS.build({k: v for k, v in config.items() if k != 'init_cfg'})
    load_checkpoint(network, str(path), map_location='cpu', strict=True)
    return network.eval()


def convert(tool, capsys, w: dict, folder: Path, *options: str) -> tuple[dict, Path]:
    """Run a tool on tensors; return the config that it prints, and the file."""
    source, out = folder / 'original.pt', folder / 'out/converted.pth'
    torch.save(w, source)
    tool.main([str(source), str(out), *options])
    return read_config(capsys.readouterr().out), out


@pytest.mark.parametrize('scale', [2, 3, 4, 8])
def test_edsr(tmp_path, capsys, scale):
    w = edsr_weights(scale, blocks=scale)
    config, out = convert(edsr, capsys, w, tmp_path)
    sr = config['sr']
    assert (
        sr['mid_channels'],
        sr['num_blocks'],
        sr['upscale_factor'],
        sr['res_scale'],
    ) == (8, scale, scale, 1)
    assert sr['rgb_mean'] == [114.444, 111.4605, 103.02]
    assert sr['init_cfg'] == dict(type='Pretrained', checkpoint=str(out))
    assert config['sr_range'] == 255
    assert [path.name for path in out.parent.iterdir()] == ['converted.pth']
    image = torch.rand(2, 3, 7, 6) * 255
    want, got = edsr_net(w, image), build(sr, out)(image)
    assert got.shape == (2, 3, 7 * scale, 6 * scale) and want.std() > 10
    assert torch.allclose(got / 255, want / 255, atol=1e-5, rtol=0)
    # What --help says about mmagic's own configs, which give images in [0, 1].
    unit = build(dict(sr, rgb_mean=list(MEAN), rgb_std=[1 / 255] * 3), out)
    assert torch.allclose(unit(image / 255), want / 255, atol=1e-5, rtol=0)


def test_wide_edsr_scales_its_residuals(tmp_path, capsys):
    w = edsr_weights(2, features=256, blocks=1)
    config, out = convert(edsr, capsys, w, tmp_path)
    image = torch.rand(1, 3, 5, 5) * 255
    want = edsr_net(w, image, res_scale=0.1)
    assert (want - edsr_net(w, image)).abs().max() > 1
    assert torch.allclose(build(config['sr'], out)(image), want, atol=2e-3, rtol=0)


def test_edsr_in_sr4ir(tmp_path, capsys):
    """The printed config restores what the original does on [0, 255]."""
    w = edsr_weights(4)
    config, _ = convert(edsr, capsys, w, tmp_path)
    model = MODELS.build(
        ConfigDict(
            toy_config(
                degradation=dict(type='mmsr4ir.BicubicDownsample', scale=4), **config
            )
        )
    )
    model.init_weights()
    model.eval()
    data = model.data_preprocessor(toy_data(((32, 24),)), training=False)
    with torch.no_grad():
        batch = model.prepare(data['inputs'], data['data_samples'])
        got = model.super_resolve_batch(batch)
    want = edsr_net(w, batch.lr * 255)
    assert batch.lr.min() >= 0 and 0.5 < batch.lr.max() <= 1
    assert torch.allclose(got * 255, want, atol=2e-3, rtol=0)


def test_prefix_for_mmagics_own_models(tmp_path, capsys):
    w = edsr_weights(2)
    config, out = convert(edsr, capsys, w, tmp_path, '--prefix', 'generator.')
    init_cfg = config['sr'].pop('init_cfg')
    assert init_cfg['prefix'] == 'generator.'
    editor = MODELS.build(
        dict(
            type='mmagic.BaseEditModel',
            generator=config['sr'],
            pixel_loss=dict(type='mmagic.L1Loss'),
            data_preprocessor=dict(type='mmagic.DataPreprocessor'),
        )
    )
    load_checkpoint(editor, str(out), strict=True)
    assert torch.equal(editor.generator.conv_first.weight, w['head.0.weight'])


def without(w: dict, *names: str) -> dict:
    return {k: v for k, v in w.items() if k not in names}


class Attack:
    """Would run code when it is unpickled."""

    def __reduce__(self):
        return eval, ('RAN.append(1)',)


RAN = []


@pytest.mark.parametrize(
    'change, said',
    [
        (
            lambda w: without(w, 'body.1.body.2.bias'),
            'missing, such as body.1.body.2.bias',
        ),
        (lambda w: without(w, 'add_mean.bias'), 'it has no add_mean.bias'),
        (lambda w: without(w, 'head.0.weight'), 'it has no head.0.weight'),
        (
            lambda w: w | {'tail.2.weight': torch.zeros(1)},
            'unknown, such as tail.2.weight',
        ),
        (
            lambda w: w | {'tail.1.bias': torch.zeros(4)},
            'tail.1.bias (4,) instead of (3,)',
        ),
        (
            lambda w: w | {'head.0.weight': torch.zeros(8)},
            'it has no head.0.weight with 4',
        ),
        (
            lambda w: w | {'sub_mean.weight': 2 * w['sub_mean.weight']},
            'more than to subtr',
        ),
        (
            lambda w: w | {'add_mean.bias': 2 * w['add_mean.bias']},
            'more than to subtract',
        ),
        (lambda w: dict(model=w, epoch=3), "the file holds ['epoch', 'model']"),
        (lambda w: w | dict(extra=Attack()), 'refused: it holds'),
        (lambda w: [w], 'it holds a list'),
        (lambda w: swinir_weights('pixelshuffle', 2), 'it has no head.0.weight'),
    ],
)
def test_what_is_no_edsr(tmp_path, capsys, change, said):
    with pytest.raises(SystemExit) as exit_:
        convert(edsr, capsys, change(edsr_weights(2)), tmp_path)
    message = str(exit_.value)
    assert message.startswith(f'error: {tmp_path}/original.pt: ') and said in message
    assert not (tmp_path / 'out').exists() and not RAN


def test_files_that_cannot_be_read_or_written(tmp_path):
    source = tmp_path / 'edsr.pt'
    with pytest.raises(SystemExit, match='edsr.pt: there is no such file'):
        edsr.main([str(source), str(tmp_path / 'out.pth')])
    source.write_bytes(b'no checkpoint')
    with pytest.raises(SystemExit, match='edsr.pt: cannot be read'):
        edsr.main([str(source), str(tmp_path / 'out.pth')])
    torch.save(edsr_weights(2), source)
    before = source.read_bytes()
    with pytest.raises(SystemExit, match='would be overwritten'):
        edsr.main([str(source), str(source)])
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    'upsampler, scale, three, key',
    [
        ('pixelshuffle', 4, False, 'params'),
        ('pixelshuffle', 8, False, 'params_ema'),
        ('pixelshuffle', 3, True, None),
        ('pixelshuffledirect', 2, False, 'params'),
        ('nearest+conv', 2, False, 'params_ema'),
        ('nearest+conv', 4, True, 'params_ema'),
    ],
)
def test_swinir(tmp_path, capsys, upsampler, scale, three, key):
    w = swinir_weights(upsampler, scale, three)
    config, out = convert(swinir, capsys, {key: w} if key else w, tmp_path)
    sr = config['sr']
    assert {k: v for k, v in sr.items() if k != 'init_cfg'} == dict(
        type='mmagic.SwinIRNet',
        upscale=scale,
        in_chans=3,
        img_size=SIDE,
        window_size=WINDOW,
        img_range=1.0,
        depths=list(DEPTHS),
        embed_dim=DIM,
        num_heads=[HEADS] * len(DEPTHS),
        mlp_ratio=2.0,
        upsampler=upsampler,
        resi_connection='3conv' if three else '1conv',
    )
    assert 'sr_range' not in config
    network = build(sr, out)
    # The size of training, for which the masks are in the file, and another one.
    for size in ((SIDE, SIDE), (12, 16)):
        image = torch.rand(2, 3, *size)
        with torch.no_grad():
            got, want = network(image), swinir_net(w, image, upsampler, scale)
        assert got.shape == (2, 3, size[0] * scale, size[1] * scale)
        assert want.std() > 0.1
        assert torch.allclose(got, want, atol=1e-5, rtol=1e-5)


def test_averaged_weights_are_preferred(tmp_path, capsys):
    last, average = (swinir_weights('pixelshuffle', 2) for _ in range(2))
    both = dict(params=last, params_ema=average)
    _, out = convert(swinir, capsys, both, tmp_path)
    got = torch.load(out)['state_dict']['conv_first.weight']
    assert torch.equal(got, average['conv_first.weight'])


@pytest.mark.parametrize(
    'change, said',
    [
        (
            lambda w: without(w, 'layers.1.conv.bias'),
            'missing, such as layers.1.conv.bias',
        ),
        (lambda w: w | {'more.weight': torch.zeros(1)}, 'unknown, such as more.weight'),
        (lambda w: without(w, 'upsample.0.weight'), 'no SwinIR that enlarges'),
        (lambda w: edsr_weights(2), 'it has no conv_first.weight'),
        (lambda w: dict(params=dict(a=1)), "no tensors by name under 'params'"),
    ],
)
def test_what_is_no_swinir(tmp_path, capsys, change, said):
    with pytest.raises(SystemExit) as exit_:
        convert(swinir, capsys, change(swinir_weights('pixelshuffle', 2)), tmp_path)
    assert said in str(exit_.value) and str(exit_.value).startswith('error: ')
    assert not (tmp_path / 'out').exists()


def test_command_lines(tmp_path, run_tool):
    """As a user runs them; the other tests call the same `main`."""
    torch.save(edsr_weights(2), tmp_path / 'edsr.pt')
    process = run_tool(
        sys.executable,
        TOOLS / 'edsr2mmagic.py',
        tmp_path / 'edsr.pt',
        tmp_path / 'out.pth',
    )
    assert '16 tensors' in process.stdout and (tmp_path / 'out.pth').is_file()
    process = run_tool(
        sys.executable,
        TOOLS / 'swinir2mmagic.py',
        tmp_path / 'edsr.pt',
        tmp_path / 'no.pth',
        ok=False,
    )
    assert process.returncode == 1 and 'Traceback' not in process.stdout
    assert 'error: ' in process.stdout and not (tmp_path / 'no.pth').exists()


def folded_backbone() -> nn.Sequential:
    """Two convolutions whose batch norms a converter has folded, with large outputs."""
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 5, 3),
        nn.BatchNorm2d(5),
    )
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias)
            layer.running_var.fill_(1 - layer.eps)
        else:
            nn.init.normal_(layer.weight, std=3)
    return network.eval()


@pytest.mark.parametrize('synced', [False, True])
def test_folded_batch_norms_keep_their_outputs_and_can_be_trained(synced):
    torch.manual_seed(0)
    network, x = folded_backbone(), torch.randn(8, 3, 9, 9)
    if synced:  # as SyncBN is built without a GPU
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        network = revert_sync_batchnorm(network).eval()
    before = network(x)

    def run():
        for batch in (x[:3], x[3:]):
            network(batch)

    lost = copy.deepcopy(network).train()(x)
    assert (lost - before).abs().mean() > before.abs().mean() / 2
    assert unfold_batch_norms(network, run) == ['1', '3']
    torch.testing.assert_close(network(x), before, rtol=1e-4, atol=1e-4)
    # The statistics are those of this batch, so train mode normalises by them too.
    torch.testing.assert_close(network.train()(x), before, rtol=1e-3, atol=1e-3)
    with pytest.raises(ConvertError, match='no batch norm of Sequential is folded'):
        unfold_batch_norms(network, run)


def test_a_backbone_with_folded_batch_norms(tmp_path, capsys):
    """Through the command line, on the training images of a config."""
    for name in ('checker', 'diagonal', 'horizontal', 'vertical'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        for i in range(4):
            image = np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)
            cv2.imwrite(str(tmp_path / 'train' / name / f'{i}.png'), image)
    config = TOOLS.parents[1] / 'configs/sr4ir/resnet18_edsr_tiny.py'
    backbone = build_model(Config.fromfile(config)).task.backbone
    folded, out = tmp_path / 'folded.pth', tmp_path / 'out.pth'
    torch.save(backbone.state_dict(), folded)

    def run(source: Path, part: str = 'backbone') -> None:
        unfold_batch_norm.main(
            [
                *map(str, (config, source, out)),
                *('--part', part, '--batches', '1', '--cfg-options'),
                f'train_dataloader.dataset.data_root={tmp_path}',
                'train_dataloader.num_workers=0',
                'train_dataloader.persistent_workers=False',
            ]
        )

    run(folded)
    assert 'batch norms have statistics now' in capsys.readouterr().out
    x = torch.randn(2, 3, 32, 32)
    expected = backbone(x)[-1]
    backbone.load_state_dict(torch.load(out))
    torch.testing.assert_close(backbone(x)[-1], expected, rtol=1e-3, atol=1e-3)
    assert backbone.layer4[0].bn1.running_mean.abs().max() > 1e-3
    for source, said in ((tmp_path / 'no.pth', 'does not exist'), (out, 'is folded')):
        with pytest.raises(SystemExit, match=f'error: .*{said}'):
            run(source)
    with pytest.raises(SystemExit, match="error: .*no part 'spine'"):
        run(folded, 'spine')
