"""Train small networks of the three tasks in 1, 2 and 4 processes; started by a test.

    python tests/helpers/several_processes.py FOLDER [PART OF A CASE'S NAME]

Each case is one training through MMEngine's Runner. Whatever the number of processes,
all of them together see eight images an iteration, and four in an epoch's last one.
SR4IR, whose phases hold those of H->T and S->T, stands for these. It stands for all
where four processes train, and in segmentation and classification beside HLF+FM.
FOLDER/<case>/<processes> is the work dir of each, FOLDER/<task>.pth the model before.
"""

import copy
import functools
import gc
import os
import sys
import traceback
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, pseudo_collate
from mmengine.hub import get_config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from mmengine.runner import runner as runner_module
from mmengine.structures import InstanceData, PixelData
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import mmsr4ir  # noqa: F401
from mmsr4ir.engine import PerNetworkOptimWrapperConstructor, move_resize
from mmsr4ir.engine.exact_loops import check_shares
from mmsr4ir.models import SeparateDistributedDataParallel
from mmsr4ir.models.recipes import STAGES
from mmsr4ir.registry import MODELS as OURS
from toys import HLF_FM, MEAN, STD
from toys import RECIPES as THE_SIX

ROOT = Path(__file__).parents[2]
WORLDS = (1, 2, 4)
BATCH, EPOCHS, CLASSES = 8, 2, ('a', 'b', 'c')
SCOPES = dict(detection='mmdet', segmentation='mmseg', classification='mmpretrain')
GN = dict(type='GN', num_groups=2)
TEACHER = dict(init_cfg=dict(type='Pretrained', checkpoint='-'))
# Gradient accumulation of S and T. S+T needs the same for both.
COUNTS = dict(detection=(2, 1), segmentation=(1, 2), classification=(2, 2))
# In place of T->S, which is a part of S+T.
RECIPES = THE_SIX | {'HLF+FM': HLF_FM}
del RECIPES['T->S']
# By name: task, recipe, and how many images there are. Half of each process's share is
# SR in HLF+FM, so that no share may be odd.
CASES = {
    f'{task} {recipe}': (task, recipe, 16 if recipe == 'HLF+FM' else 12)
    for task in SCOPES
    for recipe in (
        ('SR4IR', 'HLF+FM', 'L->T', 'S+T')
        if task == 'detection'
        else ('SR4IR', 'HLF+FM')
    )
}
# Eleven images: the sampler gives out the first one again.
CASES |= {f'{task} SR4IR, 11 images': (task, 'SR4IR', 11) for task in SCOPES}


def cases_of(world: int, part: str = '') -> list[str]:
    """Return the names of the cases that so many processes train."""
    return [
        name
        for name, (_, recipe, _) in CASES.items()
        if part in name and (world < 4 or recipe == 'SR4IR')
    ]


