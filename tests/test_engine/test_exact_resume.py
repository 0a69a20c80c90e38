"""Trainings that are killed (SIGKILL) and resumed equal those that never were."""

import json
import random
import sys

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler

from mmsr4ir.engine.exact_loops import PlacedBatches
from mmsr4ir.engine.training_samples import TrainingSamples, seed_all
from toys import ToyDraws

KINDS = (
    'epochs',
    'epochs, saved within, 2 workers, EMA',
    'iterations, float16, EMA, a teacher',
    'iterations, endless sampler, 2 workers',
    '2 processes, saved within epochs, EMA',
    'iterations, gradients of 4 and 3, float16',
)


@pytest.fixture(scope='module')
def results(tmp_path_factory, run_tool):
    """12 kills, two for each kind of training; the script draws the moments."""
    path = tmp_path_factory.mktemp('kill') / 'results.json'
    run_tool(
        sys.executable,
        'tests/helpers/kill_and_resume.py',
        '--moments',
        '12',
        '--json',
        path,
    )
    return json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_every_iteration_of_a_killed_training_equals_the_whole_ones(results, kind):
    found = results[kind]
    assert found['killed'] == 2 and found['while_saving'] == 1
    assert found['missing'] == found['apart'] == 0  # apart: models of two processes
    assert found['different'] == 0, found['example']
    assert found['equal_end']


def draws():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_all_generators_follow_from_the_place_alone():
    first = [(seed_all(3, i), draws())[1] for i in range(3)]
    again = [(seed_all(3, i), draws())[1] for i in (2, 1, 0)][::-1]
    assert first == again and len(set(first)) == 3


def batches(shuffle=True, length=7, endless=False):
    sampler = DefaultSampler(range(length), shuffle=shuffle, seed=1)
    return PlacedBatches(
        torch.utils.data.BatchSampler(sampler, 2, drop_last=False), endless
    )


def test_batches_can_start_anywhere_and_epochs_differ():
    placed = batches()
    placed.begin(seed=5, epoch=2)
    whole = list(placed)
    assert [len(batch) for batch in whole] == [2, 2, 2, 1]
    placed.begin(seed=5, epoch=2, done=3)
    assert list(placed) == whole[3:]
    placed.begin(seed=5, epoch=3)
    other = list(placed)
    assert [[i for i, _ in b] for b in other] != [[i for i, _ in b] for b in whole]
    keys = [key for batch in whole + other for _, key in batch]
    assert len(set(keys)) == len(keys) == 14


def test_an_endless_stream_goes_through_the_epochs_and_starts_anywhere():
    placed = batches(endless=True)
    placed.begin(seed=5, epoch=0)
    stream = iter(placed)
    first = [next(stream) for _ in range(9)]
    assert sorted(i for batch in first[4:8] for i, _ in batch) == list(range(7))
    placed.begin(seed=5, epoch=0, done=6)
    assert next(iter(placed)) == first[6]


@pytest.mark.parametrize('workers', [1, 2])
def test_samples_do_not_depend_on_the_number_of_workers(workers):
    def load(workers):
        placed = batches()
        placed.begin(seed=5, epoch=1)
        loader = torch.utils.data.DataLoader(
            TrainingSamples(ToyDraws(7), 0),
            batch_sampler=placed,
            num_workers=workers,
            collate_fn=lambda samples: torch.stack([s['inputs'] for s in samples]),
        )
        return list(loader)

    for one, other in zip(load(0), load(workers), strict=True):
        assert torch.equal(one, other)
