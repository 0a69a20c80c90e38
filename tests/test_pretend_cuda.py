"""Each task on a pretended GPU: no mix of devices, and no wait that is not on a list.

What only a GPU shows is left to ``tools/misc/gpu_check.sh``.
"""

import copy

import pytest
import torch
from mmengine.config import config as mmengine_config
from mmengine.runner import runner as mmengine_runner
from mmengine.structures import InstanceData, PixelData
from pretend_cuda import CPU, GPU, PretendedGPU, pretend_cuda
from torch import nn

from mmsr4ir.apis.predictions import sample_class
from mmsr4ir.datasets.textured_shapes import write_dataset
from mmsr4ir.engine.runner import SR4IRRunner
from mmsr4ir.evaluation import fidelity
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.configs import read_config
from toys import RECIPES, ToySR, toy_config

DEMOS = dict(
    classification='resnet18_edsr_tiny',
    segmentation='deeplabv3_edsr_tiny',
    detection='faster-rcnn_edsr_tiny',
)
TRIED = '2.15.'  # releases of torch with which a GPU can be pretended
#: The waits of this package that are wanted, with the reason of each.
ALLOWED = {
    'aten::_local_scalar_dense at mmsr4ir/models/image_space.py:check_range': (
        'the first batch of a run must have the range that the config says'
    ),
    'aten::index_put at mmsr4ir/models/updates.py:accumulate': (
        'the backward pass of what the task library chooses by a mask'
    ),
    'to the CPU at mmsr4ir/models/updates.py:on_cpu': (
        'one an iteration: the losses for the log, and no NaN may be saved'
    ),
    'to the CPU at mmsr4ir/visualization/panels.py:pixels': 'a picture for a file',
    'aten::_local_scalar_dense at mmsr4ir/models/torchvision_detector.py:_choose': (
        'one a batch: whether all of its boxes are kept'
    ),
    'tolist at mmsr4ir/evaluation/sr_quality.py:<listcomp>': 'a batch in a validation',
    'torchvision::nms at mmsr4ir/compat/torchvision_boxes.py:nms': (
        'how many boxes are left is known there alone, as with the op of mmcv'
    ),
}


def why_it_cannot_pretend(folder) -> str:
    """What a release of torch does otherwise than the helper expects; else nothing."""
    path = folder / 'network.pth'
    try:
        with pretend_cuda() as gpu:
            network = nn.Linear(3, 2).to('cuda')
            optimizer = torch.optim.AdamW(network.parameters())
            images = torch.ones(4, 3)
            loss = network(images.to('cuda')).square().mean()
            loss.backward()
            optimizer.step()
            torch.save(network.state_dict(), path)
            there = [
                *(network.weight, network.weight.grad, images.cuda(), loss),
                *(copy.deepcopy(network).weight, loss.double(), loss.new_zeros(2)),
                torch.zeros(2, device='cuda'),
                optimizer.state[network.weight]['exp_avg'],
                torch.load(path, map_location='cuda')['weight'],
            ]
            here = [images, loss.cpu(), torch.load(path, map_location='cpu')['weight']]
            devices = [one.device for one in there], [one.device for one in here]
            before = gpu.mixes.total(), gpu.waits.total()
            network(images), loss.item(), there[0][images[:2] > 0]
            found = gpu.mixes.total(), gpu.waits.total()
    except (RuntimeError, AttributeError, AssertionError, TypeError) as error:
        return f'{type(error).__name__}: {error}'
    if devices != ([GPU] * len(there), [CPU] * len(here)):
        return f'tensors are on {devices}'
    if found != (before[0] + 1, before[1] + 2) or before[0]:
        return f'{before} mixes and waits, then {found}'
    return ''


@pytest.fixture(scope='module', autouse=True)
def _pretends(tmp_path_factory):
    reason = why_it_cannot_pretend(tmp_path_factory.mktemp('pretends'))
    if reason:
        tell = pytest.fail if torch.__version__.startswith(TRIED) else pytest.skip
        tell(f'no GPU can be pretended with torch {torch.__version__}: {reason}')


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('shapes')
    write_dataset(root, 4, 4, 64)
    return root


@MODELS.register_module()
class FaultySR(ToySR):
    """On a GPU this fails: the table is no buffer, so that no ``to`` moves it."""

    def __init__(self, scale: int = 2) -> None:
        super().__init__(scale)
        self.table = torch.ones(3, 1, 1)

    def forward(self, x):
        if x.mean().item() > 2:
            raise ValueError('images are not in [0, 1]')
        return super().forward(x) * self.table


def faults_of(file: str, found) -> set[str]:
    """The faults in functions of a file or folder."""
    return {name for name in found if name.partition(' at ')[2].startswith(file)}


def test_a_mix_and_a_wait_in_a_network_are_named():
    with pretend_cuda() as gpu:
        model = MODELS.build(toy_config(sr=dict(type='mmsr4ir.FaultySR'))).to('cuda')
        model.super_resolve(torch.ones(1, 3, 4, 4, device='cuda'))
        assert {parameter.device for parameter in model.parameters()} == {GPU}
    here = 'tests/test_pretend_cuda.py'
    assert faults_of(here, gpu.mixes) == {f'aten::mul at {here}:forward'}
    assert f'aten::_local_scalar_dense at {here}:forward' in gpu.waits
    assert not faults_of('mmsr4ir/', gpu.mixes)


