"""The record of a run, against what the run did."""

import json
import math
import time
import zlib
from types import SimpleNamespace

import torch
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement
from test_hooks import ToyDataset, runner

from mmsr4ir.engine.hooks.run_record_hook import RunRecordHook, digest
from mmsr4ir.models.sr4ir import SR4IR
from toys import RECIPES, SR4IR_RECIPE, toy_config

HOOKS = dict(record=dict(type='mmsr4ir.RunRecordHook', interval=0.0))


def record(folder):
    return json.loads((folder / 'record.json').read_text())


def test_counts_and_digest(tmp_path):
    seen = []

    class Seen(ToyDataset):
        def __getitem__(self, i):
            data = super().__getitem__(i)
            seen.append(data['inputs'].numpy().tobytes())
            return data

    halved = dict(SR4IR_RECIPE['sr'], share=0.5)  # S learns from one image of two
    run = runner(
        tmp_path,
        epochs=3,
        warmup=1,
        hooks=HOOKS,
        model=toy_config(recipe=SR4IR_RECIPE | dict(sr=halved)),
        train_dataloader=dict(
            dataset=Seen(),
            batch_size=2,
            num_workers=0,
            collate_fn=pseudo_collate,
            sampler=dict(type='DefaultSampler', shuffle=True),
        ),
    )
    run.train()
    expected = 0
    for content in seen:
        expected = zlib.crc32(content, zlib.crc32(b'(3, 16, 16)', expected))
    found = record(tmp_path)
    assert len(seen) == 12 and found['data_digest'] == expected
    assert found['updates'] == dict(sr=6, task=6)
    assert found['images'] == dict(sr=6, task=12)
    assert [found[k] for k in ('epoch', 'epochs', 'iter', 'iters')] == [3, 3, 6, 6]
    assert found['iter_time'] > 0
    assert (
        found['machine'] == torch.cuda.get_device_name()
        if (torch.cuda.is_available())
        else found['machine'].endswith('no GPU')
    )


def test_iterations_that_only_accumulate_are_no_update(tmp_path):
    run = runner(tmp_path, epochs=3, hooks=HOOKS)
    for name, count in (('sr', 2), ('task', 4)):
        run.optim_wrapper[name] = dict(
            run.optim_wrapper[name], accumulative_counts=count
        )
    run.train()
    assert record(tmp_path)['updates'] == dict(sr=3, task=1)


def test_a_skipped_phase_is_no_update(tmp_path, monkeypatch):
    plain = SR4IR.term_losses

    def spoilt(self, term, batch):
        losses = plain(self, term, batch)
        return {k: v * math.nan for k, v in losses.items()} if term.is_task else losses

    monkeypatch.setattr(SR4IR, 'term_losses', spoilt)
    runner(
        tmp_path,
        epochs=1,
        hooks=HOOKS
        | dict(non_finite_loss=dict(type='mmsr4ir.NonFiniteLossHook', max_skipped=9)),
    ).train()
    assert record(tmp_path)['updates'] == dict(sr=2, task=0)


def test_the_order_of_the_data_does_not_depend_on_the_method(tmp_path):
    found = {}
    for name, seed in (('SR4IR', 0), ('L->T', 0), ('T->S', 0), ('seed', 1)):
        folder = tmp_path / name
        folder.mkdir()
        recipe = RECIPES.get(name, RECIPES['SR4IR'])
        runner(
            folder,
            hooks=HOOKS,
            model=toy_config(recipe=recipe),
            randomness=dict(seed=seed),
        ).train()
        found[name] = record(folder)
    assert (
        found['SR4IR']['data_digest']
        == found['L->T']['data_digest']
        == found['T->S']['data_digest']
        != found['seed']['data_digest']
    )
    assert found['L->T']['updates'] == dict(sr=0, task=4)
    assert found['T->S']['updates'] == dict(sr=4, task=0)


def test_a_resumed_run_goes_on_with_the_counts(tmp_path):
    whole, resumed = tmp_path / 'whole', tmp_path / 'resumed'
    whole.mkdir(), resumed.mkdir()
    runner(whole, epochs=3, hooks=HOOKS).train()
    for epochs in (1, 3):
        runner(resumed, epochs=epochs, hooks=HOOKS, resume=epochs == 3).train()
    a, b = record(whole), record(resumed)
    assert a.pop('iter_time') and (b.pop('iter_time') or True)
    assert a.pop('seconds') > 0 and b.pop('seconds') > 0
    assert a == b


def test_a_validation_is_no_part_of_an_iteration(monkeypatch):
    clock = iter([10.0, 11.0, 500.0, 502.0])
    monkeypatch.setattr(time, 'perf_counter', lambda: next(clock))
    hook = RunRecordHook(interval=math.inf)
    model = SR4IR.__new__(SR4IR)
    torch.nn.Module.__init__(model)
    model.recipe, model.skip_non_finite = (), False
    hub = SimpleNamespace(runtime_info={}, update_info=lambda *_: None)
    run = SimpleNamespace(message_hub=hub, iter=0, model=model)
    hook.before_train(run)
    hook.after_train_iter(run, 0)
    hook.after_val(run)
    hook.after_train_iter(run, 1)
    assert hook._seconds == (11 - 10) + (502 - 500)


def test_digest_of_lr_images_in_a_test(tmp_path):
    hook = RunRecordHook()
    images = [torch.full((3, 2, 2), i, dtype=torch.uint8) for i in range(3)]
    samples = [BaseDataElement() for _ in images]
    for sample, image in zip(samples, images, strict=True):
        sample.images = dict(lr=image)
    run = type('Run', (), dict(work_dir=str(tmp_path)))
    hook.after_test_iter(run, 0, outputs=samples[:2])
    hook.after_test_iter(run, 1, outputs=samples[2:])
    hook.after_test_epoch(run)
    assert record(tmp_path) == dict(lr_digest=digest(images))
    assert digest(images) != digest(images[::-1])
