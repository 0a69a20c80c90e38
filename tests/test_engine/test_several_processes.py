"""Two and four processes train and measure as one process with the whole batch."""

import json
import sys

import pytest
import torch
from several_processes import CASES, RECIPES, cases_of

from mmsr4ir.compat.checkpoint import load_from_local

SCRIPT = 'tests/helpers/several_processes.py'
TIMES = {'time', 'data_time'}
pytestmark = pytest.mark.slow  # the trainings that all look at


@pytest.fixture(scope='module')
def folder(tmp_path_factory, run_tool):
    """All cases in 1, 2 and 4 processes, with one start of the interpreter."""
    path = tmp_path_factory.mktemp('processes')
    run_tool(sys.executable, SCRIPT, path)
    return path


def lines(folder, case, world) -> list[dict]:
    """What was logged, without times: four iterations and a validation."""
    (path,) = (folder / case / str(world)).glob('*/vis_data/scalars.json')
    return [
        {key: value for key, value in json.loads(line).items() if key not in TIMES}
        for line in path.read_text().splitlines()
    ]


@pytest.mark.parametrize(
    'case, world', [(case, world) for world in (2, 4) for case in cases_of(world)]
)
def test_losses_parameters_and_metrics_are_those_of_one_process(folder, case, world):
    one, several = lines(folder, case, 1), lines(folder, case, world)
    assert len(one) == len(several) == 5
    for whole, shared in zip(one[:4], several[:4], strict=True):
        assert any(key.endswith('loss') for key in whole)
        assert shared == pytest.approx(whole, rel=1e-6)
    assert several[4] == one[4]
    # Predictions of one class would have aAcc / 3; HLF+FM ends with that here.
    if case.startswith('segmentation') and 'HLF' not in case:
        assert one[4]['mIoU'] > one[4]['aAcc'] / 3 + 2
    whole, shared = (
        load_from_local(folder / case / str(n) / 'epoch_2.pth') for n in (1, world)
    )
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        torch.testing.assert_close(shared[part], whole[part], rtol=1e-6, atol=1e-8)
    # It is the training that is the same, and not that nothing happened.
    before = torch.load(folder / f'{case.split()[0]}.pth')
    updates = [phase['update'] for phase in RECIPES[CASES[case][1]].values()]
    for network in ('sr', 'task'):
        moved = [
            (value - before[name.removeprefix('module.')]).abs().max()
            for name, value in whole['ema_state_dict'].items()
            if name.startswith(f'module.{network}.') and value.is_floating_point()
        ]
        assert (max(moved, default=0) > 1e-4) == any(network in u for u in updates)


@pytest.mark.parametrize('world', [2, 4])
def test_shares_of_different_sizes_are_refused_in_every_process(folder, world):
    shares = [6, 5] if world == 2 else [3, 3, 3, 2]
    for rank in range(world):
        text = (folder / f'refused_{rank}_of_{world}').read_text()
        assert f'the {world} processes' in text and str(shares) in text
        assert 'train_dataloader.sampler.round_up=True' in text


def test_the_demos_networks_need_no_search_for_unused_parameters(folder):
    done = {path.name for path in folder.glob('*_tiny *')}
    assert done == {
        f'{config} {recipe} {rank}'
        for rank in (0, 1)
        for recipe in RECIPES
        for config in (
            'deeplabv3_edsr_tiny',
            'faster-rcnn_edsr_tiny',
            'resnet18_edsr_tiny',
        )
    }
