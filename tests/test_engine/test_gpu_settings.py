"""What a run sets on a GPU, as far as a CPU shows it."""

import os

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import PixelData
from mmseg.evaluation import IoUMetric
from mmseg.structures import SegDataSample
from test_hooks import runner

from mmsr4ir.engine import gpu_settings
from mmsr4ir.engine.runner import SR4IRRunner
from mmsr4ir.utils.errors import ConfigError
from toys import ToyTask


@pytest.fixture
def kept(monkeypatch):
    """Put back what is of the whole process."""
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = (cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic, matmul.allow_tf32)
    yield
    (cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic, matmul.allow_tf32) = before
    torch.use_deterministic_algorithms(False)
    os.environ.pop('CUBLAS_WORKSPACE_CONFIG', None)


def tf32():
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


def test_tf32_is_switched_in_env_cfg(kept, tmp_path):
    before = tf32()
    runner(tmp_path, kind=SR4IRRunner)
    assert tf32() == before
    for wanted in (True, False):
        runner(tmp_path, kind=SR4IRRunner, env_cfg=dict(tf32=wanted))
        assert tf32() == (wanted, wanted)
    with pytest.raises(ConfigError, match="env_cfg.tf32 must .*, got 'high'"):
        runner(tmp_path, kind=SR4IRRunner, env_cfg=dict(tf32='high'))


@pytest.mark.parametrize(
    'name, advice',
    [('roi_align_backward_kernel', 'SparseRoIAlignHook'), ('x_cuda', '')],
)
def test_what_is_not_deterministic_is_named_with_its_setting(
    kept, tmp_path, monkeypatch, name, advice
):
    """As torch refuses it on a GPU."""

    def loss(self, inputs, data_samples):
        raise RuntimeError(
            f'{name} does not have a deterministic implementation, but you set '
            "'torch.use_deterministic_algorithms(True)'. You can turn off ..."
        )

    monkeypatch.setattr(ToyTask, 'loss', loss)
    one = runner(
        tmp_path,
        kind=SR4IRRunner,
        randomness=dict(seed=0, deterministic=True),
        env_cfg=dict(cudnn_benchmark=True),
    )
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    assert not torch.backends.cudnn.benchmark  # by MMEngine
    with pytest.raises(
        gpu_settings.NotDeterministicError,
        match=f'deterministic=True: {name} has no .*{advice}.*deterministic=False',
    ) as caught:
        one.train()
    assert '\n' not in str(caught.value)
    assert ('RoIAlign' in str(caught.value)) == bool(advice)


def test_other_errors_and_workspaces_stay(kept, tmp_path, monkeypatch):
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':16:8')
    randomness = dict(seed=0, deterministic=True)
    runner(tmp_path, kind=SR4IRRunner, randomness=randomness)
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':16:8'
    error = RuntimeError('shapes differ')
    with (
        pytest.raises(RuntimeError) as caught,
        gpu_settings.explain_not_deterministic(),
    ):
        raise error
    assert caught.value is error


class OnGPU(torch.Tensor):
    """A tensor that notes the shapes that were brought to the CPU."""

    moved: list

    def cpu(self):
        OnGPU.moved.append(self.ndim)
        return self.as_subclass(torch.Tensor)


def test_pixels_are_counted_on_the_cpu_in_a_deterministic_run(kept, tmp_path):
    maps = torch.tensor([[[0, 1, 2], [2, 2, 255]], [[0, 1, 1], [2, 0, 1]]])
    sample = SegDataSample(
        gt_sem_seg=PixelData(data=maps[:1]), pred_sem_seg=PixelData(data=maps[1:])
    ).to_dict()
    sample['pred_sem_seg']['data'] = maps[1:].as_subclass(OnGPU)
    results, moved = {}, {}
    for deterministic in (False, True):
        one = runner(
            tmp_path,
            kind=SR4IRRunner,
            randomness=dict(seed=0, deterministic=deterministic),
        )
        evaluator = one.build_evaluator(dict(type='mmseg.IoUMetric'))
        assert isinstance(evaluator, Evaluator)
        metric = evaluator.metrics[0]
        assert isinstance(metric, IoUMetric)
        metric.dataset_meta = dict(classes=('a', 'b', 'c'))
        OnGPU.moved = moved[deterministic] = []
        metric.process({}, [sample])
        (results[deterministic],) = metric.results
    assert moved == {False: [1] * 3, True: [2] * 2}  # counts, and maps
    assert torch.equal(torch.stack(results[True]), torch.stack(results[False]))
    # Intersection, union, prediction and truth by class, counted by hand.
    want = [[1, 1, 1], [2, 2, 3], [2, 2, 1], [1, 1, 3]]
    assert torch.stack(results[True]).tolist() == want
