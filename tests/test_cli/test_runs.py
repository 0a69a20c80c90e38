"""What the tools do with a config, and the end of a process among others."""

import argparse
import pickle
import re
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer

from mmsr4ir import __version__
from mmsr4ir.cli import main, run, runs
from mmsr4ir.cli.arguments import ConfigOptions, warn_of_unread
from mmsr4ir.cli.runs import start_dist
from mmsr4ir.datasets.checks.problem import Report
from mmsr4ir.engine.runner import SR4IRRunner
from mmsr4ir.utils.configs import merge_options
from mmsr4ir.utils.errors import ConfigError, DataError

ROOT = Path(__file__).parents[2]
THREADS = """
import os
import sys
from pathlib import Path

import torch.distributed as dist

sys.path[:0] = ['tests/helpers', '.']
from mmsr4ir.cli.runs import end_dist
from toys import toy_runner

def threads():
    return {path.read_text().strip() for path in Path('/proc/self/task').glob('*/comm')}

work = Path(sys.argv[1])
os.environ['LOCAL_RANK'] = '0'
dist.init_process_group('gloo', f'file://{work}/group', rank=0, world_size=1)
runner = toy_runner(work, launcher='pytorch', cfg=dict(model_wrapper_cfg=dict(
    type='mmsr4ir.SeparateDistributedDataParallel', device_ids=None)))
print('wrapped:', type(runner.model).__name__)
runner.train()
print('before:', sorted(threads()))
end_dist(runner.model)
print('after:', sorted(threads()))
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_no_thread_of_the_group_is_left(tmp_path, run_tool):
    script = tmp_path / 'threads.py'
    script.write_text(THREADS)
    output = run_tool(sys.executable, script, tmp_path).stdout
    found = {line.partition(':')[0]: line for line in output.splitlines()}
    assert 'SeparateDistributedDataParallel' in found['wrapped']
    assert 'gloo' in found['before']
    assert 'gloo' not in found['after']


@pytest.mark.parametrize(
    'leaf, options, is_warned_of',
    [
        ('model = dict(recipe=_base_.recipe)', {}, False),
        ("model = dict(recipe=dict(sr='another'))", {}, False),
        ("recipe = dict(sr='another')", {}, True),
        ('', {'recipe.sr': 'another'}, True),
    ],
)
def test_a_setting_of_the_model_in_the_wrong_place_is_warned_of(
    leaf, options, is_warned_of, tmp_path, capfd
):
    (tmp_path / 'base.py').write_text("recipe = dict(sr='own')")
    path = tmp_path / 'leaf.py'
    path.write_text(f"_base_ = ['./base.py']\n{leaf}")
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(options)
    warn_of_unread(cfg, options)
    text = capfd.readouterr()
    assert ('model.recipe' in text.out + text.err) == is_warned_of


def test_what_a_check_finds_is_logged_or_stops_the_run(monkeypatch):
    said, report = [], Report('train')
    monkeypatch.setattr(runs, 'print_log', lambda text, *_: said.append(text))
    monkeypatch.setattr(runs, 'reports', lambda cfg, *_: iter([report]))
    report.note('a.png', 'is grey')
    runs.check_before_run(Config(), ('train',))
    assert said == []
    report.warn('a.json', 'has an empty box', 'take it out', 'annotation 7')
    runs.check_before_run(Config(), ('train',))
    assert said == ['a.json: annotation 7 has an empty box: take it out']
    report.error('b.png', 'is missing', 'fetch it')
    with pytest.raises(DataError, match='b.png is missing: fetch it'):
        runs.check_before_run(Config(), ('train',))
    monkeypatch.setenv('RANK', '1')  # one process looks for all
    runs.check_before_run(Config(), ('train',))


def test_a_loader_without_worker_processes():
    loader = SR4IRRunner.build_dataloader(
        dict(
            dataset=list(range(4)),
            batch_size=2,
            num_workers=0,
            persistent_workers=True,
            prefetch_factor=3,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        )
    )
    assert list(loader) == [[0, 1], [2, 3]]


def test_memory_is_pinned_if_there_is_a_gpu(monkeypatch):
    options = dict(
        dataset=list(range(4)),
        batch_size=2,
        sampler=dict(type='DefaultSampler', shuffle=False),
    )
    for has_gpu in (True, False):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda has=has_gpu: has)
        assert SR4IRRunner.build_dataloader(options).pin_memory is has_gpu
        chosen = SR4IRRunner.build_dataloader(options | dict(pin_memory=False))
        assert not chosen.pin_memory
    assert 'pin_memory' not in options


@pytest.fixture
def joined(monkeypatch):
    """The settings that processes are joined with, without a GPU."""
    calls = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(
        torch.distributed,
        'init_process_group',
        lambda *args, **settings: calls.append((args, settings)),
    )
    return calls


def test_settings_of_several_processes_are_kept(joined, capfd):
    cfg = Config(
        dict(
            launcher='pytorch',
            model=dict(type='mmsr4ir.SR4IR'),
            sync_bn='torch',
            env_cfg=dict(
                cudnn_benchmark=True, dist_cfg=dict(backend='nccl', timeout=5)
            ),
        )
    )
    start_dist(cfg)
    assert joined == [(('gloo',), dict(timeout=timedelta(seconds=5)))]
    assert cfg.env_cfg == dict(
        cudnn_benchmark=True, dist_cfg=dict(backend='gloo', timeout=5)
    )
    assert cfg.model_wrapper_cfg == dict(
        type='mmsr4ir.SeparateDistributedDataParallel', device_ids=None
    )
    assert cfg.sync_bn is None and 'needs a GPU' in ''.join(capfd.readouterr())


def test_a_plain_model_keeps_its_wrapper(joined):
    cfg = Config(dict(launcher='pytorch', model=dict(type='mmdet.FasterRCNN')))
    start_dist(cfg)
    assert cfg.model_wrapper_cfg['type'] == 'MMDistributedDataParallel'
    assert joined == [(('gloo',), dict(timeout=None))]


def test_processes_without_a_launcher_are_refused(run_tool):
    process = run_tool(
        sys.executable,
        'tools/train.py',
        'configs/sr4ir/resnet18_edsr_tiny.py',
        ok=False,
        env=dict(WORLD_SIZE='2', RANK='0', TORCHELASTIC_RUN_ID='none'),
    )
    assert process.returncode == 1
    assert 'add --launcher pytorch' in process.stdout


def test_a_tool_of_another_package_may_load_a_checkpoint(tmp_path, monkeypatch, capsys):
    """As the libraries' publish_model.py do; torch refuses MMEngine's log."""
    history = HistoryBuffer([1.0, 2.0], [1, 1])
    torch.save(dict(log=history, w=torch.ones(2)), tmp_path / 'epoch_1.pth')
    tool = tmp_path / 'tool.py'
    tool.write_text(
        'import sys, beside, torch\n'
        'loaded = torch.load(sys.argv[1])\n'
        "print(loaded['log'].current(), loaded['w'].sum().item())\n"
    )
    (tmp_path / 'beside.py').write_text('')
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setattr(sys, 'argv', ['run', str(tool), str(tmp_path / 'epoch_1.pth')])
    with pytest.raises(pickle.UnpicklingError, match='HistoryBuffer'):
        torch.load(tmp_path / 'epoch_1.pth')
    run.main()
    assert capsys.readouterr().out == '2.0 2.0\n'


def test_what_mmengine_takes_as_it_is_is_looked_at():
    for cfg, message in [
        (dict(log_level='LOUD'), "log_level 'LOUD': use 'DEBUG'"),
        (dict(randomness=dict(seed='3')), "randomness.seed '3': use an integer"),
    ]:
        with pytest.raises(ConfigError, match=message):
            runs.build_runner(Config(cfg))
    runs.check_settings(Config(dict(log_level='DEBUG', randomness=dict(seed=None))))


@pytest.mark.parametrize(
    'name, code, shown',
    [
        ('--version', None, f'mmsr4ir {__version__}\n'),
        ('trian', 2, "error: there is no command 'trian'; did you mean 'train'?\n"),
        ('xyz', 2, "error: there is no command 'xyz'; mmsr4ir --help lists them all\n"),
    ],
)
def test_the_command_itself(name, code, shown, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mmsr4ir', name])
    ended = None
    try:
        main.main()
    except SystemExit as end:
        ended = end.code
    printed = capsys.readouterr()
    assert (ended, printed.err if code else printed.out) == (code, shown)


def test_the_command_has_all_tools_of_the_package():
    scripts = [*(ROOT / 'tools').rglob('*.py'), *(ROOT / 'demo').glob('*.py')]
    text = ''.join(path.read_text() for path in scripts)
    started = set(re.findall(r'^from mmsr4ir\.cli\.(\w+) import main$', text, re.M))
    there = {module for module, _ in main.COMMANDS.values()}
    assert there == started | {'run', 'check_env'}


@pytest.mark.parametrize(
    'option, message',
    [
        ('model.sr', "'model.sr' is no KEY=VALUE"),
        ('model.sr.blocks.x=2', '--cfg-options: blocks='),
        ('train_dataloader.pipeline.9.type=2', '--cfg-options: Index 9 exceeds'),
        ('modle.sr=1', "--cfg-options modle.sr: .* mean 'model'"),
    ],
)
def test_a_setting_that_fits_nowhere_is_named(option, message, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    cfg = Config(
        dict(
            model=dict(sr=dict(blocks=1)),
            train_dataloader=dict(pipeline=[dict(type='a')]),
        )
    )
    with pytest.raises((ConfigError, SystemExit)) as end:
        merge_options(cfg, parser.parse_args(['--cfg-options', option]).cfg_options)
    assert re.search(message, f'{end.value} {capsys.readouterr().err}')
