"""Networks small enough that every parameter and every loss can be followed."""

import random
from pathlib import Path

import numpy as np
import scipy.ndimage
import torch
from mmengine.model import BaseModel, ImgDataPreprocessor
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from mmsr4ir.registry import MODELS

MEAN, STD = [123.0, 116.0, 103.0], [58.0, 57.0, 56.0]


@MODELS.register_module()
class ToySR(nn.Module):
    """One convolution (with BatchNorm, to have buffers) and a pixel shuffle."""

    def __init__(self, scale: int = 2, colours: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(colours, colours * scale**2, 3, padding=1)
        self.norm = nn.BatchNorm2d(colours * scale**2)
        self.scale = scale

    def forward(self, x):
        return F.pixel_shuffle(self.norm(self.conv(x)), self.scale)


@MODELS.register_module()
class ToyTask(BaseModel):
    """A classifier with the face of an OpenMMLab model."""

    def __init__(
        self, data_preprocessor=None, channels: int = 4, colours: int = 3
    ) -> None:
        super().__init__(
            ImgDataPreprocessor(
                **(data_preprocessor or dict(mean=MEAN, std=STD, bgr_to_rgb=True))
            )
        )
        self.backbone = ToyBackbone(channels, colours)
        self.neck = nn.Conv2d(channels, channels, 1)
        self.head = nn.Linear(channels, 3)
        self.head_calls = 0

    def extract_feat(self, inputs):
        return self.neck(self.backbone(inputs)[-1])

    def loss(self, inputs, data_samples):
        labels = torch.tensor([s.label for s in data_samples])
        logits = self._logits(inputs)
        return dict(
            loss_cls=F.cross_entropy(logits, labels),
            accuracy=(logits.argmax(1) == labels).float().mean(),
        )

    def predict(self, inputs, data_samples):
        for sample, logits in zip(data_samples, self._logits(inputs), strict=True):
            sample.score = logits
        return data_samples

    def tensor(self, inputs, data_samples):
        return self._logits(inputs)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return getattr(self, mode)(inputs, data_samples)

    def _logits(self, inputs):
        self.head_calls += 1
        return self.head(self.extract_feat(inputs).mean((2, 3)))


@MODELS.register_module()
class NormlessTask(ToyTask):
    """Without BatchNorm, so that images do not see each other."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.backbone.norm = nn.Identity()


class ToyBackbone(nn.Module):
    """Two stages; the first one stays frozen, as with `frozen_stages=1`."""

    def __init__(self, channels: int, colours: int) -> None:
        super().__init__()
        self.stage1 = nn.Conv2d(colours, channels, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.stage2 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.stage1.requires_grad_(False)

    def forward(self, x):
        first = self.norm(self.stage1(x))
        return first, self.stage2(first.relu())


def toy_config(**changes) -> dict:
    """Config of a SR4IR on the toy networks, x2."""
    return dict(
        dict(
            type='mmsr4ir.SR4IR',
            sr=dict(type='mmsr4ir.ToySR', scale=2),
            task=dict(
                type='mmsr4ir.ToyTask',
                data_preprocessor=dict(mean=MEAN, std=STD, bgr_to_rgb=True),
            ),
            degradation=dict(type='mmsr4ir.BicubicDownsample', scale=2),
            tdp=dict(type='mmsr4ir.TDPLoss', layer='backbone', levels=(0, 1)),
            patch_mix=dict(type='mmsr4ir.CrossQualityPatchMix', grid=4),
            recipe=SR4IR_RECIPE,
        ),
        **changes,
    )


SR4IR_RECIPE = dict(
    sr=dict(update=['sr'], losses=dict(pixel=1.0, tdp=dict(weight=1.0, during='main'))),
    task=dict(update=['task'], losses=dict(task_sr=0.34, task_hr=0.34, task_mix=0.34)),
)

# The six methods that the paper compares (table 1).
RECIPES = {
    'H->T': dict(task=dict(update='task', losses=dict(task_hr=1.0))),
    'L->T': dict(task=dict(update='task', losses=dict(task_sr=1.0))),
    'S->T': dict(
        sr=dict(update='sr', losses=dict(pixel=1.0), during='warmup'),
        task=dict(update='task', losses=dict(task_sr=1.0), during='main'),
    ),
    'T->S': dict(sr=dict(update='sr', losses=dict(pixel=1.0, task_sr=1.0))),
    'S+T': dict(both=dict(update=['sr', 'task'], losses=dict(pixel=1.0, task_sr=1.0))),
    'SR4IR': SR4IR_RECIPE,
}


# The shared rule of later systems: two judges for S; T on half SR, half HR, and its
# features near those of the teacher.
HLF_FM = dict(
    sr=dict(update='sr', share=0.5, losses=dict(tdp=0.5, tdp_teacher=0.5)),
    task=dict(
        update='task', reuse_sr=True, losses={'task_sr|hr': dict(weight=1.0, match=0.3)}
    ),
)


def toy_data(sizes=((16, 16), (16, 16)), seed: int = 0, colours: int = 3) -> dict:
    """A batch as a dataloader gives it: uint8 BGR images and samples."""
    generator = torch.Generator().manual_seed(seed)
    inputs, samples = [], []
    for i, size in enumerate(sizes):
        inputs.append(
            torch.randint(
                0, 256, (colours, *size), generator=generator, dtype=torch.uint8
            )
        )
        sample = BaseDataElement(metainfo=dict(img_shape=tuple(size)))
        sample.label = i % 3
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def toy_runner(folder: Path, **settings) -> Runner:
    """One iteration on the toy networks; the steps are so long that it shows."""
    sample = BaseDataElement(metainfo=dict(img_shape=(16, 16)))
    sample.label = 1
    item = dict(
        inputs=torch.full((3, 16, 16), 99, dtype=torch.uint8), data_samples=sample
    )
    optimizer = dict(optimizer=dict(type='SGD', lr=0.1))
    return Runner(
        model=toy_config(),
        work_dir=str(folder),
        log_level='ERROR',
        train_dataloader=dict(
            dataset=[item] * 4,
            batch_size=2,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='pseudo_collate'),
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(
            constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
            sr=optimizer,
            task=optimizer,
        ),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        experiment_name=folder.name,
        **settings,
    )


def picture(height: int = 48, width: int = 56, seed: int = 0) -> torch.Tensor:
    """Something smooth, (3, height, width), [0, 1]."""
    rng = np.random.default_rng(seed)
    noise = scipy.ndimage.gaussian_filter(rng.random((3, height, width)), (0, 2, 2))
    low, high = noise.min(), noise.max()
    return torch.from_numpy((noise - low) / (high - low)).float()


def snapshot(network: nn.Module) -> dict:
    """Everything a network holds: parameters and buffers, copied."""
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


def changed(before: dict, network: nn.Module) -> set[str]:
    """The names of what is another value now."""
    return {k for k, v in network.state_dict().items() if not torch.equal(before[k], v)}


@DATASETS.register_module()
class ToyDraws(Dataset):
    """Images that are augmented: with numbers of all three generators."""

    metainfo = dict(classes=('a', 'b', 'c'))

    def __init__(self, length: int = 4) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i):
        data = toy_data(((16, 16),), seed=i)
        shift = random.randrange(9) + np.random.randint(9) + torch.randint(9, ())
        return dict(
            inputs=data['inputs'][0] // 2 + shift.byte(),
            data_samples=data['data_samples'][0],
        )
