"""What makes a train step faster or smaller: which numbers change, and which do not."""

import itertools
import math
from functools import partial

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.optim.optimizer import amp_optimizer_wrapper
from torch import nn
from torch.nn import functional as F

from mmsr4ir.engine import (
    AmpOptimWrapper,
    PerNetworkOptimWrapperConstructor,
    amp,
    optim_wrapper_constructor,
)
from mmsr4ir.models import sr4ir
from mmsr4ir.models.updates import PhaseUpdate
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError
from toys import RECIPES, SR4IR_RECIPE, snapshot, toy_config, toy_data

NORMLESS = dict(type='mmsr4ir.NormlessTask')
BATCHED = dict(update='task', losses={'task_sr+hr+mix': 1.02})


def build(seed=0, **changes):
    torch.manual_seed(seed)
    return MODELS.build(ConfigDict(toy_config(**changes))).train()


def optimizers(model, kind=OptimWrapper, **settings):
    return OptimWrapperDict(
        **{
            name: kind(
                optimizer=torch.optim.SGD(
                    getattr(model, name).parameters(), lr=0.1, momentum=0.9
                ),
                **settings,
            )
            for name in ('sr', 'task')
        }
    )


def train(model, steps=2, wrappers=None, double=False):
    """The losses of some steps, with the same cells in every run."""
    wrappers = wrappers or optimizers(model)
    model.patch_mix.draw_mask = lambda sr, _: (
        torch.eye(4).to(sr).expand(len(sr), 1, 4, 4)
    )
    if double:
        model.double()
    return [
        {
            k: v.item()
            for k, v in model.train_step(toy_data(seed=step), wrappers).items()
        }
        for step in range(steps)
    ]


def assert_close(found, want, rel):
    for one, other in zip(found, want, strict=True):
        assert one == pytest.approx(other, rel=rel)


def test_channels_last_starts_from_the_same_weights():
    """A random fill goes through memory in its order."""
    states = []
    for settings in ({}, dict(channels_last=True)):
        model = build(**settings)
        torch.manual_seed(3)
        model.sr.init_weights = partial(nn.init.kaiming_normal_, model.sr.conv.weight)
        model._is_init = False
        model.init_weights()
        states.append(model.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert states[1]['sr.conv.weight'].is_contiguous(memory_format=torch.channels_last)


def test_channels_last_changes_the_memory_and_not_the_numbers():
    plain, fast = build(), build(channels_last=True)
    layers = []
    fast.task.backbone.stage2.register_forward_hook(
        lambda module, args, output: layers.append(args[0])
    )
    assert_close(train(fast, double=True), train(plain, double=True), 1e-9)
    for name, parameter in fast.named_parameters():
        if parameter.dim() == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last), name
    assert layers and all(
        x.is_contiguous(memory_format=torch.channels_last) for x in layers
    )
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], value)


def test_sr_images_are_reused():
    recipe = dict(SR4IR_RECIPE, task=dict(SR4IR_RECIPE['task'], reuse_sr=True))
    model, plain = build(recipe=recipe), build()
    runs, images = [], []
    model.sr.register_forward_hook(lambda *_: runs.append(1))
    plain.sr.register_forward_hook(lambda *args: images.append(args[-1].detach()))
    (first,) = train(model, 1)
    (want,) = train(plain, 1)
    assert len(runs) == 1 and len(images) == 2
    # Phase 1 is the same; phase 2 sees the images of S before its update.
    assert {k: v for k, v in first.items() if k.startswith('sr/')} == pytest.approx(
        {k: v for k, v in want.items() if k.startswith('sr/')}
    )
    assert first['task/hr/loss_cls'] == pytest.approx(want['task/hr/loss_cls'])
    task = build().task
    image = images[0]
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in ([123.0, 116, 103], [58.0, 57, 56])
    )
    logits = task((image * 255 - mean) / std)
    loss = 0.34 * F.cross_entropy(logits, torch.tensor([0, 1]))
    assert first['task/sr/loss_cls'] == pytest.approx(loss.item(), rel=1e-5)
    assert first['task/sr/loss_cls'] != pytest.approx(
        want['task/sr/loss_cls'], rel=1e-5
    )


def test_sr_images_are_reused_across_a_phase_that_needs_none():
    model = build(
        recipe=dict(
            a=dict(update='sr', losses=dict(pixel=1.0)),
            b=dict(update='task', losses=dict(task_hr=1.0)),
            c=dict(update='task', losses=dict(task_sr=1.0), reuse_sr=True),
        )
    )
    runs = []
    model.sr.register_forward_hook(lambda *args: runs.append(1))
    (logs,) = train(model, 1)
    assert len(runs) == 1 and math.isfinite(logs['c/sr/loss_cls'])


