"""Weights of one network from a file of another run."""

import pytest
import torch
from mmengine.registry import MODELS
from safetensors.torch import save_file

from mmsr4ir.engine import PerNetworkOptimWrapperConstructor
from mmsr4ir.models import weights
from mmsr4ir.models.weights import WeightsError, take_init_cfg
from toys import snapshot, toy_config

WRAPPERS = dict(
    sr=dict(optimizer=dict(type='SGD', lr=0.1)),
    task=dict(optimizer=dict(type='SGD', lr=0.1)),
)


@pytest.fixture
def run_file(tmp_path) -> tuple[str, dict]:
    """The checkpoint of a whole SR4IR run, and its state dict."""
    torch.manual_seed(1)
    state = MODELS.build(toy_config()).state_dict()
    path = str(tmp_path / 'epoch_3.pth')
    torch.save(dict(state_dict=state, meta=dict()), path)
    return path, state


def with_init(part: str, **init_cfg) -> dict:
    cfg = toy_config()
    cfg[part]['init_cfg'] = dict(type='Pretrained', **init_cfg)
    return cfg


@pytest.mark.parametrize('part', ['sr', 'task'])
def test_a_part_of_another_run(part, run_file):
    path, state = run_file
    model = MODELS.build(with_init(part, checkpoint=path))
    other = {'sr': 'task', 'task': 'sr'}[part]
    start = snapshot(getattr(model, other))
    model.init_weights()
    for name, value in getattr(model, part).state_dict().items():
        assert torch.equal(value, state[f'{part}.{name}'])
    for name, value in getattr(model, other).state_dict().items():
        assert torch.equal(value, start[name])


def test_a_prefix_selects_a_part_of_a_foreign_file(run_file, tmp_path):
    state = {
        f'generator.{k.removeprefix("sr.")}': v
        for k, v in run_file[1].items()
        if k.startswith('sr.')
    } | {'step_counter': torch.zeros(1)}
    path = str(tmp_path / 'mmagic.pth')
    torch.save(dict(state_dict=state), path)
    with pytest.raises(WeightsError, match=r'init_cfg\.prefix.*generator\.'):
        MODELS.build(with_init('sr', checkpoint=path)).init_weights()
    model = MODELS.build(with_init('sr', checkpoint=path, prefix='generator.'))
    model.init_weights()
    assert torch.equal(model.sr.conv.weight, state['generator.conv.weight'])
    save_file({k: v.clone() for k, v in state.items()}, tmp_path / 'a.safetensors')
    model = MODELS.build(
        with_init('sr', checkpoint=str(tmp_path / 'a.safetensors'), prefix='generator.')
    )
    model.init_weights()
    assert torch.equal(model.sr.conv.weight, state['generator.conv.weight'])


def test_a_missing_file_is_named_with_its_source():
    model = MODELS.build(
        with_init(
            'sr', checkpoint='checkpoints/none.pth', source='Fetch it from there.'
        )
    )
    with pytest.raises(WeightsError, match=r'none\.pth does not exist.*Fetch it from'):
        model.init_weights()


def test_another_network_is_refused(run_file):
    cfg = with_init('task', checkpoint=run_file[0])
    cfg['task']['channels'] = 8
    model = MODELS.build(cfg)
    before = snapshot(model.task)
    with pytest.raises(WeightsError, match='of another shape.*stage1.*4, 3.*8, 3'):
        model.init_weights()
    assert all(torch.equal(v, before[k]) for k, v in model.task.state_dict().items())


def test_what_fits_is_loaded_when_asked(run_file, tmp_path, monkeypatch):
    """As a detector with other classes: its last layer alone differs."""
    task = {
        name.removeprefix('task.'): value
        for name, value in run_file[1].items()
        if name.startswith('task.')
    }
    task['head.weight'], task['head.bias'] = torch.rand(80, 4), torch.rand(80)
    path = str(tmp_path / 'coco.pth')
    torch.save(dict(state_dict=task), path)
    with pytest.raises(
        WeightsError,
        match=r'head.weight \(80, 4\) instead of \(3, 4\)'
        '.*init_cfg.strict=False',
    ):
        MODELS.build(with_init('task', checkpoint=path)).init_weights()
    model = MODELS.build(with_init('task', checkpoint=path, strict=False))
    start, lines = snapshot(model.task), []
    monkeypatch.setattr(weights, 'print_log', lambda text, *_: lines.append(text))
    model.init_weights()
    for name, value in model.task.state_dict().items():
        want = start[name] if name.startswith('head.') else task[name]
        assert torch.equal(value, want), name
    assert 'as initialised: head.weight, head.bias; ' in lines[0]
    torch.save(dict(state_dict={'module.x': torch.ones(1)}), path)
    with pytest.raises(WeightsError, match='holds another network') as caught:
        MODELS.build(with_init('task', checkpoint=path, strict=False)).init_weights()
    assert 'strict=False' not in str(caught.value)


def test_an_unknown_key_is_an_error():
    with pytest.raises(ValueError, match="unknown keys .'file'"):
        take_init_cfg(dict(init_cfg=dict(type='Pretrained', file='a', checkpoint='b')))
    other = dict(init_cfg=dict(type='Kaiming'))
    assert take_init_cfg(other) == (other, None)
    assert take_init_cfg(dict(type='X', init_cfg=None)) == (dict(type='X'), None)


def test_only_networks_that_the_recipe_updates_get_an_optimizer():
    recipe = dict(task=dict(update='task', losses=dict(task_hr=1.0)))
    model = MODELS.build(
        toy_config(recipe=recipe, sr=dict(type='mmsr4ir.InterpolateUpsampler', scale=2))
    )
    assert list(PerNetworkOptimWrapperConstructor(WRAPPERS)(model).keys()) == ['task']


def test_normalised_features_forget_their_length():
    loss = MODELS.build(dict(type='mmsr4ir.TDPLoss', normalize=True))
    sr, hr = torch.rand(2, 2, 3, 4, 4) + 0.1
    unit = [x / x.square().sum(1, keepdim=True).sqrt() for x in (sr, hr)]
    want = (unit[0] - unit[1]).abs().mean()
    torch.testing.assert_close(loss([sr], [hr]), want)
    torch.testing.assert_close(loss([5 * sr], [hr * 0.3]), want)
