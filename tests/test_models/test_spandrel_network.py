"""SR networks of spandrel: their values, their files, and in a training."""

import copy
import importlib

import pytest
import spandrel
import torch
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper, OptimWrapperDict
from safetensors.torch import save_file

from mmsr4ir.models import Spandrel, spandrel_network
from mmsr4ir.models.prediction.tiles import Tiles
from mmsr4ir.models.sr_checks import check_scale
from mmsr4ir.models.weights import WeightsError
from mmsr4ir.registry import MODELS
from toys import toy_config, toy_data

SETTINGS = dict(
    Compact=dict(num_feat=8, num_conv=2, upscale=2),
    ESRGAN=dict(num_filters=8, num_blocks=1, scale=2),
    RCAN=dict(scale=2, n_resgroups=1, n_resblocks=1, n_feats=16),
    SAFMN=dict(dim=8, n_blocks=1, upscaling_factor=2),
    SwinIR=dict(
        embed_dim=8,
        depths=[2],
        num_heads=[2],
        window_size=8,
        upscale=2,
        upsampler='pixelshuffle',
    ),
    UpCunet2x=dict(),
)


RAN = []


class Attack:
    def __reduce__(self):
        return eval, ('RAN.append(1)',)


def build(arch: str) -> Spandrel:
    torch.manual_seed(0)
    return Spandrel(arch=arch, **SETTINGS[arch])


@pytest.fixture
def file(tmp_path, request):
    """A file as people share them, of the architecture that the test names."""
    arch = getattr(request, 'param', 'Compact')
    tensors = {name: value.clone() for name, value in build(arch).state_dict().items()}
    path = tmp_path / 'shared.safetensors'
    save_file(tensors, path)
    return path


@pytest.mark.parametrize('size', [(21, 13), (32, 40)])
@pytest.mark.parametrize('file', SETTINGS, indirect=True)
def test_values_are_those_of_spandrel_whatever_the_size(file, size):
    own = Spandrel(checkpoint=str(file)).eval()
    theirs = spandrel.ModelLoader().load_from_file(file)
    lr = torch.rand(1, 3, *size)
    before = lr.clone()
    with torch.no_grad():
        sr = own(lr)
    assert torch.equal(lr, before)
    assert sr.shape == (1, 3, 2 * size[0], 2 * size[1])
    torch.testing.assert_close(sr.clamp(0, 1), theirs(lr))
    assert own.scale == theirs.scale == 2


@pytest.mark.parametrize('file', ['ESRGAN'], indirect=True)
def test_what_is_saved_is_a_file_for_everyone(file, tmp_path):
    network = build('ESRGAN')
    names = spandrel.ModelLoader().load_from_file(file).model.state_dict().keys()
    assert network.state_dict().keys() == names
    other = Spandrel(arch='ESRGAN', **SETTINGS['ESRGAN'])
    other.load_state_dict(network.state_dict())
    with pytest.raises(RuntimeError, match='Missing key'):
        other.load_state_dict({})
    lr = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(other(lr), network(lr), rtol=0, atol=0)
    torch.save(dict(params_ema=network.state_dict()), tmp_path / 'a.pth')
    read = Spandrel(checkpoint=str(tmp_path / 'a.pth'))
    with torch.no_grad():
        torch.testing.assert_close(read(lr), network(lr), rtol=0, atol=0)


def test_it_is_trained_and_its_checkpoint_stands_in_for_the_file(file, tmp_path):
    model = MODELS.build(
        ConfigDict(toy_config(sr=dict(type='mmsr4ir.Spandrel', checkpoint=str(file))))
    ).train()
    model.init_weights()
    before = copy.deepcopy(model.state_dict())
    shared = build('Compact').state_dict()
    assert all(
        torch.equal(before[f'sr.{name}'], value) for name, value in shared.items()
    )
    logs = model.train_step(
        toy_data(),
        OptimWrapperDict(
            **{
                name: OptimWrapper(
                    torch.optim.SGD(getattr(model, name).parameters(), lr=0.1)
                )
                for name in ('sr', 'task')
            }
        ),
    )
    assert all(value.isfinite() for value in logs.values())
    trained = model.state_dict()
    assert not any(
        torch.equal(before[f'sr.{name}'], trained[f'sr.{name}'])
        for name in shared
        if name.endswith('weight')
    )
    torch.save(dict(state_dict=trained), tmp_path / 'epoch_1.pth')
    file.unlink()
    sr = Spandrel(checkpoint=str(tmp_path / 'epoch_1.pth'))
    lr = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(sr(lr), model.sr(lr), rtol=0, atol=0)