@pytest.fixture
def joint(monkeypatch):
    """Train with one backward pass a phase, of the sum of its losses."""

    class Joint(PhaseUpdate):
        def __init__(self, *args):
            super().__init__(*args)
            self.one_by_one = False

    def call(*args, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(sr4ir, 'PhaseUpdate', Joint)
            return train(*args, **kwargs)

    return call


def graphs_alive(model, train):
    """How many passes of T have a graph that waits, at the most, in a train step."""
    alive, most = set(), []

    def forward(module, args, output):
        if output.requires_grad and module.training:
            number = len(most)
            alive.add(number)
            most.append(len(alive))
            output.register_hook(lambda grad: alive.discard(number))

    model.task.neck.register_forward_hook(forward)
    train(model, 2, double=True)
    return max(most)


def test_losses_of_t_alone_end_as_their_sum_with_one_graph_at_a_time(joint):
    one, other = build(), build()
    assert_close(train(one, 3, double=True), joint(other, 3, double=True), 1e-9)
    for name, value in other.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], value)
    assert graphs_alive(build(), train) == 1 and graphs_alive(build(), joint) == 3


def test_losses_of_t_alone_in_mixed_precision_and_accumulation(joint):
    ends = []
    for run in (train, joint):
        model = build()
        wrappers = optimizers(model, AmpOptimWrapper, accumulative_counts=2)
        wrappers['task'].loss_scaler = torch.amp.GradScaler('cpu', init_scale=256.0)
        run(model, 4, wrappers)
        assert wrappers['task'].inner_count == 4
        ends.append(snapshot(model))
    for name, value in ends[1].items():
        torch.testing.assert_close(ends[0][name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize('bad', [0, 1, 2])
def test_a_nan_in_one_loss_of_several_takes_the_whole_phase_back(bad):
    """Also the gradients that an iteration before has accumulated stay as they were."""
    model = build()
    model.skip_non_finite = True
    wrappers = optimizers(model, OptimWrapper, accumulative_counts=2)
    train(model, 1, wrappers)
    before = snapshot(model)
    learning = [p for p in model.task.parameters() if p.grad is not None]
    gradients = [p.grad.clone() for p in learning]
    plain, calls = model.task.loss, itertools.count()

    def spoilt(*args):
        losses = plain(*args)
        return (
            losses | dict(loss_cls=losses['loss_cls'] * math.nan)
            if next(calls) == bad
            else losses
        )

    model.task.loss = spoilt
    (logs,) = train(model, 1, wrappers)
    assert math.isnan(logs['task/loss']) and math.isfinite(logs['sr/loss'])
    for parameter, gradient in zip(learning, gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)
    after = snapshot(model)
    assert all(torch.equal(after[k], before[k]) for k in before if 'task.' in k)


@pytest.mark.parametrize('setting', [dict(accumulative_counts=4), dict(clip_grad=None)])
def test_other_settings_beside_the_networks_are_named(setting):
    optimizer = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    with pytest.raises(ConfigError, match=f'optim_wrapper has .*{next(iter(setting))}'):
        PerNetworkOptimWrapperConstructor(dict(setting, sr=optimizer, task=optimizer))(
            build()
        )


@pytest.mark.parametrize('device, dtype', [('cpu', 'bfloat16'), ('cuda', 'float16')])
def test_mixed_precision_beside_the_networks_is_for_each(device, dtype, monkeypatch):
    """As OpenMMLab's tools set it for --amp."""
    monkeypatch.setattr(optim_wrapper_constructor, 'get_device', lambda: device)
    optimizer = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    wrappers = PerNetworkOptimWrapperConstructor(
        dict(type='AmpOptimWrapper', loss_scale='dynamic', sr=optimizer, task=optimizer)
    )(build())
    assert {name: type(wrapper) for name, wrapper in wrappers.items()} == dict(
        sr=AmpOptimWrapper, task=AmpOptimWrapper
    )
    kinds = {wrapper.cast_dtype for wrapper in wrappers.values()}
    assert kinds == {getattr(torch, dtype)}
    # Without --amp, the type of an entry holds.
    wrappers = PerNetworkOptimWrapperConstructor(
        dict(
            type='OptimWrapper',
            sr=dict(optimizer, type='mmsr4ir.AmpOptimWrapper'),
            task=optimizer,
        )
    )(build())
    assert {name: type(wrapper) for name, wrapper in wrappers.items()} == dict(
        sr=AmpOptimWrapper, task=OptimWrapper
    )


def test_a_scale_is_not_looked_for_in_a_checkpoint_without_one():
    wrapper = optimizers(build(), AmpOptimWrapper)['sr']
    wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=8.0)
    state = wrapper.state_dict()
    wrapper.load_state_dict(state | dict(loss_scaler={}))
    assert wrapper.loss_scaler.get_scale() == 8.0
    wrapper.load_state_dict(
        wrapper.state_dict() | dict(loss_scaler=dict(state['loss_scaler'], scale=4.0))
    )
    assert wrapper.loss_scaler.get_scale() == 4.0


def test_one_pass_for_three_images_is_their_mean():
    one = build(task=NORMLESS, recipe=dict(SR4IR_RECIPE, task=BATCHED))
    three = build(task=NORMLESS)
    found, want = train(one, double=True), train(three, double=True)
    for a, b in zip(found, want, strict=True):
        losses = sum(v for k, v in b.items() if 'loss_cls' in k)
        assert a['task/sr+hr+mix/loss_cls'] == pytest.approx(losses, rel=1e-9)
        assert a['task/loss'] == pytest.approx(b['task/loss'], rel=1e-9)
    assert one.task.head_calls == 2 and three.task.head_calls == 6
    for name, value in three.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], value)