TORCHVISIONS = dict(
    Detector=dict(
        arch='fasterrcnn_mobilenet_v3_large_320_fpn', min_size=64, max_size=64
    ),
    Segmentor=dict(arch='lraspp_mobilenet_v3_large'),
)


@pytest.mark.parametrize('kind', TORCHVISIONS)
def test_networks_of_torchvision_keep_to_their_device(kind):
    task = dict(TORCHVISIONS[kind], type=f'mmsr4ir.Torchvision{kind}', num_classes=3)
    model = MODELS.build(
        toy_config(task=task, recipe=RECIPES['S+T'], tdp=None, patch_mix=None)
    )
    inputs = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
    samples = []
    for _ in inputs:
        sample = sample_class(model.task)(
            metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1, 1))
        )
        if kind == 'Detector':
            boxes = torch.tensor([[4.0, 4.0, 30.0, 40.0], [20.0, 9.0, 60.0, 50.0]])
            sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.arange(2))
        else:
            sample.gt_sem_seg = PixelData(data=torch.randint(0, 3, (1, 64, 64)))
        samples.append(sample)
    with pretend_cuda() as gpu:
        model.to('cuda')
        for network in (model.data_preprocessor, model.task.data_preprocessor):
            network.to('cuda')
        batch = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), True)
        losses = model.task(batch['inputs'], batch['data_samples'], mode='loss')
        sum(losses.values()).backward()
        model.eval()
        with torch.no_grad():
            model.task(batch['inputs'], batch['data_samples'], mode='predict')
    assert not gpu.mixes
    waits = faults_of('mmsr4ir/', gpu.waits)
    assert waits <= set(ALLOWED)
    counts = [gpu.waits[name] for name in waits if ':_choose' in name]
    assert counts == ([2] if kind == 'Detector' else [])  # of a loss and a prediction


def test_ssim_in_one_strip_on_the_gpu(monkeypatch):
    images = torch.randint(0, 256, (2, 3, 80, 40), dtype=torch.uint8)
    want, strips, compute = fidelity.ssim(*images), [], fidelity._ssim_map
    monkeypatch.setattr(
        fidelity, '_ssim_map', lambda *pair: strips.append(pair) or compute(*pair)
    )
    with pretend_cuda() as gpu:
        found = fidelity.ssim(*images.to('cuda'))
        assert found.device == GPU and len(strips) == 1
    torch.testing.assert_close(found, want, rtol=0, atol=1e-6)
    assert not gpu.mixes and not faults_of('mmsr4ir/', gpu.waits)


def config(task: str, root, work_dir, epochs: int):
    """A demo's config with two iterations an epoch."""
    data = root / 'classification' if task == 'classification' else root
    options = {
        'model.sr.num_blocks': 1,
        'model.sr.mid_channels': 8,
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': 1,
        'default_hooks.alternate.warmup': 0,
        'default_hooks.checkpoint.interval': 1,
        'default_hooks.picture_grid.val_images': 1,
    }
    for split in ('train', 'val', 'test'):
        at = f'{split}_dataloader'
        options |= {
            f'{at}.dataset.data_root': f'{data}/',
            f'{at}.dataset.serialize_data': False,  # which collects garbage each time
            f'{at}.batch_size': 2,
            f'{at}.num_workers': 0,
        }
    if task == 'detection':
        options['val_evaluator.0.ann_file'] = f'{data}/annotations/val.json'
    cfg = read_config(f'configs/sr4ir/{DEMOS[task]}.py', options)
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    cfg.work_dir, cfg.log_level = str(work_dir), 'ERROR'
    cfg.experiment_name = f'{work_dir.name} {task} {epochs}'
    return cfg


def train_and_resume(task: str, root, work_dir) -> tuple[PretendedGPU, SR4IRRunner]:
    with pretend_cuda() as gpu:
        SR4IRRunner.from_cfg(config(task, root, work_dir, 1)).train()
        cfg = config(task, root, work_dir, 2)
        cfg.resume, cfg.load_from = True, str(work_dir / 'epoch_1.pth')
        runner = SR4IRRunner.from_cfg(cfg)
        runner.train()
        assert runner.iter == 4
        assert {one.device for one in runner.model.parameters()} == {GPU}
        for wrapper in runner.optim_wrapper.values():
            states = wrapper.optimizer.state.values()
            # A step on the GPU would be waited for, once for each parameter.
            assert {state['step'].device for state in states} == {CPU}
            assert {state['exp_avg'].device for state in states} == {GPU}
    return gpu, runner


@pytest.mark.slow  # the three of them
@pytest.mark.parametrize('task', DEMOS)
def test_a_training_keeps_to_its_device(task, shapes, tmp_path, monkeypatch):
    # What takes most of the time: a config's text in good style; asking for compilers.
    monkeypatch.setattr(mmengine_config, 'FormatCode', lambda text, **_: (text, None))
    monkeypatch.setattr(mmengine_runner, 'collect_env', dict)
    gpu, _ = train_and_resume(task, shapes, tmp_path)
    assert not gpu.mixes
    assert faults_of('mmsr4ir/', gpu.waits) <= set(ALLOWED)
    assert faults_of('mmsr4ir/models/', gpu.waits)  # it does watch
