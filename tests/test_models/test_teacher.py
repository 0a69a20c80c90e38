"""The teacher: what it is asked, what its losses are, and that it never changes."""

import pytest
import torch
from mmengine.config import ConfigDict
from torch.nn import functional as F

from mmsr4ir.engine import PerNetworkOptimWrapperConstructor
from mmsr4ir.registry import MODELS
from toys import HLF_FM, MEAN, STD, changed, snapshot, toy_config, toy_data

WRAPPERS = {name: dict(optimizer=dict(type='SGD', lr=0.1)) for name in ('sr', 'task')}


@pytest.fixture(scope='module')
def h2t(tmp_path_factory) -> str:
    """The checkpoint of another run."""
    return save(tmp_path_factory.mktemp('h2t') / 'h2t.pth')


def save(path, task=None) -> str:
    torch.manual_seed(1)
    model = MODELS.build(toy_config(**(dict(task=task) if task else {})))
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def build(h2t, recipe=HLF_FM, **changes):
    torch.manual_seed(0)
    teacher = dict(init_cfg=dict(type='Pretrained', checkpoint=h2t))
    changes = dict(teacher=teacher, recipe=recipe) | changes
    model = MODELS.build(ConfigDict(toy_config(**changes)))
    model.init_weights()
    return model.train()


def optimizers(model):
    return PerNetworkOptimWrapperConstructor(WRAPPERS)(model)


def normalise(image):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (image * 255 - mean) / std


def distance(a, b):
    """TDP's on both levels of the toy backbone."""
    return sum(0.5 * (x - y).abs().mean() for x, y in zip(a, b, strict=True))


def logits(task, inputs):
    return task.head(task.neck(task.backbone(inputs)[-1]).mean((2, 3)))


