"""With a clock of our own, so that nothing depends on the machine."""
import errno
import importlib
import itertools
import json
import re
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

import toys
from mmsr4ir.analysis import speed
from mmsr4ir.analysis.speed import Laps, endless, summary, time_inference, time_training
from mmsr4ir.engine.build import build_model
from mmsr4ir.registry import MODELS


@MODELS.register_module()
class PredictingTask(toys.ToyTask):
    """Predictions get what SR4IR hands on with them."""

    def predict(self, inputs, data_samples):
        self.seen = (self.training, inputs)
        return super().predict(inputs, data_samples)


@pytest.fixture
def clock(monkeypatch):
    """Every look at the clock is a second after the one before."""
    ticks = itertools.count()
    monkeypatch.setattr(speed, '_now', lambda: float(next(ticks)))


def model(**changes):
    cfg = toys.toy_config(**changes)
    cfg['task']['type'] = 'mmsr4ir.PredictingTask'
    return build_model(Config(dict(model=cfg, default_scope='mmengine')))


def wrappers(network):
    sgd = dict(optimizer=dict(type='SGD', lr=0.5, weight_decay=0.1, momentum=0.9))
    return speed.build_wrappers(Config(dict(optim_wrapper=dict(
        constructor='mmsr4ir.PerNetworkOptimWrapperConstructor', sr=sgd, task=sgd))),
        network)


BATCHES = [toys.toy_data(), toys.toy_data(((16, 16), ), seed=1)]


def test_training_by_parts(clock):
    network = model()
    before = {k: v.clone() for k, v in network.named_parameters()}
    laps = time_training(network, wrappers(network), BATCHES, iterations=3, warmup=2)
    assert dict(laps.seconds) == {
        'waiting for data': [1.0] * 3, 'HR and LR images': [1.0] * 3,
        'phase sr': [1.0] * 3, 'phase task': [1.0] * 3, 'iteration': [4.0] * 3}
    assert laps.images == [2, 1, 2]  # the batches come in turns, two are warm-up
    hub = MessageHub.get_current_instance()  # which some parts of mmdet ask
    assert (hub.get_info('epoch'), hub.get_info('iter')) == (0, 4)
    # The phases were real ones, with gradients, but left the weights as they were.
    assert network.training and network.task.head_calls == 5 * 3
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name]), name
    assert network.sr.norm.num_batches_tracked == 5


def test_only_the_phases_of_the_stage_are_run(clock):
    network = model(recipe=toys.RECIPES['S->T'], tdp=None, patch_mix=None)
    for stage, phase in (('warmup', 'phase sr'), ('main', 'phase task')):
        laps = time_training(
            network, wrappers(network), BATCHES, iterations=1, warmup=0, stage=stage)
        assert list(laps.seconds) == [
            'waiting for data', 'HR and LR images', phase, 'iteration']


def test_inference_by_parts(clock):
    network = model()
    laps = time_inference(network, BATCHES, iterations=2, warmup=1)
    assert dict(laps.seconds) == {name: [1.0] * 2 for name in (
        'waiting for data', 'HR and LR images', 'restore', 'recognise', 'test step')}
    assert laps.images == [1, 2]
    # T was in eval mode, on the restored image, in the parts and as a whole.
    assert network.task.head_calls == 2 * 3
    training, inputs = network.task.seen
    want = network.data_preprocessor(BATCHES[0], False)
    batch = network.prepare(want['inputs'], want['data_samples'])
    assert not training
    assert torch.equal(inputs, network.to_input(network.super_resolve(batch), batch))


def test_summary_by_hand():
    laps = Laps(warmup=1)
    for seconds, images in ((9.0, 4), (1.0, 4), (2.0, 4), (3.0, 4), (4.0, 2), (5.0, 4)):
        laps._keep('part', seconds)
        laps.finish(images)
    row = summary(laps)['part']
    assert row == dict(median=3.0, min=1.0, max=5.0, q1=2.0, q3=4.0,
                       images_per_second=pytest.approx(4 / 3))
    assert summary(_one(2.0))['part']['q1'] == 2.0


def _one(seconds):
    laps = Laps()
    laps._keep('part', seconds)
    laps.finish(1)
    return laps


def test_no_batch_is_an_error():
    with pytest.raises(ValueError, match='gives no batch'):
        next(endless([]))
    with pytest.raises(ValueError, match='no optim_wrapper'):
        speed.build_wrappers(Config(dict()), model())


def test_tool(run_tool, coco_root, tiny_options, tmp_path):
    out = tmp_path / 'speed.json'
    text = run_tool(
        sys.executable, 'tools/analysis_tools/benchmark_speed.py',
        'configs/sr4ir/faster-rcnn_edsr_tiny.py', '--iterations', 2, '--warmup', 1,
        '--out', out, *tiny_options(coco_root)).stdout
    result = json.loads(out.read_text())
    assert set(result['training']['seconds']) == {
        'waiting for data', 'HR and LR images', 'phase sr', 'phase task', 'iteration'}
    assert set(result['inference']['seconds']) >= {'restore', 'recognise', 'test step'}
    for part in ('training', 'inference'):
        assert result[part]['batch'] == 2 and result[part]['memory']['mib'] > 1
        for row in result[part]['seconds'].values():
            assert row['min'] <= row['q1'] <= row['median'] <= row['q3'] <= row['max']
    assert 'phase task' in text and 'peak memory' in text


def test_which_tool_runs_hooks_is_said(run_tool):
    text = ' '.join(run_tool(
        sys.executable, 'tools/analysis_tools/benchmark_speed.py', '--help'
    ).stdout.split())
    assert 'No hook is run' in text and 'benchmark_train.py runs them' in text
    for name in ('CompileHook', 'EMAHook', 'ActivationCheckpointHook',
                 'SparseRoIAlignHook'):
        assert name in text


@pytest.fixture(scope='module', params=['benchmark_speed', 'benchmark_train'])
def tool(request):
    """Both tools that take times."""
    return importlib.import_module(f'mmsr4ir.cli.{request.param}')


@pytest.mark.parametrize('out, message', [
    ('file/out.json', 'File exists|Not a directory'), ('folder', 'is a folder')])
def test_out_is_tried_before_anything_is_timed(
        tool, out, message, tmp_path, monkeypatch, capsys):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder').mkdir()
    monkeypatch.setattr(sys, 'argv', [
        'tool', 'configs/none.py', '--out', str(tmp_path / out)])
    with pytest.raises(SystemExit, match='2'):
        tool.main()
    assert re.search(f'error: argument --out: .*({message})', capsys.readouterr().err)


def test_a_full_disk_is_an_error_line(tool, tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(errno.ENOSPC, 'No space left on device', str(path))

    for name, value in (('write_whole', full), ('read_config', lambda path: Config()),
                        ('build_model', lambda cfg: torch.nn.Identity()),
                        ('time_one', lambda cfg, args: {})):
        monkeypatch.setattr(tool, name, value, raising=False)
    monkeypatch.setattr(sys, 'argv', [
        'tool', 'own.py', '--out', str(tmp_path / 'new' / 'out.json')])
    args = tool.parse_args()
    args.parts = []
    monkeypatch.setattr(tool, 'parse_args', lambda: args)
    with pytest.raises(SystemExit, match='^error: .*No space left on device'):
        tool.main()