def test_one_pass_needs_a_network_without_batch_statistics():
    with pytest.raises(
        ValueError,
        match=(
            r"phase 'task', loss 'task_sr\+hr\+mix': ToyTask has batch statistics "
            r'\(backbone.norm and 0 more\)'
        ),
    ):
        build(recipe=dict(SR4IR_RECIPE, task=BATCHED))


def test_a_shared_loss_with_scales_of_their_own():
    """Each optimizer of S+T takes its own scale off, as if there were none."""

    def run(scales):
        model = build(recipe=RECIPES['S+T'])
        wrappers = optimizers(model, AmpOptimWrapper)
        for wrapper, scale in zip(wrappers.values(), scales, strict=True):
            if scale:
                wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=scale)
        return train(model, 3, wrappers), snapshot(model), wrappers

    losses, want, _ = run((None, None))
    found_losses, found, wrappers = run((4.0, 1024.0))
    assert found_losses == losses  # powers of two change no digit
    assert all(torch.equal(found[name], value) for name, value in want.items())
    assert [w.loss_scaler.get_scale() for w in wrappers.values()] == [4.0, 1024.0]


def test_an_overflow_skips_the_optimizer_that_it_is_in():
    model = build(recipe=RECIPES['S+T'])
    wrappers = optimizers(model, AmpOptimWrapper)
    for wrapper in wrappers.values():
        wrapper.loss_scaler = torch.amp.GradScaler('cpu', init_scale=8.0)
    model.task.head.weight.register_hook(lambda grad: grad * float('inf'))
    before = snapshot(model)
    train(model, 1, wrappers)
    assert torch.equal(model.task.head.weight, before['task.head.weight'])
    assert not torch.equal(model.sr.conv.weight, before['sr.conv.weight'])
    assert wrappers['task'].loss_scaler.get_scale() == 4.0
    assert wrappers['sr'].loss_scaler.get_scale() == 8.0


def test_each_phase_accumulates_by_itself():
    """S over two half batches, T over one: S ends as after one whole batch."""
    recipe = dict(
        sr=dict(update='sr', losses=dict(pixel=1.0)),
        task=dict(update='task', losses=dict(task_hr=1.0)),
    )
    ends, halves = [], [toy_data(seed=seed) for seed in range(2)]
    whole = {key: halves[0][key] + halves[1][key] for key in halves[0]}
    for batches, counts in [([whole], (1, 1)), (halves, (2, 1))]:
        model = build(recipe=recipe, task=NORMLESS).double()
        model.sr.norm = nn.Identity()
        wrappers = optimizers(model)
        steps = []
        for (name, wrapper), count in zip(wrappers.items(), counts, strict=True):
            wrapper._accumulative_counts = count
            wrapper.optimizer.register_step_post_hook(
                lambda *_, name=name, steps=steps: steps.append(name)
            )
        for data in batches:
            model.train_step(data, wrappers)
        assert steps.count('sr') == 1 and steps.count('task') == len(batches)
        ends.append(snapshot(model.sr))
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-10, atol=1e-12)