@pytest.mark.parametrize('images', ['sr|hr', 'sr', 'hr', 'sr+hr'])
def test_losses_against_a_plain_computation(h2t, images, tmp_path):
    """Of T, its own and the matching, in train mode, and their gradients to T."""
    losses = {f'task_{images}': dict(weight=2.0, match=0.3)}
    recipe = dict(task=dict(update='task', losses=losses))
    task = toy_config()['task']
    if '+' in images:  # batch statistics are refused there
        task = task | dict(type='mmsr4ir.NormlessTask')
        h2t = save(tmp_path / 'normless.pth', task)
    model, plain = (build(h2t, recipe, task=task) for _ in range(2))
    data = toy_data([(16, 16)] * 3)
    logs = model.train_step(data, optimizers(model))

    hr = torch.stack(data['inputs']).flip(1).float() / 255  # BGR -> RGB
    lr = F.interpolate(hr, scale_factor=0.5, mode='bicubic')
    with torch.no_grad():
        sr = plain.sr.eval()(((lr * 255).round() / 255).clamp(0, 1))
    seen = {
        'sr|hr': torch.cat([sr[:2], hr[2:]]),
        'sr': sr,
        'hr': hr,
        'sr+hr': torch.cat([sr, hr]),
    }[images]
    labels = torch.tensor([0, 1, 2] * (len(seen) // 3))
    task, teacher = plain.task, plain.teacher
    with torch.no_grad():
        want = [
            torch.cat([x] * (len(seen) // 3)) for x in teacher.backbone(normalise(hr))
        ]
    own = 2.0 * F.cross_entropy(logits(task, normalise(seen)), labels)
    matching = 0.3 * distance(task.backbone(normalise(seen)), want)
    found = {name: logs[f'task/{images}/loss_{name}'] for name in ('cls', 'match')}
    torch.testing.assert_close(found, dict(cls=own.detach(), match=matching.detach()))
    torch.testing.assert_close(logs['task/loss'], (own + matching).detach())
    (own + matching).backward()
    for name, parameter in task.named_parameters():
        step = 0 if parameter.grad is None else 0.1 * parameter.grad
        torch.testing.assert_close(model.task.get_parameter(name), parameter - step)
    assert not changed(snapshot(plain.sr), model.sr)


@pytest.mark.parametrize('share', [0.5, 1.0])
def test_two_judges_against_a_plain_computation(h2t, share):
    """And T on the SR images of the first phase, if that saw the half that T needs."""
    recipe = dict(HLF_FM, sr=dict(HLF_FM['sr'], share=share))
    model, plain = build(h2t, recipe), build(h2t, recipe)
    data = toy_data([(16, 16)] * 3)
    judged = 2 if share == 0.5 else 3
    calls = []
    model.teacher.backbone.register_forward_hook(
        lambda module, args, output: calls.append(len(args[0]))
    )
    before = snapshot(model.task)
    logs = model.train_step(data, optimizers(model))
    assert sorted(calls) == [judged, 3]  # HR and SR: those of HR serve the matching too

    all_hr = torch.stack(data['inputs']).flip(1).float() / 255
    lr = F.interpolate(all_hr, scale_factor=0.5, mode='bicubic')
    sr = plain.sr(((lr * 255).round() / 255).clamp(0, 1)[:judged])
    hr = all_hr[:judged]
    parts = {}
    for name, judge in dict(tdp=plain.task, tdp_teacher=plain.teacher).items():
        judge.eval()
        with torch.no_grad():
            want = judge.backbone(normalise(hr))
        parts[name] = 0.5 * distance(judge.backbone(normalise(sr)), want)
        torch.testing.assert_close(logs[f'sr/loss_{name}'], parts[name].detach())
    assert not torch.isclose(*parts.values())
    sum(parts.values()).backward()
    for name, parameter in plain.sr.named_parameters():
        torch.testing.assert_close(
            model.sr.get_parameter(name), parameter - 0.1 * parameter.grad
        )
    assert changed(before, model.task)
    plain.train()
    half = torch.cat([sr[:2].detach(), all_hr[2:]])
    own = F.cross_entropy(logits(plain.task, normalise(half)), torch.tensor([0, 1, 2]))
    torch.testing.assert_close(logs['task/sr|hr/loss_cls'], own.detach())


def test_the_teacher_never_changes(h2t):
    model = build(h2t)
    file = torch.load(h2t)['state_dict']
    wrappers = optimizers(model)
    for seed in range(3):
        model.train_step(toy_data(seed=seed), wrappers)
    for name, value in model.teacher.state_dict().items():
        assert torch.equal(value, file[f'task.{name}'])
    assert not torch.equal(model.task.head.weight, file['task.head.weight'])
    assert list(wrappers.keys()) == ['sr', 'task']
    assert not any(module.training for module in model.teacher.modules())
    assert all(
        p.grad is None and not p.requires_grad for p in model.teacher.parameters()
    )


def test_a_teacher_of_another_architecture(h2t, tmp_path):
    """Features of the same shape are all that is asked of it."""
    other = dict(type='mmsr4ir.NormlessTask')
    checkpoint = dict(type='Pretrained', checkpoint=save(tmp_path / 'a.pth', other))
    model = build(h2t, teacher=dict(other, init_cfg=checkpoint))
    assert type(model.teacher) is not type(model.task)
    logs = model.train_step(toy_data(), optimizers(model))
    assert logs['sr/loss_tdp_teacher'] > 0 and logs['task/sr|hr/loss_match'] > 0


PRETRAINED = dict(type='Pretrained', checkpoint='none.pth')


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(teacher=None), "'tdp_teacher': give the model teacher="),
        (dict(teacher=dict(init_cfg=dict(type='Kaiming'))), 'a run of H->T'),
        (dict(teacher=dict(init_cfg=PRETRAINED, depth=5)), 'for another architecture'),
        (dict(tdp=None), "loss 'tdp' compares features: give the model tdp="),
        (
            dict(teacher=dict(type='mmsr4ir.ToyTask', channels=5, init_cfg=PRETRAINED)),
            r'shapes \[\(5, 32, 32\), \(5, 16, 16\)\], that of model.task \[\(4, 32',
        ),
        (
            dict(
                teacher=dict(
                    type='mmsr4ir.ToyTask',
                    data_preprocessor=dict(mean=[0.0], std=[1.0], bgr_to_rgb=True),
                    init_cfg=PRETRAINED,
                )
            ),
            'give it the mean, std and order of channels',
        ),
        (
            dict(recipe=dict(sr=dict(update='sr', losses=dict(tdp=1.0)))),
            'no loss of the recipe asks it',
        ),
    ],
)
def test_a_teacher_that_cannot_judge_is_refused(h2t, changes, message):
    with pytest.raises(ValueError, match=message):
        build(h2t, **changes)


def test_a_missing_file_is_named():
    with pytest.raises(ValueError, match='model.teacher.init_cfg.checkpoint none.pth'):
        build('none.pth')


def test_a_layer_that_the_loss_does_not_pass_is_named(h2t, monkeypatch):
    model = build(
        h2t, dict(task=dict(update='task', losses=dict(task_sr=dict(match=1))))
    )
    monkeypatch.setattr(
        model.task, 'loss', lambda *_: dict(loss=model.task.head.bias.sum())
    )
    with pytest.raises(RuntimeError, match="'backbone' is not part of the loss"):
        model.train_step(toy_data(), optimizers(model))
