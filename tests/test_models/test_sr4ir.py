"""The train step on toy networks: what moves, what must not, and the values."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch.nn import functional as F

from mmsr4ir.models import judges
from mmsr4ir.models.features import FeatureTap, frozen
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError
from toys import RECIPES, SR4IR_RECIPE, ToyTask, changed, snapshot, toy_config, toy_data


def build(**changes):
    return MODELS.build(ConfigDict(toy_config(**changes))).train()


def optimizers(model, lr=0.1, **settings):
    return OptimWrapperDict(
        **{
            name: OptimWrapper(
                torch.optim.SGD(getattr(model, name).parameters(), lr=lr), **settings
            )
            for name in ('sr', 'task')
            if list(getattr(model, name).parameters())
        }
    )


class Watch:
    """Optim wrapper that looks at both networks before and after its step."""

    def __init__(self, model, name):
        self.model, self.name = model, name
        self.other = getattr(model, 'task' if name == 'sr' else 'sr')
        self.seen = []
        network = getattr(model, name)

        class Watching(OptimWrapper):
            def optim_context(inner, module):  # noqa: N805
                self.before = snapshot(self.other)
                return super().optim_context(module)

            def step(inner, **kwargs):  # noqa: N805
                self.seen.append(
                    dict(
                        other_changed=changed(self.before, self.other),
                        other_grads=[
                            p.grad
                            for p in self.other.parameters()
                            if p.grad is not None
                        ],
                        own_grads=[
                            p.grad is not None
                            for p in network.parameters()
                            if p.requires_grad
                        ],
                    )
                )
                super().step(**kwargs)

        self.wrapper = Watching(torch.optim.SGD(network.parameters(), lr=0.1))


def test_each_phase_leaves_the_other_network_alone():
    model = build()
    watches = {name: Watch(model, name) for name in ('sr', 'task')}
    wrappers = OptimWrapperDict(**{k: w.wrapper for k, w in watches.items()})
    grads = {n: p.requires_grad for n, p in model.named_parameters()}
    before = snapshot(model)
    for i in range(2):
        model.train_step(toy_data(seed=i), wrappers)
        for watch in watches.values():
            assert watch.seen[i]['other_changed'] == set()
            assert watch.seen[i]['other_grads'] == []
            assert watch.seen[i]['own_grads'] and all(watch.seen[i]['own_grads'])
    moved = changed(before, model)
    still = {'task.backbone.stage1.weight', 'task.backbone.stage1.bias'}
    assert moved == set(before) - still  # buffers too: both ran in train mode
    assert {n: p.requires_grad for n, p in model.named_parameters()} == grads
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize('keeps', [False, True])
def test_the_mode_of_an_s_that_is_not_updated(keeps):
    """Eval mode by default; train mode, without an update, as published."""
    recipe = dict(SR4IR_RECIPE, task=dict(SR4IR_RECIPE['task'], sr_in_train_mode=keeps))
    model = build(recipe=recipe).train()
    modes, values = [], []

    def look(module, args, output):
        modes.append((module.training, output.requires_grad))
        values.append({n: p.detach().clone() for n, p in model.sr.named_parameters()})

    model.sr.register_forward_hook(look)
    model.train_step(toy_data(), optimizers(model))
    assert modes == [(True, True), (keeps, False)]
    for name, parameter in model.sr.named_parameters():
        assert torch.equal(parameter, values[1][name])
        assert not torch.equal(parameter, values[0][name])
    assert all(m.training for m in model.sr.modules())


@pytest.mark.parametrize(
    'mean, std',
    [([123.0, 116, 103], [58.0, 57, 56]), ([99.0], [50.0]), ([9.0] * 4,) * 2],
)
def test_losses_against_a_plain_computation(mean, std):
    colours = len(mean)
    networks = dict(
        sr=dict(type='mmsr4ir.ToySR', scale=2, colours=colours),
        task=dict(
            type='mmsr4ir.ToyTask',
            colours=colours,
            data_preprocessor=dict(mean=mean, std=std, bgr_to_rgb=colours == 3),
        ),
    )
    model = build(**networks)
    model.patch_mix.draw_mask = lambda sr, _: torch.eye(4).expand(len(sr), 1, 4, 4)
    data = toy_data(colours=colours)
    reference = build(**networks)
    reference.load_state_dict(model.state_dict())
    logs = model.train_step(data, optimizers(model))

    s, t = reference.sr, reference.task
    hr = torch.stack(data['inputs']).float()  # 0 to 255
    hr = hr.flip(1) if colours == 3 else hr  # BGR -> RGB
    mean, std = (torch.tensor(v).view(1, -1, 1, 1) for v in (mean, std))

    def normalise(image):
        return (image * 255 - mean) / std

    hr = hr / 255
    lr = F.interpolate(hr, scale_factor=0.5, mode='bicubic')
    lr = ((lr * 255).round() / 255).clamp(0, 1)
    sr = s(lr)
    pixel = (sr - hr).abs().mean()
    t.eval()
    tdp = sum(
        0.5 * (a - b.detach()).abs().mean()
        for a, b in zip(
            t.backbone(normalise(sr)), t.backbone(normalise(hr)), strict=True
        )
    )
    t.train()
    assert logs['sr/loss_pixel'].item() == pytest.approx(pixel.item(), rel=1e-5)
    assert logs['sr/loss_tdp'].item() == pytest.approx(tdp.item(), rel=1e-5)
    assert logs['sr/loss'].item() == pytest.approx((pixel + tdp).item(), rel=1e-5)

    (pixel + tdp).backward()
    with torch.no_grad():
        for parameter in s.parameters():
            parameter -= 0.1 * parameter.grad
        s.eval()  # frozen in phase 2; its batch statistics moved in phase 1 alone
        sr = s(lr)
    cells = F.interpolate(torch.eye(4)[None, None], size=(16, 16))
    labels = torch.tensor([0, 1])
    for name, image in dict(sr=sr, hr=hr, mix=sr * cells + hr * (1 - cells)).items():
        logits = t.head(t.extract_feat(normalise(image)).mean((2, 3)))
        want = 0.34 * F.cross_entropy(logits, labels)
        got = logs[f'task/{name}/loss_cls'].item()
        assert got == pytest.approx(want.item(), rel=1e-4)
        assert f'task/{name}/accuracy' in logs


def test_tdp_is_off_in_the_warmup():
    model = build()
    model.stage = 'warmup'
    logs = model.train_step(toy_data(), optimizers(model))
    assert 'sr/loss_pixel' in logs and 'sr/loss_tdp' not in logs
    model.stage = 'main'
    assert 'sr/loss_tdp' in model.train_step(toy_data(), optimizers(model))


@pytest.mark.parametrize(
    'method, stage, moves',
    [
        ('H->T', 'main', {'task'}),
        ('L->T', 'main', {'task'}),
        ('S->T', 'warmup', {'sr'}),
        ('S->T', 'main', {'task'}),
        ('T->S', 'main', {'sr'}),
        ('S+T', 'main', {'sr', 'task'}),
        ('SR4IR', 'main', {'sr', 'task'}),
    ],
)
def test_what_each_method_updates(method, stage, moves):
    upsampler = dict(type='mmsr4ir.InterpolateUpsampler', scale=2)
    model = build(
        recipe=RECIPES[method],
        **(dict(sr=upsampler) if method in ('H->T', 'L->T') else {}),
    )
    model.stage = stage
    before = snapshot(model)
    model.train_step(toy_data(), optimizers(model))
    assert {name.split('.')[0] for name in changed(before, model)} == moves


def test_networks_that_share_a_loss_step_as_one_optimizer_would():
    model, reference = build(recipe=RECIPES['S+T']), build(recipe=RECIPES['S+T'])
    reference.load_state_dict(model.state_dict())
    model.train_step(toy_data(), optimizers(model))
    one = torch.optim.SGD(reference.parameters(), lr=0.1)
    data = reference.data_preprocessor(toy_data(), True)
    batch = reference.prepare(data['inputs'], data['data_samples'])
    sr = reference.super_resolve_batch(batch)
    loss = (
        reference.pixel_loss(sr, batch.hr)
        + reference.task.loss(reference.to_input(sr, batch), batch.samples)['loss_cls']
    )
    loss.backward()
    one.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, reference.state_dict()[name])


@pytest.mark.parametrize('method', ['SR4IR', 'S+T'])
def test_gradient_accumulation_steps_every_second_iteration(method):
    model = build(recipe=RECIPES[method])
    wrappers = optimizers(model, accumulative_counts=2)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.train_step(toy_data(), wrappers)
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    model.train_step(toy_data(), wrappers)
    for name in ('sr.conv.weight', 'task.head.weight', 'task.backbone.stage2.weight'):
        assert not torch.equal(before[name], dict(model.named_parameters())[name])


@MODELS.register_module()
class TaskOfOneSize(ToyTask):
    """As VGG with its linear layers, which says it with whatever error torch has."""

    size = 224

    def extract_feat(self, inputs):
        if inputs.shape[-1] != self.size:
            raise RuntimeError('mat1 and mat2 shapes cannot be multiplied')
        return super().extract_feat(inputs)


def test_a_task_network_may_take_images_of_one_size(monkeypatch):
    task = dict(type='mmsr4ir.TaskOfOneSize')
    MODELS.build(toy_config(task=task))
    lines = []
    monkeypatch.setattr(TaskOfOneSize, 'size', 100)
    monkeypatch.setattr(judges, 'print_log', lambda text, *_: lines.append(text))
    with pytest.raises(RuntimeError, match='mat1 and mat2'):
        MODELS.build(toy_config(task=task))
    assert 'TaskOfOneSize takes no image of 3 channels and 64 x 64 or' in lines[0]


def test_only_the_layer_of_tdp_runs():
    model = build(recipe=dict(sr=dict(update='sr', losses=dict(pixel=1.0, tdp=1.0))))
    model.train_step(toy_data(), optimizers(model))
    assert model.task.head_calls == 0
    calls = []
    model.task.neck.register_forward_hook(lambda *_: calls.append('neck'))
    model.task.backbone.stage2.register_forward_hook(lambda *_: calls.append('stage2'))
    features = FeatureTap(model.task, 'backbone.stage1')
    (output,) = features(torch.zeros(1, 3, 8, 8))
    assert output.shape == (1, 4, 4, 4) and calls == []


def test_a_layer_outside_the_features_is_named():
    model = build()
    with pytest.raises(RuntimeError, match="'head' is not part of the feature"):
        FeatureTap(model.task, 'head')(torch.zeros(1, 3, 8, 8))


def test_frozen_restores_everything_after_an_error():
    model = build()
    model.task.backbone.norm.eval()
    grads = [p.requires_grad for p in model.task.parameters()]
    modes = [m.training for m in model.task.modules()]
    with pytest.raises(ZeroDivisionError), frozen(model.task):
        assert not any(p.requires_grad for p in model.task.parameters())
        assert not any(m.training for m in model.task.modules())
        raise ZeroDivisionError
    assert [p.requires_grad for p in model.task.parameters()] == grads
    assert [m.training for m in model.task.modules()] == modes
    assert False in grads and False in modes


@pytest.mark.parametrize('pad_value', [0, 7])
def test_padding_enters_no_loss(pad_value):
    """Other pixels in the padding leave the SR phase's losses and gradients alone."""

    def run(value):
        model = build(
            recipe=dict(sr=dict(update='sr', losses=dict(pixel=1.0, tdp=1.0)))
        )
        model.load_state_dict(state)
        # The task network's own view reaches into the padding, so its padding is the
        # same in both runs: only what the SR phase makes of it is compared.
        data = model.data_preprocessor(toy_data(((16, 16), (10, 13))), True)
        inputs = data['inputs'].clone()
        batch = model.prepare(inputs, data['data_samples'])
        inputs[1, :, 10:] = inputs[1, :, :, 13:] = value
        other = model.prepare(inputs, data['data_samples'])
        sr = model.super_resolve_batch(other)
        loss = model.pixel_loss(sr, other.hr, other.mask)
        loss.backward()
        return batch, other, loss, model.sr.conv.weight.grad

    state = build().state_dict()
    batch, other, loss, grad = run(pad_value)
    _, _, loss_0, grad_0 = run(0)
    assert torch.equal(batch.lr, other.lr) and torch.equal(batch.hr, other.hr)
    assert torch.equal(loss, loss_0) and torch.equal(grad, grad_0)


