"""Two processes: gradients that were only accumulated, and a NaN that one has."""

import json
import sys

import pytest

pytestmark = pytest.mark.slow  # the training that all look at


@pytest.fixture(scope='module')
def ranks(tmp_path_factory, run_tool):
    """What each of two processes did, by training and rank."""
    root = tmp_path_factory.mktemp('ranks')
    output = run_tool(sys.executable, 'tests/helpers/two_ranks.py', root).stdout
    return dict(output=output) | {
        name: [
            json.loads((root / name / f'rank_{rank}.json').read_text())
            for rank in (0, 1)
        ]
        for name in ('whole', 'unsaved', 'cut', 'nan', 'unreadable', 'unreadable_cut')
    }


@pytest.mark.parametrize('rank', [0, 1])
def test_a_training_cut_while_it_accumulates_goes_on_to_the_last_bit(ranks, rank):
    whole = {line['iter']: line for line in ranks['whole'][rank]['lines']}
    cut = ranks['cut'][rank]['lines']
    assert [line['iter'] for line in cut] == [
        f'{i} of process {rank}' for i in range(10, 24)
    ]
    assert cut == [whole[line['iter']] for line in cut]
    # The case is one: each process has its own share, and a sum of its own.
    own, other = (ranks['whole'][i]['lines'] for i in (rank, 1 - rank))
    assert own[10]['data'] != other[10]['data']
    assert own[8]['gradients'] != other[8]['gradients']


def numbers(losses):
    return {key: float.fromhex(value) for key, value in losses.items()}


def test_the_mean_that_is_saved_leads_to_the_same_updates(ranks):
    for saved, unsaved in zip(ranks['whole'], ranks['unsaved'], strict=True):
        for line, other in zip(saved['lines'], unsaved['lines'], strict=True):
            assert numbers(line['losses']) == pytest.approx(
                numbers(other['losses']), rel=1e-3
            )


def test_a_nan_on_one_process_skips_the_update_on_both(ranks):
    one, other = ranks['nan']
    # Image 3 of 8 comes once in each of 12 epochs, to the one or to the other.
    assert one['skipped'] == other['skipped'] == 12
    assert one['own'] + other['own'] == 12 and one['own'] and other['own']
    assert one['parameters'] == other['parameters']
    assert all(size < float('inf') for size in one['sizes'])


def test_each_process_goes_on_with_the_unreadable_images_that_it_met(ranks):
    assert 'none.png is missing; another image takes its place (1 of' in ranks['output']
    for name in ('unreadable', 'unreadable_cut'):
        assert [rank['unreadable'] for rank in ranks[name]] == [[], [3]], name
    # The resumed training met none itself: the image is mended in it.
    assert [len(rank['lines']) for rank in ranks['unreadable_cut']] == [2, 2]
