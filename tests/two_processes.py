"""Train three iterations on half of every batch in each process; started by a test.

usage: two_processes.py OUT.pth METHOD, alone or under torch.distributed.run
"""
import os
import sys

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.model import MMSeparateDistributedDataParallel
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

import mmsr4ir  # noqa: F401
from mmsr4ir.engine import PerNetworkOptimWrapperConstructor
from mmsr4ir.models.sr4ir import unwrap
from toys import RECIPES

NUM_IMAGES = 4


def build(method: str):
    """A small FCOS, whose losses are normalised over all processes, and an EDSR."""
    init_default_scope('mmdet')
    detector = get_config('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py')
    cfg = Config(dict(model=dict(
        type='mmsr4ir.SR4IR', num_classes=2, task=detector.model.to_dict(),
        sr=dict(type='mmagic.EDSRNet', in_channels=3, out_channels=3, mid_channels=4,
                num_blocks=1, upscale_factor=4),
        tdp=dict(type='mmsr4ir.TDPLoss', layer='neck', levels=(0, 1)),
        patch_mix=dict(type='mmsr4ir.CrossQualityPatchMix', grid=4),
        recipe=RECIPES[method])))
    cfg.merge_from_dict({
        'model.task.backbone': dict(depth=18, base_channels=4, init_cfg=None),
        'model.task.neck': dict(in_channels=[4, 8, 16, 32], out_channels=8),
        'model.task.bbox_head': dict(
            in_channels=8, feat_channels=8, norm_cfg=dict(type='GN', num_groups=2)),
    })
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).double()
    # The same cells in both arrangements, whoever draws them.
    model.patch_mix.draw_mask = lambda sr, _: torch.eye(4).to(sr).expand(
        len(sr), 1, 4, 4)
    return model.train()


def batch(step: int, images: range) -> dict:
    from mmdet.structures import DetDataSample
    inputs, samples = [], []
    for i in images:
        generator = torch.Generator().manual_seed(100 * step + i)
        inputs.append(torch.randint(
            0, 256, (3, 64, 64), generator=generator, dtype=torch.uint8))
        sample = DetDataSample(metainfo=dict(img_shape=(64, 64)))
        count = 1 + i % 3  # processes have different numbers of objects
        corner = torch.rand(count, 2, generator=generator) * 20
        sample.gt_instances = InstanceData(
            bboxes=torch.cat([corner, corner + 30], 1).double(),
            labels=torch.arange(count) % 2)
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def main(out: str, method: str) -> None:
    rank, world = 0, int(os.environ.get('WORLD_SIZE', 1))
    model = build(method)
    runs = model
    if world > 1:
        dist.init_process_group('gloo')
        rank = dist.get_rank()
        runs = MMSeparateDistributedDataParallel(model)
    wrappers = PerNetworkOptimWrapperConstructor(dict(
        sr=dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0)),
        task=dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9))))(runs)
    share = NUM_IMAGES // world
    for step in range(3):
        runs.train_step(batch(step, range(rank * share, (rank + 1) * share)), wrappers)
    if rank == 0:
        torch.save({
            name: {k: v for k, v in unwrap(model._modules[name]).state_dict().items()}
            for name in ('sr', 'task')}, out)
    if world > 1:
        dist.destroy_process_group()


if __name__ == '__main__':
    main(*sys.argv[1:])
