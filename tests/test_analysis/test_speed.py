"""With a clock of our own, so that nothing depends on the machine."""

import importlib
import itertools
import json
import re
import sys

import pytest
import torch
from mmengine.config import Config

import toys
from mmsr4ir.analysis import speed
from mmsr4ir.analysis.speed import Laps, endless, summarise_laps, time_inference
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


BATCHES = [toys.toy_data(), toys.toy_data(((16, 16),), seed=1)]


def test_both_networks_and_the_whole_step(clock):
    network = model()
    network.sr.register_forward_hook(lambda *_: (speed._now(), None)[1])  # a second
    laps = time_inference(network, BATCHES, iterations=2, warmup=1)
    assert laps.seconds == {
        'SR network': [2.0] * 2,
        'task network': [1.0] * 2,
        'test step': [6.0] * 2,
    }
    assert laps.images == [1, 2]  # the batches come in turns, one is warm-up
    # The task network was in eval mode, on the restored image.
    assert network.task.head_calls == 3
    training, inputs = network.task.seen
    want = network.data_preprocessor(BATCHES[0], False)
    batch = network.prepare(want['inputs'], want['data_samples'])
    assert not training
    sr = network.super_resolve_batch(batch)
    assert torch.equal(inputs, network.to_input(sr, batch))
    before = dict(laps.seconds)
    network.test_step(BATCHES[0])  # is no longer watched
    assert laps.seconds == before


def test_a_network_that_runs_twice_in_a_step_counts_twice(clock):
    laps = Laps()
    laps.start()
    for _ in range(2):
        laps.skip()
        laps.lap('part')
    laps.whole('step')
    laps.finish(1)
    assert laps.seconds == dict(part=[2.0], step=[5.0])


def test_summary_by_hand():
    rounds = [(9.0, 4), (1.0, 4), (2.0, 4), (3.0, 4), (4.0, 2), (5.0, 4)]
    row = summarise_laps(rounds_of(rounds, warmup=1))['part']
    assert row == dict(
        median=3.0,
        min=1.0,
        max=5.0,
        q1=2.0,
        q3=4.0,
        images_per_second=pytest.approx(4 / 3),
    )
    rows = summarise_laps(rounds_of([(2.0, 1)]))
    assert rows['part']['q1'] == 2.0
    assert speed.timing_table(rows, 'part').splitlines() == [
        '| seconds | median | q1 | q3 | min | max | share | images/s |',
        '| --- |' + ' ---: |' * 7,
        '| part | 2.0000 | 2.0000 | 2.0000 | 2.0000 | 2.0000 | 100% | 0.5 |',
    ]


def rounds_of(rounds, warmup=0):
    laps = Laps(warmup)
    for seconds, images in rounds:
        laps._round['part'] = seconds
        laps.finish(images)
    return laps


def test_no_batch_is_an_error():
    with pytest.raises(ValueError, match='gives no batch'):
        next(endless([]))


def test_tool(run_tool, coco_root, tiny_options, tmp_path):
    out = tmp_path / 'speed.json'
    text = run_tool(
        sys.executable,
        'tools/analysis_tools/benchmark_inference.py',
        'configs/sr4ir/faster-rcnn_edsr_tiny.py',
        '--iterations',
        2,
        '--warmup',
        1,
        '--out',
        out,
        *tiny_options(coco_root),
    ).stdout
    result = json.loads(out.read_text())
    assert result['batch'] == 2 and result['memory']['mib'] > 1
    assert list(result['seconds']) == ['SR network', 'task network', 'test step']
    *parts, whole = (row['median'] for row in result['seconds'].values())
    assert 0 < sum(parts) < whole
    for name, row in result['seconds'].items():
        assert row['min'] <= row['q1'] <= row['median'] <= row['q3'] <= row['max']
        each = 1000 / row['images_per_second']
        assert f'\n| {name} | {each:.2f} | {1000 / each:.1f} | ' in text
    assert 'peak memory' in text


@pytest.fixture(scope='module', params=['benchmark_inference', 'benchmark_train'])
def tool(request):
    """Both tools that take times."""
    return importlib.import_module(f'mmsr4ir.cli.{request.param}')


@pytest.mark.parametrize(
    'out, message',
    [('file/out.json', 'File exists|Not a directory'), ('folder', 'is a folder')],
)
def test_out_is_tried_before_anything_is_timed(
    tool, out, message, tmp_path, monkeypatch, capsys
):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder').mkdir()
    monkeypatch.setattr(
        sys, 'argv', ['tool', 'configs/none.py', '--out', str(tmp_path / out)]
    )
    with pytest.raises(SystemExit, match='2'):
        tool.main()
    assert re.search(f'error: argument --out: .*({message})', capsys.readouterr().err)