def test_tiles_start_at_whole_windows():
    assert build('SAFMN').window_size == build('SwinIR').window_size == 8
    network = build('Compact').eval()
    assert network.window_size == 1
    lr = torch.rand(3, 50, 45)
    with torch.no_grad():
        tiled = Tiles(40, overlap=16, scale=2).whole(network, lr)
        torch.testing.assert_close(tiled, network(lr[None])[0])
    gray = Spandrel(arch='Compact', num_in_ch=1, num_out_ch=1, upscale=2)
    check_scale(gray, 2, 1.0, channels=1)


@pytest.mark.parametrize(
    'given, message',
    [
        (dict(), 'takes a file, or an architecture'),
        (dict(arch='HAT', checkpoint='a.pth'), 'takes a file, or an architecture'),
        (dict(checkpoint='a.pth', upscale=4), 'takes a file, or an architecture'),
        (dict(arch='HATT'), "arch='HATT': use one of ATD, .*HAT, "),
        (
            dict(arch='Compact', scale=2),
            r"Compact has no \['scale'\]; it has act_type, ",
        ),
        (
            dict(arch='DnCNN', in_nc=3, out_nc=3),
            'DnCNN is for Restoration, x1, with 3 ch',
        ),
        (dict(arch='Compact', num_in_ch=1, num_out_ch=3), '1 channels in and 3 out'),
        (dict(arch='SAFMN'), "SAFMN with {}: .*missing .*'dim'"),
        (dict(arch='Compact', act_type='relu'), "Compact with .*'relu'.*state_dict"),
    ],
)
def test_settings_that_cannot_be_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        Spandrel(**given)


def test_files_that_cannot_be_are_named(tmp_path, monkeypatch):
    path = tmp_path / 'a.safetensors'
    with pytest.raises(WeightsError, match=r'a\.safetensors does not exist. It tells'):
        Spandrel(checkpoint=str(path))
    save_file(dict(weight=torch.zeros(2)), path)
    with pytest.raises(WeightsError, match=r'spandrel [\d.]+ knows no such network'):
        Spandrel(checkpoint=str(path))
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(WeightsError, match='truncated or no .safetensors file'):
        Spandrel(checkpoint=str(path))
    path = tmp_path / 'a.pth'
    torch.jit.script(torch.nn.ReLU()).save(path)
    with pytest.raises(WeightsError, match='TorchScript'):
        Spandrel(checkpoint=str(path))
    broken = build('Compact').state_dict()
    broken['body.0.weight'] = broken['body.0.weight'][:4]
    for content in (
        dict(params=Attack()),
        broken,
        torch.zeros(2),
        [1],
        {0: 1},
        dict(state_dict=None),
        dict(state_dict=torch.zeros(2)),
    ):
        torch.save(content, path)
        with pytest.raises(WeightsError, match=r'model\.sr\.checkpoint .*a\.pth: '):
            Spandrel(checkpoint=str(path))
    assert not RAN

    def without(name):
        raise ModuleNotFoundError(f'No module named {name!r}', name=name)

    monkeypatch.setattr(spandrel_network, 'import_module', without)
    with pytest.raises(ImportError, match=r"'spandrel': pip install 'mmsr4ir\[spandr"):
        Spandrel(arch='HAT')
    assert importlib.import_module('spandrel') is spandrel


@pytest.mark.parametrize('settings, told', [(dict(), True), (dict(rgb_range=1), False)])
def test_settings_that_a_file_does_not_tell_are_warned_of(monkeypatch, settings, told):
    lines = []
    monkeypatch.setattr(
        spandrel_network, 'print_log', lambda text, *args: lines.append(text)
    )
    network = Spandrel(arch='RCAN', **SETTINGS['RCAN'], **settings)
    assert network.network.training
    assert [text[:10] for text in lines] == ([] if told else ['RCAN with '])


def test_a_wrong_scale_is_not_cut_away():
    """spandrel takes an ESRGAN that enlarges by 3 for one of another scale."""
    network = Spandrel(arch='ESRGAN', num_filters=8, num_blocks=1, scale=3)
    with torch.no_grad():
        sr = network(torch.rand(1, 3, 16, 16))
    assert network.scale != 3 and sr.shape[-2:] == (48, 48)


def test_the_range_of_its_images_is_not_to_be_set():
    sr = dict(type='mmsr4ir.Spandrel', arch='Compact', **SETTINGS['Compact'])
    with pytest.raises(ValueError, match=r'sr_range=255.*take images in \[0, 1\]'):
        MODELS.build(ConfigDict(toy_config(sr=sr, sr_range=255)))