@OURS.register_module()
class PlainSR(nn.Module):
    """Two convolutions, x2, without batch statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 12, 3, padding=1)
        )

    def forward(self, x):
        bilinear = F.interpolate(x, scale_factor=2, mode='bilinear')
        return bilinear + F.pixel_shuffle(self.body(x), 2)


@DATASETS.register_module()
class Shapes(Dataset):
    """Images (uint8, BGR) of one to three rectangles, for every task.

    Args:
        length: How many; the last ones are the first ones again if there are fewer
            ``different`` ones.
    """

    metainfo = dict(classes=CLASSES)

    def __init__(self, task: str, length: int, different: int) -> None:
        self.task, self.length, self.different = task, length, different

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        from mmdet.structures import DetDataSample
        from mmpretrain.structures import DataSample
        from mmseg.structures import SegDataSample

        index %= self.different
        draw = torch.Generator().manual_seed(index)
        size = 64 if self.task == 'detection' else 32
        image = torch.randint(0, 100, (3, size, size), generator=draw)
        labels = (torch.arange(1 + index % 3) + index) % 3
        corners = torch.randint(0, size // 2, (len(labels), 2), generator=draw)
        boxes = torch.cat([corners, corners + size // 2 - 2], 1)
        mask = torch.zeros(1, size, size, dtype=torch.long)
        for label, (left, top, right, bottom) in zip(
            labels, boxes.tolist(), strict=True
        ):
            image[label, top:bottom, left:right] += 120
            mask[0, top:bottom, left:right] = label
        meta = dict(
            img_shape=(size, size),
            ori_shape=(size, size),
            img_id=index,
            scale_factor=(1.0, 1.0),
        )
        if self.task == 'detection':
            sample = DetDataSample(metainfo=meta)
            found = dict(bboxes=boxes.double(), labels=labels)
            sample.gt_instances = InstanceData(**found)
            sample.ignored_instances = InstanceData(
                **{key: value[:0] for key, value in found.items()}
            )
        elif self.task == 'segmentation':
            sample = SegDataSample(metainfo=meta)
            sample.gt_sem_seg = PixelData(data=mask)
        else:
            sample = DataSample(metainfo=meta).set_gt_label(labels[0])
        return dict(inputs=image.byte(), data_samples=sample)


@functools.cache
def fcos() -> Config:
    return get_config('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py')


def task_network(task: str) -> dict:
    """A config: FCOS, an FCN or a ResNet, all without batch statistics."""
    if task == 'detection':
        cfg = copy.deepcopy(fcos())
        cfg.merge_from_dict(
            {
                'model.backbone': dict(depth=18, base_channels=4, init_cfg=None),
                'model.neck': dict(in_channels=[4, 8, 16, 32], out_channels=8),
                'model.bbox_head': dict(
                    num_classes=3,
                    in_channels=8,
                    feat_channels=8,
                    stacked_convs=1,
                    norm_cfg=GN,
                ),
                'model.test_cfg.score_thr': 0.0,
            }
        )
        return cfg.model.to_dict()
    small = dict(depth=18, base_channels=4, stem_channels=4, norm_cfg=GN)
    mean_std = dict(mean=MEAN, std=STD)
    if task == 'segmentation':
        head = dict(
            type='FCNHead',
            channels=8,
            num_convs=1,
            dropout_ratio=0,
            num_classes=3,
            norm_cfg=GN,
        )
        return dict(
            type='mmseg.EncoderDecoder',
            data_preprocessor=dict(
                type='SegDataPreProcessor', size=(32, 32), bgr_to_rgb=True, **mean_std
            ),
            backbone=dict(type='ResNetV1c', strides=(1, 2, 1, 1), **small),
            decode_head=dict(head, in_channels=32, in_index=3),
            auxiliary_head=dict(head, in_channels=16, in_index=2),
            test_cfg=dict(mode='whole'),
        )
    return dict(
        type='mmpretrain.ImageClassifier',
        data_preprocessor=dict(type='ClsDataPreprocessor', to_rgb=True, **mean_std),
        backbone=dict(type='ResNet_CIFAR', **small),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='LinearClsHead', num_classes=3, in_channels=32, topk=(1,)),
    )


def build(task: str, recipe: str) -> nn.Module:
    """The model in float64; the mix has the same cells whoever draws them."""
    init_default_scope(SCOPES[task])
    torch.manual_seed(0)
    model = MODELS.build(
        Config(
            dict(
                type='mmsr4ir.SR4IR',
                task=task_network(task),
                sr=dict(type='mmsr4ir.InterpolateUpsampler', scale=2)
                if recipe == 'L->T'
                else dict(type='mmsr4ir.PlainSR'),
                degradation=dict(type='mmsr4ir.BicubicDownsample', scale=2),
                tdp=dict(type='mmsr4ir.TDPLoss', layer='backbone')
                if recipe in ('SR4IR', 'HLF+FM')
                else None,
                teacher=TEACHER if recipe == 'HLF+FM' else None,
                patch_mix=dict(type='mmsr4ir.CrossQualityPatchMix', grid=4),
                recipe=RECIPES[recipe],
            )
        )
    )
    model.init_cfgs.pop('teacher', None)  # random, the same whoever builds it
    model.init_weights()
    if task == 'segmentation':  # several classes in an image, so that the IoU can tell
        model.task.decode_head.conv_seg.weight.data *= 100
    model.patch_mix.draw_mask = lambda sr, _: (
        torch.eye(4).to(sr).expand(len(sr), 1, 4, 4)
    )
    return model.double()


def train(name: str, folder: Path, rank: int, world: int) -> None:
    """Train and validate as one of so many processes."""
    task, recipe, images = CASES[name]
    counts = (2, 2) if recipe == 'S+T' else COUNTS[task]
    # What the sampler does for several processes is done by hand for one.
    length = max(12, images) if world == 1 else images
    loader = dict(num_workers=0, collate_fn=pseudo_collate)
    work = folder / name / str(world)
    runner = Runner(
        model=build(task, recipe),
        work_dir=str(work),
        default_scope=SCOPES[task],
        launcher='none' if world == 1 else 'pytorch',
        cfg=dict(
            model_wrapper_cfg=dict(
                type='mmsr4ir.SeparateDistributedDataParallel', device_ids=None
            )
        ),
        train_dataloader=dict(
            loader,
            batch_size=BATCH // world,
            dataset=Shapes(task, length, images),
            sampler=dict(type='DefaultSampler', shuffle=images != 11),
        ),
        val_dataloader=dict(
            loader,
            batch_size=1,
            dataset=Shapes(task, 5, 5),
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(
            type='mmsr4ir.ExactEpochLoop', max_epochs=EPOCHS, val_interval=EPOCHS
        ),
        val_cfg=dict(),
        val_evaluator=[
            dict(
                detection=dict(type='VOCMetric', iou_thrs=[0.001]),
                segmentation=dict(type='IoUMetric'),
                classification=dict(type='Accuracy', topk=(1,)),
            )[task],
            dict(type='mmsr4ir.SRQuality'),
        ],
        optim_wrapper=dict(
            constructor='mmsr4ir.PerNetworkOptimWrapperConstructor',
            sr=dict(
                optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0),
                accumulative_counts=counts[0],
            ),
            task=dict(
                optimizer=dict(type='SGD', lr=0.002, momentum=0.9),
                accumulative_counts=counts[1],
            ),
        ),
        default_hooks=dict(
            alternate=dict(type='mmsr4ir.AlternateTrainingHook', warmup=1),
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(type='CheckpointHook', interval=EPOCHS),
        ),
        custom_hooks=[dict(type='EMAHook', momentum=0.1)],
        log_processor=dict(type='mmsr4ir.PhaseLogProcessor', window_size=1),
        randomness=dict(seed=3),
        log_level='ERROR',
        experiment_name=f'{name} {world}',
    )
    runner.train()


def train_tiny(config: Path, recipe: str) -> None:
    """Two steps of a demo's networks in each stage, as one of several processes.

    After a parameter without a gradient, torch's wrapper refuses the next step.
    """
    cfg = move_resize(Config.fromfile(config))
    init_default_scope(cfg.default_scope)
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.model.recipe = RECIPES[recipe]
    if recipe == 'HLF+FM':
        cfg.model.teacher = TEACHER
    if recipe == 'L->T':
        cfg.model.sr = dict(type='mmsr4ir.InterpolateUpsampler', scale=4)
    (task,) = (task for task, scope in SCOPES.items() if scope == cfg.default_scope)
    model = SeparateDistributedDataParallel(MODELS.build(cfg.model).train())
    optimizers = PerNetworkOptimWrapperConstructor(
        {name: dict(optimizer=dict(type='SGD', lr=1e-3)) for name in ('sr', 'task')}
    )(model)
    images = Shapes(task, 2 * EPOCHS, 2 * EPOCHS)
    for stage in STAGES:
        model.module.stage = stage
        for i in (0, 2):
            model.train_step(pseudo_collate([images[i], images[i + 1]]), optimizers)


def one_process(folder: Path, names: list[str], rank: int, world: int) -> None:
    """Train all cases, one after another, in one process group."""
    os.environ |= dict(LOCAL_RANK=str(rank))
    if world > 1:
        dist.init_process_group(
            'gloo', f'file://{folder}/group_of_{world}', rank=rank, world_size=world
        )
        sampler = DefaultSampler(range(11), round_up=False)
        try:
            check_shares(DataLoader(range(11), sampler=sampler))
        except ValueError as error:
            (folder / f'refused_{rank}_of_{world}').write_text(str(error))
    for name in names:
        train(name, folder, rank, world)
    if world == 2 and len(names) == len(CASES):
        for config in sorted(ROOT.glob('configs/sr4ir/*_tiny.py')):
            for recipe in RECIPES:
                train_tiny(config, recipe)
                (folder / f'{config.stem} {recipe} {rank}').touch()
    if world > 1:
        dist.destroy_process_group()


def main(folder: str, part: str = '') -> None:
    folder = Path(folder).absolute()
    torch.set_num_threads(1)
    for task in SCOPES:  # imports, once for all that is forked
        torch.save(build(task, 'SR4IR').state_dict(), folder / f'{task}.pth')
    gc.freeze()  # else each fork goes through all of it, and copies it
    # Both ask other programs (compilers, git) about this machine, each time anew.
    runner_module.collect_env, runner_module.get_git_hash = dict, str
    for world in WORLDS:
        names = cases_of(world, part)
        children = []
        for rank in range(world):
            children.append(os.fork())
            if children[-1] == 0:
                try:
                    one_process(folder, names, rank, world)
                except BaseException:
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
        if any([os.waitpid(child, 0)[1] for child in children]):
            sys.exit(f'{world} processes failed')


if __name__ == '__main__':
    main(*sys.argv[1:])