def test_sr_images_get_the_padding_of_the_hr_input():
    model = build()
    data = model.data_preprocessor(toy_data(((16, 16), (10, 13))), True)
    batch = model.prepare(data['inputs'], data['data_samples'])
    sr = torch.rand_like(batch.hr, requires_grad=True)
    inputs = model.to_input(sr, batch)
    assert torch.equal(inputs[1, :, 10:], batch.inputs[1, :, 10:])
    assert torch.equal(inputs[1, :, :, 13:], batch.inputs[1, :, :, 13:])
    inputs.sum().backward()
    assert (sr.grad[1, :, 10:] == 0).all() and (sr.grad[1, :, :, 13:] == 0).all()
    assert (sr.grad[0] != 0).all() and (sr.grad[1, :, :10, :13] != 0).all()


@pytest.mark.parametrize('size', [(15, 17), (16, 13), (9, 9)])
def test_sizes_that_the_scale_does_not_divide(size):
    model = build()
    assert model.train_step(toy_data((size, size)), optimizers(model))
    model.eval()
    (one, two) = model.val_step(toy_data((size, (16, 20))))
    assert one.images['sr'].shape == one.images['hr'].shape == (3, *size)
    assert one.images['lr'].shape == (3, -(-size[0] // 2), -(-size[1] // 2))
    assert two.images['hr'].shape == (3, 16, 20)
    hr = toy_data((size, (16, 20)))['inputs'][0].flip(0)
    assert torch.equal(one.images['hr'], hr)


@pytest.mark.parametrize('image', ['sr', 'hr', 'lr'])
def test_predictions_are_made_on_the_image_asked_for(image):
    model = build(test_on=image).eval()
    samples = model.val_step(toy_data())
    hr = torch.stack([s.images['hr'] for s in samples]) / 255
    lr = F.interpolate(hr, scale_factor=0.5, mode='bicubic')
    lr = ((lr * 255).round() / 255).clamp(0, 1)
    want = dict(
        hr=hr, sr=model.sr(lr), lr=F.interpolate(lr, scale_factor=2, mode='bilinear')
    )[image]
    logits = model.task._logits(model.image_space.normalise(want))
    torch.testing.assert_close(
        torch.stack([s.score for s in samples]), logits, rtol=1e-4, atol=1e-5
    )


def test_by_default_the_task_network_s_outputs_on_sr_are_returned():
    model = build().eval()
    data = model.data_preprocessor(toy_data(), False)
    batch = model.prepare(data['inputs'], data['data_samples'])
    sr = model.sr(batch.lr)
    want = model.task._logits(model.image_space.normalise(sr))
    torch.testing.assert_close(model(**data), want)
    features = model.task.extract_feat(model.image_space.normalise(sr))
    torch.testing.assert_close(model.extract_feat(data['inputs']), features)
    with pytest.raises(ValueError, match='train_step'):
        model(**data, mode='loss')


def test_sr_range_255_is_the_same_function_for_a_linear_network():
    model = build(
        sr_range=255.0,
        sr=dict(type='mmsr4ir.InterpolateUpsampler', scale=2),
        recipe=RECIPES['L->T'],
    )
    data = model.data_preprocessor(toy_data(), False)
    seen = []
    model.sr.register_forward_hook(lambda _, args, out: seen.append(args[0].max()))
    batch = model.prepare(data['inputs'], data['data_samples'])
    sr = model.super_resolve_batch(batch)
    assert seen[0] > 2
    model.sr_range = 1.0
    torch.testing.assert_close(sr, model.super_resolve_batch(batch))


def test_num_classes_reaches_every_head():
    from mmsr4ir.models.networks import set_num_classes

    task = dict(head=dict(num_classes=80), aux=[dict(num_classes=80, x=1)])
    assert set_num_classes(task, 5) == dict(
        head=dict(num_classes=5), aux=[dict(num_classes=5, x=1)]
    )
    assert task['head']['num_classes'] == 80
    assert set_num_classes(task, None) == task
    boundaries = dict(num_classes=2, boundary_threshold=0.1)  # STDC's auxiliary head
    assert set_num_classes(dict(aux=boundaries), 5) == dict(aux=boundaries)


@pytest.mark.parametrize(
    'changes, error, message',
    [
        (
            dict(degradation=dict(type='mmsr4ir.BicubicDownsample', scale=4)),
            ValueError,
            r'a scale of 2, but model.degradation has scale 4',
        ),
        (
            dict(tdp=dict(type='mmsr4ir.TDPLoss', layer='neck', levels=(0, 3))),
            ValueError,
            r"tdp.levels \[3\]: 'neck' of the task network has 1 outputs",
        ),
        (
            dict(tdp=dict(type='mmsr4ir.TDPLoss', layer='nek')),
            ValueError,
            r"'nek': ToyTask has no such module; its parts are .*'backbone', 'neck'",
        ),
        (
            dict(tdp=None),
            ValueError,
            "loss 'tdp' compares features: give the model tdp=",
        ),
        (dict(patch_mix=None), ValueError, "image 'mix'.*patch_mix"),
        (dict(sr=dict(type='mmsr4ir.ToySRR')), ConfigError, 'Did you mean ToySR'),
        (dict(task=dict(type='mmsr4ir.Nothing')), ConfigError, 'model.task.type'),
        (
            dict(sr=dict(type='mmsr4ir.InterpolateUpsampler', scale=2)),
            ValueError,
            r"phase 'sr' updates nothing: sr \(InterpolateUpsampler\)",
        ),
        (dict(test_on='xr'), ValueError, "'xr'"),
        (
            dict(sr=dict(type='mmagic.EDSRNet', upscale_factor=2.5)),
            ConfigError,
            r'model.sr.upscale_factor=2.5 is no whole number.*use 2 or 3',
        ),
        (
            dict(sr=dict(type='mmsr4ir.ToySR', colours=1)),
            ConfigError,
            r'ToySR, 1 channels\) takes no image of 3 .*channels of model.sr to 3',
        ),
        (
            dict(task=dict(type='mmsr4ir.ToyTask', colours=1)),
            ConfigError,
            'model.task takes 1 channels .* mean and std of 3',
        ),
        (
            dict(
                task=dict(
                    type='mmsr4ir.ToyTask',
                    colours=4,
                    data_preprocessor=dict(
                        mean=[1.0] * 4, std=[1.0] * 4, bgr_to_rgb=True
                    ),
                )
            ),
            ConfigError,
            'bgr_to_rgb=True is for 3 channels, and the images have 4',
        ),
        (dict(no_such_key=1), TypeError, 'no_such_key'),
    ],
)
def test_a_model_that_cannot_work_is_refused(changes, error, message):
    with pytest.raises(error, match=message):
        build(**changes)


def test_names_are_the_same_with_a_wrapper_around_each_network():
    from mmengine.registry import MODEL_WRAPPERS

    @MODEL_WRAPPERS.register_module(force=True)
    class ToyWrapper(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = build()
    bare = snapshot(model)
    for name in ('sr', 'task'):
        model._modules[name] = ToyWrapper(model._modules[name])
    assert set(model.state_dict()) == set(bare)
    assert changed(bare, model) == set()
