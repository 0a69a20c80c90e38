"""One tool and two tools on the same images: the same predictions, and what is told."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lr_models import save_run

from mmsr4ir.analysis.two_tools import OneTool, library_pipeline, prediction_difference
from mmsr4ir.cli import benchmark_inference
from mmsr4ir.utils.errors import ConfigError
from mmsr4ir.visualization.drawing import write_png

RNG = np.random.default_rng(0)
PARTS = ['decode', 'SR network', 'write', 'task network', 'whole']


@pytest.fixture
def images(tmp_path):
    """Two images of different sizes."""
    (tmp_path / 'lr').mkdir()
    for i, size in enumerate(((32, 40), (24, 48))):
        image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
        write_png(tmp_path / f'lr/{i}.png', image)
    return tmp_path / 'lr'


@pytest.fixture
def run(monkeypatch, tmp_path):
    """The command line, in this process; returns what ``--out`` gets."""

    def run(*arguments):
        out = tmp_path / 'speed.json'
        command = ['benchmark_inference.py', *arguments, '--out', out]
        monkeypatch.setattr(sys, 'argv', [str(word) for word in command])
        benchmark_inference.main()
        return json.loads(out.read_text())

    return run


@pytest.mark.parametrize('task', ['det', 'seg', 'cls'])
def test_both_ways_predict_the_same(task, run, images, tmp_path, capsys):
    """S repeats pixels here, so that a file changes none of them."""
    (tmp_path / 'run').mkdir()
    save_run(task, tmp_path / 'run')
    result = run(
        tmp_path / 'run',
        *('--two-tools', images, '--iterations', 2, '--warmup', 1),
        *(['--switches', 'channels_last+bfloat16'] if task == 'seg' else []),
    )
    names = ['two tools', 'one tool']
    names += ['one tool, channels_last+bfloat16'] * (task == 'seg')
    assert list(result['ways']) == names
    for name, way in result['ways'].items():
        parts = [part for part in PARTS if part != 'write' or name == 'two tools']
        assert list(way['seconds']) == parts and way['peak_mib'] > 1
        *medians, whole = (way['seconds'][part]['min'] for part in parts)
        assert 0 < sum(medians) < way['seconds']['whole']['max'] and whole > 0
        assert way['images_per_second'] > 0
    assert result['ways']['two tools']['times_as_fast'] == 1
    limits = dict(
        det=dict(score=1e-3, box=0.02), seg=dict(pixels=2e-3), cls=dict(score=1e-3)
    )[task]
    for found in result['differences'].values():
        assert found.keys() == limits.keys()
        assert all(found[key] < limit for key, limit in limits.items())
    text = capsys.readouterr().out
    assert '\n| two tools | ' in text and 'as run: ' in text


def test_the_memory_of_others_is_not_a_ways_own(monkeypatch):
    model = torch.nn.BatchNorm1d(4)  # 4 vectors of 16 bytes, and a number of 8
    inferencer = SimpleNamespace(model=model)
    way = OneTool(inferencer)
    assert way._memory_of_others() == 0
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    for allocated, others in ((72 + 2**20, 1), (50, 0)):
        monkeypatch.setattr(torch.cuda, 'memory_allocated', lambda size=allocated: size)
        assert way._memory_of_others() == others


def test_differences_by_hand():
    maps = np.zeros((2, 4), np.uint8), np.array([[0, 0, 0, 1], [0] * 4], np.uint8)
    one, two = (dict(sem_seg=found) for found in maps)
    assert prediction_difference(one, two) == dict(pixels=1 / 8)
    one, two = (dict(pred_scores=scores) for scores in ([0.2, 0.8], [0.3, 0.7]))
    assert prediction_difference(one, two)['score'] == pytest.approx(0.1)
    one = dict(labels=[0, 1], scores=[0.9, 0.2], bboxes=[[0, 0, 8, 8], [1, 1, 2, 2]])
    two = dict(labels=[0], scores=[0.8], bboxes=[[0, 0, 8, 9]])
    # The box with the score 0.2 is not drawn; its missing score counts.
    assert prediction_difference(one, two) == dict(score=pytest.approx(0.2), box=1.0)
    two['labels'] = [1]
    assert prediction_difference(one, two)['box'] == np.inf
    nothing = dict(labels=[], scores=[], bboxes=[])
    assert prediction_difference(nothing, nothing) == dict(score=0, box=0)


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--switches', 'bfloat16'], 'need --two-tools'),
        (['--two-tools', 'a', '--batch-size', '2'], 'leave out --batch-size'),
        (['--two-tools', 'a'], 'error: no weights: give the file of a training'),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message, run, capsys):
    with pytest.raises(SystemExit) as end:
        run('configs/sr4ir/resnet18_edsr_tiny.py', *arguments)
    assert message in f'{end.value}{capsys.readouterr().err}'


def test_a_pipeline_that_reads_no_files_is_refused():
    from mmengine.config import Config

    cfg = Config(dict(model=dict(), test_dataloader=dict(dataset=dict(pipeline=[]))))
    with pytest.raises(ConfigError, match='has no LoadImageFromFile'):
        library_pipeline(cfg)
