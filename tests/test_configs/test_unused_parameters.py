"""No shipped config needs ``find_unused_parameters`` in several processes.

That is so if each phase gives every parameter of the networks that it updates a
gradient, in both stages. Of configs that differ in nothing but the scale or the
classes, one is enough.
"""

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS, init_default_scope
from several_processes import SCOPES, Shapes

from mmsr4ir.engine import move_resize
from mmsr4ir.models.recipes import STAGES
from toys import toy_config, toy_data

CONFIGS = ROOT / 'configs/sr4ir'
SAME = ('faster-rcnn_edsr_custom.py', 'faster-rcnn_edsr_voc.py')  # as on COCO
NAMES = [
    path.name
    for path in sorted(CONFIGS.glob('*.py'))
    if path.name not in SAME and not path.stem.endswith('_x8')
] + [
    f'{data}/{data}_{run}.py'
    for data in ('seg_voc', 'det_voc', 'cls_cub')
    for run in (
        'h2t',
        'l2t_x4',
        's_edsr_x4',
        's2t_edsr_x4',
        't2s_edsr_x4',
        's_and_t_edsr_x4',
        'sr4ir_edsr_x4',
        'sr4ir_swinir_x8',
    )
]


class Watch(OptimWrapper):
    """Keep what has no gradient where the optimizer would step."""

    def __init__(self, network):
        super().__init__(torch.optim.SGD(network.parameters(), lr=0.0))
        self.network, self.steps, self.idle = network, 0, []

    def step(self):
        self.steps += 1
        self.idle += [
            name
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad and parameter.grad is None
        ]


def watch(model, data) -> dict[str, Watch]:
    """Train on a batch in both stages."""
    updated = {name for phase in model.recipe for name in phase.update}
    watches = {name: Watch(getattr(model, name)) for name in updated}
    for stage in STAGES:
        model.stage = stage
        model.train_step(data, OptimWrapperDict(**watches))
    return watches


def built(name) -> tuple[torch.nn.Module, dict]:
    """A config's model, and a batch for it."""
    cfg = move_resize(Config.fromfile(CONFIGS / name))
    init_default_scope(cfg.default_scope)
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    if cfg.model.sr.type == 'mmagic.SwinIRNet':
        cfg.model.sr.update(depths=[1], num_heads=[6])
    (task,) = (task for task, scope in SCOPES.items() if scope == cfg.default_scope)
    # Not to 800 pixels.
    if cfg.model.get('task_resize'):
        cfg.model.task_resize = dict(type='Resize', scale=(96, 96), keep_ratio=True)
    if cfg.model.task.type == 'mmsr4ir.TorchvisionDetector':
        cfg.model.task.update(min_size=96, max_size=96)
    if task == 'segmentation' and 'data_preprocessor' in cfg.model.task:
        # no padding to the published crop
        cfg.model.task.data_preprocessor.update(size=(32, 32), size_divisor=None)
    images = [Shapes(task, 2, 2)[i] for i in range(2)]
    for image in images if task == 'detection' else ():
        objects = image['data_samples'].gt_instances
        objects.bboxes = objects.bboxes.float()  # SimOTA takes no others
    return MODELS.build(cfg.model).train(), pseudo_collate(images)


@pytest.mark.parametrize('name', NAMES)
def test_every_phase_reaches_every_parameter_it_updates(name):
    for network, watched in watch(*built(name)).items():
        assert watched.steps == 2 and not watched.idle, network


def test_also_where_a_process_has_images_without_objects():
    model, data = built('faster-rcnn_edsr_tiny.py')
    for sample in data['data_samples']:
        sample.gt_instances = sample.gt_instances[:0]
    for network, watched in watch(model, data).items():
        assert watched.steps == 2 and not watched.idle, network


def test_a_parameter_that_no_loss_reaches_is_seen():
    model = MODELS.build(toy_config())
    model.task.extra = torch.nn.Parameter(torch.zeros(1))
    watches = watch(model, toy_data())
    assert set(watches['task'].idle) == {'extra'} and not watches['sr'].idle