@pytest.mark.skipif(torch.cuda.is_available(), reason='of a machine without a GPU')
@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_mixed_precision_on_a_cpu(dtype):
    model, plain = build(), build()
    seen = []
    model.task.neck.register_forward_hook(lambda *args: seen.append(args[-1].dtype))
    wrappers = optimizers(model, AmpOptimWrapper, dtype=dtype)
    found, want = train(model, 2, wrappers), train(plain)
    assert set(seen) == {getattr(torch, dtype)}
    assert all(
        w.loss_scaler.is_enabled() == (dtype == 'float16') for w in wrappers.values()
    )
    for a, b in zip(found, want, strict=True):
        losses = [k for k in b if 'loss' in k]
        assert {k: a[k] for k in losses} == pytest.approx(
            {k: b[k] for k in losses}, rel=0.05
        )
        assert any(a[k] != b[k] for k in losses)
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize(
    'dtype, given, scaler',
    [
        ('bfloat16', 'dynamic', dict(enabled=False)),
        ('bfloat16', 512.0, dict(enabled=False)),
        ('float16', 'dynamic', {}),
        ('float16', 512.0, dict(init_scale=512.0)),
    ],
)
def test_on_a_gpu_losses_are_scaled_in_float16_alone(dtype, given, scaler, monkeypatch):
    monkeypatch.setattr(amp, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', lambda **given: given)
    wrappers = optimizers(build(), AmpOptimWrapper, dtype=dtype, loss_scale=given)
    assert [wrapper.loss_scaler for wrapper in wrappers.values()] == [scaler] * 2


def test_bad_settings_of_mixed_precision():
    with pytest.raises(ValueError, match="'bfloat16' or 'float16', got 'int8'"):
        optimizers(build(), AmpOptimWrapper, dtype='int8')
    with pytest.raises(ConfigError, match="must be 'dynamic', a number or .* 'dynamc'"):
        optimizers(build(), AmpOptimWrapper, loss_scale='dynamc')
    off = optimizers(
        build(), AmpOptimWrapper, dtype='float16', loss_scale=dict(enabled=False)
    )
    assert not off['sr'].loss_scaler.is_enabled()


@pytest.mark.skipif(torch.cuda.is_available(), reason='of a machine without a GPU')
@pytest.mark.parametrize(
    'loss_scale, after',
    [
        (8, [8.0, 8.0]),
        ('dynamic', [65536.0, 65536.0]),
        (dict(init_scale=4.0, growth_interval=1), [8.0, 16.0]),
    ],
)
def test_loss_scales_in_float16_on_a_cpu(loss_scale, after):
    model = build()
    wrappers = optimizers(
        model, AmpOptimWrapper, dtype='float16', loss_scale=loss_scale
    )
    for want in after:  # small images and weights: no gradient overflows
        train(model, 1, wrappers)
        assert [w.loss_scaler.get_scale() for w in wrappers.values()] == [want] * 2


@pytest.mark.skipif(torch.cuda.is_available(), reason='of a machine without a GPU')
def test_an_overflow_in_float16_lowers_one_scale_and_updates_nothing():
    """T's gradients have no room for its scale; S's phase goes on as ever."""
    model = build()
    wrappers = optimizers(
        model, AmpOptimWrapper, dtype='float16', loss_scale=dict(init_scale=2.0**10)
    )
    wrappers['task'].loss_scaler = torch.amp.GradScaler('cpu', init_scale=2.0**60)
    before = snapshot(model)
    train(model, 1, wrappers)
    assert wrappers['task'].loss_scaler.get_scale() == 2.0**59
    assert wrappers['sr'].loss_scaler.get_scale() == 2.0**10
    for name, value in model.task.named_parameters():
        assert torch.equal(value, before[f'task.{name}']), name
    assert not torch.equal(model.sr.conv.weight, before['sr.conv.weight'])


def test_features_are_compared_in_single_precision():
    tdp = MODELS.build(dict(type='mmsr4ir.TDPLoss', layer='x', levels=(0,)))
    hr = torch.full((1, 2, 4, 4), 256.0)
    sr = hr + torch.arange(16.0).view(4, 4)
    half = [x.bfloat16() for x in (sr, hr)]
    want = (half[0].double() - half[1].double()).abs().mean()
    loss = tdp([half[0]], [half[1]])
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(want.item(), rel=1e-6)
