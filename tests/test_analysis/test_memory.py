"""Memory counted on tensors without values, against what the allocator hands out."""

import copy
import dataclasses
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch.profiler import ProfilerActivity, profile

from mmsr4ir.analysis import memory_line
from mmsr4ir.analysis.memory import (
    LiveBytes,
    count_memory,
    estimate_memory,
    training_shape,
)
from mmsr4ir.cli import estimate_memory as tool
from mmsr4ir.cli.train import add_memory_line
from mmsr4ir.compat.fake_tensors import fake_tensors
from mmsr4ir.utils.errors import ConfigError

MIB = 2**20


def tiny(name: str, **settings) -> Config:
    cfg = Config.fromfile(f'configs/sr4ir/{name}.py')
    cfg.merge_from_dict(settings)
    return cfg


def allocated(work) -> tuple[int, object]:
    """Return the largest sum of what the CPU's allocator gave out and took back."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        result = work()
    events = [
        event
        for event in found.profiler.kineto_results.events()
        if event.name() == '[memory]'
    ]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak, result


def test_live_bytes_by_hand():
    def halves(rows):
        made = torch.zeros(rows, 256)  # 1 KiB each row
        view = made[1:]
        del made
        return view * 2

    with LiveBytes() as live:
        kept = halves(4)
        assert live.now == 3 * 1024 and live.peak == 7 * 1024
        live.restart()
        grown = torch.nn.Parameter(torch.ones(1, 256))
        (grown * grown).sum().backward()  # a product of 1 KiB is gone again
        assert live.now == 3 * 1024 + 2 * 1024
        assert live.peak > live.now
        del kept
    assert live.now == 2 * 1024


@pytest.mark.parametrize('name', ['resnet18_edsr_tiny', 'deeplabv3_edsr_tiny'])
def test_against_the_allocator(name):
    cfg = tiny(name)
    counted = count_memory(cfg, 4, (64, 64))
    assert counted.is_whole and list(counted.phases) == ['sr', 'task']
    given, real = allocated(lambda: count_memory(cfg, 4, (64, 64), fake=False))
    assert counted.parameters == real.parameters
    assert counted.optimizers == real.optimizers
    assert counted.peak == pytest.approx(given, rel=0.1)


def test_optimizers_and_accumulated_gradients():
    # AdamW keeps two numbers for each parameter, all of which are trained.
    cfg = tiny('resnet18_edsr_tiny')
    plain = count_memory(cfg, 1, (32, 32))
    assert plain.optimizers == pytest.approx(2 * plain.parameters, rel=0.1)
    for network in ('sr', 'task'):
        cfg.optim_wrapper[network].accumulative_counts = 2
    kept = count_memory(cfg, 1, (32, 32))
    assert kept.optimizers == pytest.approx(3 * plain.parameters, rel=0.1)


def test_a_detector_is_run_on_two_images():
    cfg = tiny('faster-rcnn_edsr_tiny')
    fake = count_memory(cfg, 3, (64, 64))
    assert not fake.is_whole
    counted = estimate_memory(cfg, 3, (64, 64))
    real = count_memory(cfg, 3, (64, 64), fake=False)
    assert counted.is_whole and counted.phases.keys() == real.phases.keys()
    for name, size in real.phases.items():
        assert counted.phases[name] == pytest.approx(size, rel=0.1)
    # What stops at the proposals is a lower bound, and no loose one.
    assert 0.5 * real.peak < fake.peak < 1.05 * real.peak
    cfg.model.task.type = 'mmdet.MaskRCNN'
    heads = cfg.model.task.roi_head
    heads.mask_roi_extractor = heads.bbox_roi_extractor
    heads.mask_head = dict(
        type='FCNMaskHead',
        num_convs=1,
        in_channels=heads.bbox_roi_extractor.out_channels,
        num_classes=4,
        loss_mask=dict(type='CrossEntropyLoss', use_mask=True),
    )
    cfg.model.task.train_cfg.rcnn.mask_size = 14
    with pytest.raises(ConfigError, match='no masks or the like: AttributeError'):
        estimate_memory(cfg, 3, (64, 64))


def test_checkpointing_and_mixed_precision():
    cfg = tiny('resnet18_edsr_tiny')
    plain = count_memory(cfg, 4, (64, 64)).phases
    cfg.default_hooks.activation_checkpoint = dict(
        type='mmsr4ir.ActivationCheckpointHook', modules=['sr.body']
    )
    assert count_memory(cfg, 4, (64, 64)).phases['sr'] < plain['sr']
    cfg = tiny('resnet18_edsr_tiny')
    for network in ('sr', 'task'):
        cfg.optim_wrapper[network].update(
            type='mmsr4ir.AmpOptimWrapper', dtype='bfloat16'
        )
    assert count_memory(cfg, 4, (64, 64)).phases['sr'] < plain['sr']


def test_swinir_keeps_the_inputs_of_its_layers():
    small = dict(depths=[4, 4], num_heads=[4, 4], embed_dim=60, init_cfg=None)
    cfg = tiny('seg_voc/seg_voc_s_swinir_x4', **{'model.sr': small})
    kept = count_memory(cfg, 2, (64, 64))
    cfg.default_hooks.activation_checkpoint = None
    stored = count_memory(cfg, 2, (64, 64))
    used, more = (one.peak - one.parameters - one.optimizers for one in (kept, stored))
    assert kept.is_whole and used < 0.8 * more
    # Only S->T does not train S.
    for path in Path('configs/sr4ir').glob('*/*swinir*.py'):
        assert ('activation_checkpoint' in path.read_text()) != ('_s2t_' in path.name)


def test_fake_tensors_answer():
    real = [torch.ones(3, 4), torch.ones(4, dtype=torch.bool)]
    with fake_tensors(real, full_masks=12) as (numbers, mask):
        assert numbers.sum().item() == 1 and not numbers.sum() > 0
        assert numbers[:, mask].shape == (3, 4)
        assert numbers[numbers > 0].shape == (12,)
        assert copy.deepcopy(numbers).shape == (3, 4)
    with (
        fake_tensors(real, full_masks=3) as (numbers, mask),
        pytest.raises(RuntimeError),
    ):
        numbers[:, mask]


def test_the_line_at_the_start(monkeypatch):
    lines = []
    needed = count_memory(tiny('resnet18_edsr_tiny'), 2, (32, 32))
    monkeypatch.setattr(memory_line, 'print_log', lambda *args: lines.append(args))
    monkeypatch.setattr(memory_line, 'count_memory', lambda *args: needed)
    runner = SimpleNamespace(cfg=tiny('resnet18_edsr_tiny'))
    batch = dict(inputs=[torch.zeros(3, 32, 24), torch.zeros(3, 24, 32)])
    for available in (needed.peak / 0.9, needed.peak / 0.9 + 2):
        monkeypatch.setattr(memory_line, 'gpu_memory', lambda size=available: size)
        hook = memory_line.MemoryLineHook()
        hook.before_train_iter(runner, 0, batch)
        hook.before_train_iter(runner, 1, batch)
    (less, _, warning), (more, _, info) = lines
    assert (warning, info) == (logging.WARNING, logging.INFO)
    assert needed.phases['task'] > needed.phases['sr']
    said = '2 images of 32 x 32 need about 0.0 GiB (phase task) of the 0.0 GiB that '
    said += 'the GPU has for it'
    assert more == said
    assert less.startswith(f'{said}: lower train_dataloader.batch_size')
    part = dataclasses.replace(needed, is_whole=False)
    monkeypatch.setattr(memory_line, 'count_memory', lambda *args: part)
    _, line = memory_line.memory_line(runner.cfg, 2, (32, 32), needed.peak + 1)
    assert 'need more than 0.0 GiB' in line


def test_what_the_gpu_has_for_a_process(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'mem_get_info', lambda: (5, 100))
    monkeypatch.setattr(torch.cuda, 'memory_reserved', lambda: 20)
    assert memory_line.gpu_memory() == 25


def test_nothing_is_counted_in_several_processes(monkeypatch):
    lines = []
    monkeypatch.setattr(memory_line, 'get_world_size', lambda: 2)
    monkeypatch.setattr(memory_line, 'count_memory', None)
    monkeypatch.setattr(memory_line, 'print_log', lambda *args: lines.append(args))
    batch = dict(inputs=[torch.zeros(3, 32, 32)])
    memory_line.MemoryLineHook().before_train_iter(SimpleNamespace(), 0, batch)
    ((line, _),) = lines
    assert 'estimate_memory.py' in line


def test_sync_bn_counts_as_batch_norm():
    cfg = tiny('deeplabv3_edsr_tiny')
    kind = cfg.model.task.backbone.norm_cfg.type
    want = count_memory(cfg, 2, (64, 64))
    cfg.model.task.backbone.norm_cfg.type = 'BN' if kind == 'SyncBN' else 'SyncBN'
    assert count_memory(cfg, 2, (64, 64)) == want and want.is_whole


@pytest.mark.parametrize('has_gpu', [True, False])
def test_only_a_training_on_a_gpu_has_the_line(monkeypatch, has_gpu):
    hooks = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: has_gpu)
    cfg = Config(dict(model=dict(type='mmsr4ir.SR4IR')))
    add_memory_line(SimpleNamespace(cfg=cfg, register_hook=hooks.append))
    assert [type(hook) for hook in hooks] == [memory_line.MemoryLineHook] * has_gpu


def test_a_line_that_cannot_be_said(monkeypatch):
    lines = []
    monkeypatch.setattr(memory_line, 'gpu_memory', lambda: 2**30)
    monkeypatch.setattr(memory_line, 'print_log', lambda *args: lines.append(args))
    runner = SimpleNamespace(cfg=Config(dict(model=dict(type='ResNet'))))
    memory_line.MemoryLineHook().before_train_iter(
        runner, 0, dict(inputs=[torch.zeros(3, 32, 32)])
    )
    ((line, _, level),) = lines
    assert level == logging.INFO and 'cannot be estimated' in line


def test_the_tool(monkeypatch, capsys, tmp_path):
    out = tmp_path / 'memory.json'
    argv = ['tool', 'configs/sr4ir/resnet18_edsr_tiny.py', '--shape', '32']
    argv += ['--batch-size', '2', '--compare', 'checkpointing', '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', argv)
    tool.main()
    rows = json.loads(out.read_text())['rows']
    assert [(row['way'], row['images']) for row in rows] == [
        ('checkpointing', 2),
        ('plain', 2),
    ]
    want = count_memory(tiny('resnet18_edsr_tiny'), 2, (32, 32))
    assert rows[-1]['phases'] == want.phases
    table = [line.split(' | ') for line in capsys.readouterr().out.splitlines()]
    assert ['plain', '2'] == [cell.strip('| ') for cell in table[-1][:2]]


def test_no_data_to_take_the_size_from():
    with pytest.raises(ConfigError, match='--shape HEIGHT WIDTH'):
        training_shape(tiny('seg_voc/seg_voc_sr4ir_edsr_x4'))
