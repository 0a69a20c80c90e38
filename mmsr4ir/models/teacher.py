"""The teacher: a frozen task network that was trained on HR images."""

import copy
from collections.abc import Mapping

import torch
from mmengine.model import BaseModel

from mmsr4ir.utils.errors import ConfigError

from .image_space import ImageSpace
from .networks import build_network
from .weights import take_init_cfg


def build_teacher(
    teacher: Mapping, task: dict, space: ImageSpace
) -> tuple[BaseModel, dict]:
    """Build the teacher; its weights are loaded later, with those of the others.

    Args:
        teacher: ``dict(init_cfg=dict(type='Pretrained', checkpoint=...))``, the
            checkpoint of a run on HR (H->T). With a ``type`` it is the whole config of
            another network; by default the teacher has the task network's.
        task: Config of the task network.
        space: The task network's. The teacher sees the images that the task network
            sees.

    Returns:
        tuple: The network, in eval mode and without gradients, and its ``init_cfg``.

    Raises:
        ConfigError: If ``teacher`` has no such ``init_cfg``, or its network normalises
            images in another way than the task network.
    """
    cfg, init_cfg = take_init_cfg(copy.deepcopy(dict(teacher)))
    other = set(cfg) - {'init_cfg'}
    if init_cfg is None or (other and 'type' not in cfg):
        raise ConfigError(
            f'model.teacher {dict(teacher)}: give '
            "init_cfg=dict(type='Pretrained', checkpoint=...), the checkpoint of a run "
            'of H->T, and for another architecture than that of model.task its type '
            'and all of its settings'
        )
    network = build_network('teacher', cfg if other else copy.deepcopy(task))
    if 'data_preprocessor' in cfg:
        own = ImageSpace(network.data_preprocessor, cfg['data_preprocessor'])
        mean = getattr(network.data_preprocessor, 'mean', None)
        probe = torch.rand(1, 3 if mean is None else len(mean), 8, 8)
        if not torch.allclose(own.normalise(probe), space.normalise(probe), atol=1e-4):
            raise ConfigError(
                f'model.teacher.data_preprocessor {cfg["data_preprocessor"]}: the '
                'teacher sees the images of the task network; give it the mean, std '
                'and order of channels of model.task, or train it with those'
            )
    return network.eval().requires_grad_(False), init_cfg
