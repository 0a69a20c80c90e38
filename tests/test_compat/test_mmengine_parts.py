"""State of MMEngine's objects, and that it still has no public name."""

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmseg.models import SegDataPreProcessor

from mmsr4ir.compat import mmengine_parts as parts
from toys import toy_runner


@pytest.mark.parametrize(
    'settings, resumed, path, differs',
    [
        ({}, False, None, False),
        (dict(load_from='a.pth'), False, 'a.pth', False),
        (
            dict(
                load_from='a.pth',
                resume=True,
                randomness=dict(seed=0, diff_rank_seed=True),
            ),
            True,
            'a.pth',
            True,
        ),
    ],
)
def test_how_a_runner_starts(tmp_path, settings, resumed, path, differs):
    runner = toy_runner(tmp_path, **settings)
    assert parts.is_resumed(runner) is resumed
    assert parts.loaded_from(runner) == path
    assert parts.differs_by_rank(runner) is differs
    public = {name for name in vars(runner) if not name.startswith('_')}
    assert not public & {'is_resumed', 'load_from', 'randomness', 'diff_rank_seed'}


def test_batches_are_copied_without_waiting(tmp_path):
    own = [toy_runner(tmp_path).model.data_preprocessor, SegDataPreProcessor()]
    assert [one._non_blocking for one in own] == [True, False]
    with pytest.raises(TypeError, match='non_blocking'):
        SegDataPreProcessor(non_blocking=True)


def test_a_training_has_begun_when_its_loop_is_built(tmp_path):
    runner = toy_runner(tmp_path)
    assert not parts.is_training(runner) and not parts.is_training(runner)
    assert runner.train_loop  # which builds the loop
    assert parts.is_training(runner)


def test_a_value_is_taken_back_from_the_log():
    hub = MessageHub('test_a_value_is_taken_back_from_the_log')
    for value in (1.0, float('nan')):
        hub.update_scalar('train/loss', value)
    history = hub.get_scalar('train/loss')
    public = {name for name in dir(history) if not name.startswith('_')}
    assert public == {'current', 'data', 'max', 'max_length', 'mean', 'min'} | {
        'register_statistics',
        'statistics',
        'update',
    }
    parts.leave_out_of_log(hub, ['loss'])
    assert history.data[1].tolist() == [1, 0] and history.mean() == 1
    hub.update_scalar('train/loss', 2.0)
    assert history.mean() == 1.5


def test_a_data_set_learns_its_classes_late():
    dataset = BaseDataset(lazy_init=True)
    dataset.metainfo['classes'] = ('a',)  # of a copy
    with pytest.raises(AttributeError):
        dataset.metainfo = dict(classes=('a',))
    parts.set_classes(dataset, ['a', 'b'])
    assert dataset.metainfo == dict(classes=('a', 'b'))


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1)


def test_accumulation_goes_on_from_a_count():
    wrapper = OptimWrapper(sgd(), accumulative_counts=4)
    assert parts.accumulative_counts(wrapper) == 4
    assert not hasattr(wrapper, 'accumulative_counts')
    with pytest.raises(AttributeError):
        wrapper.inner_count = 3
    parts.set_inner_count(wrapper, 3)
    assert wrapper.inner_count == 3
    wrapper.backward(torch.ones((), requires_grad=True))
    assert wrapper.should_update()


def test_the_constructor_of_mixed_precision_refuses_a_cpu(monkeypatch):
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: False)
    with pytest.raises(AssertionError, match='only available'):
        AmpOptimWrapper(optimizer=sgd())
    wrapper = AmpOptimWrapper.__new__(AmpOptimWrapper)
    parts.init_amp_on_cpu(
        wrapper,
        torch.amp.GradScaler('cpu', init_scale=8.0),
        torch.float16,
        4.0,
        optimizer=sgd(),
    )
    (parameter,) = wrapper.optimizer.param_groups[0]['params']
    wrapper.update_params(3 * parameter.sum())
    assert parameter.item() == pytest.approx(1 - 0.1 * 3)  # the gradient is unscaled
    assert wrapper.loss_scaler.get_scale() == 4.0
    assert wrapper.cast_dtype == torch.float16
