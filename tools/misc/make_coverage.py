"""Try models of the zoos under SR4IR and write what came out to a Markdown table.

Each task network is a config of its library as it stands, at full size, with the
wrapper that configs/sr4ir shows and random weights; only the image size is small.
"""

import argparse
import platform
import sys
import time
import traceback
from collections.abc import Iterator

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import set_random_seed
from mmengine.structures import InstanceData, PixelData

import mmsr4ir  # noqa: F401  (prepares mmcv.ops before anything asks for it)
from mmsr4ir.engine import PerNetworkOptimWrapperConstructor
from mmsr4ir.models.networks import build_network
from mmsr4ir.models.prediction.tiles import super_resolve_tiled

#: (config, TDP layer, height and width of the HR images in pixels)
TASKS = (
    ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'neck', 128),
    ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'neck', 128),
    ('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', 'neck', 128),
    ('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', 'neck', 128),
    ('mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-40k_voc12aug-512x512.py', 'backbone', 64),
    ('mmseg::pspnet/pspnet_r50-d8_4xb4-40k_voc12aug-512x512.py', 'backbone', 64),
    ('mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py', 'backbone', 64),
    (
        'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-'
        '512x512.py',
        'backbone',
        64,
    ),
    ('mmseg::ocrnet/ocrnet_hr18s_4xb4-40k_voc12aug-512x512.py', 'backbone', 64),
    ('mmpretrain::resnet/resnet18_8xb32_in1k.py', 'backbone', 64),
    ('mmpretrain::mobilenet_v3/mobilenet-v3-large_8xb128_in1k.py', 'backbone', 64),
    ('mmpretrain::convnext/convnext-tiny_32xb128_in1k.py', 'backbone', 64),
    ('mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', 'backbone', 224),
    ('mmpretrain::vision_transformer/vit-base-p32_64xb64_in1k.py', 'backbone', 224),
)
_COMMON = dict(in_channels=3, out_channels=3, upscale_factor=4)
SR_NETWORKS = (
    dict(type='mmagic.EDSRNet', mid_channels=64, num_blocks=16, **_COMMON),
    dict(
        type='mmagic.SwinIRNet',
        upscale=4,
        img_size=48,
        window_size=8,
        depths=[6] * 4,
        embed_dim=60,
        num_heads=[6] * 4,
        mlp_ratio=2,
        upsampler='pixelshuffle',
        resi_connection='1conv',
    ),
    dict(type='mmagic.RRDBNet', mid_channels=64, num_blocks=23, **_COMMON),
    dict(type='mmagic.MSRResNet', mid_channels=64, num_blocks=16, **_COMMON),
    dict(type='mmagic.RDNNet', mid_channels=64, num_blocks=16, **_COMMON),
)
_WINDOWS = dict(upscale=4, upsampler='pixelshuffle', window_size=8)
_RGB = dict(num_in_ch=3, num_out_ch=3)
#: What differs from the settings that spandrel's classes have by themselves.
SPANDREL = dict(
    ATD=dict(upscale=4, upsampler='pixelshuffle'),
    CRAFT={},
    Compact={},
    DAT=dict(upscale=4, split_size=[8, 16]),
    DCTLSA={},
    DITN={},
    DRCT=dict(upscale=4, upsampler='pixelshuffle'),
    ESRGAN={},
    FDAT={},
    GRL=dict(upscale=4, upsampler='pixelshuffle'),
    HAT=_WINDOWS,
    MMRealSR=_RGB,
    MoESR={},
    MoSR={},
    OmniSR={},
    PLKSR={},
    RCAN={},
    RGT=dict(upscale=4),
    RealPLKSR={},
    SAFMN=dict(dim=36),
    SPAN=_RGB,
    SwiftSRGAN={},
    Swin2SR=_WINDOWS,
    SwinIR=_WINDOWS,
    UpCunet4x={},
)
#: The task network that every SR network is tried with, and the other way round.
_TASK = TASKS[9]
#: Edge and overlap in LR pixels.
_TILE = (64, 32)
_SR = dict(type='mmagic.EDSRNet', mid_channels=16, num_blocks=2, **_COMMON)
_RECIPE = dict(
    sr=dict(update=['sr'], losses=dict(pixel=1.0, tdp=1.0)),
    task=dict(update=['task'], losses=dict(task_sr=0.34, task_hr=0.34, task_mix=0.34)),
)


def model_config(task: str, layer: str, sr: dict) -> dict:
    """Return a task config of a zoo within the wrapper, without weights."""
    cfg = get_config(task)
    model = dict(
        type='mmsr4ir.SR4IR',
        task=cfg.model.to_dict(),
        sr=sr,
        recipe=_RECIPE,
        tdp=dict(type='mmsr4ir.TDPLoss', layer=layer, levels=(-1,)),
        patch_mix=dict(type='mmsr4ir.CrossQualityPatchMix', grid=4),
    )
    if cfg.get('data_preprocessor') and 'data_preprocessor' not in cfg.model:
        model['data_preprocessor'] = dict(cfg.data_preprocessor)
    task = model['task']
    if task['type'] in ('EncoderDecoder', 'CascadeEncoderDecoder'):
        task['pretrained'] = None
        # Small images stay small: the configs pad to the crop size of the training.
        task['data_preprocessor'].update(size=None, size_divisor=32)
        task['test_cfg'] = dict(mode='whole')
    return dict(model=model, optim=cfg.optim_wrapper.to_dict())


def batch(library: str, task: dict, size: int) -> dict:
    """Two random images with labels, as the library's dataloader gives them."""
    generator = torch.Generator().manual_seed(0)
    inputs, samples = [], []
    for i in range(2):
        inputs.append(
            torch.randint(
                0, 256, (3, size, size), generator=generator, dtype=torch.uint8
            )
        )
        meta = dict(
            img_shape=(size, size),
            ori_shape=(size, size),
            img_id=i,
            scale_factor=(1.0, 1.0),
            img_path=f'{i}.png',
        )
        if library == 'mmpretrain':
            from mmpretrain.structures import DataSample

            sample = DataSample(metainfo=dict(meta, num_classes=1000)).set_gt_label(i)
        elif library == 'mmseg':
            from mmseg.structures import SegDataSample

            sample = SegDataSample(metainfo=meta)
            sample.gt_sem_seg = PixelData(
                data=torch.randint(0, 2, (1, size, size), generator=generator)
            )
        else:
            from mmdet.structures import DetDataSample
            from mmdet.structures.mask import BitmapMasks

            sample = DetDataSample(metainfo=meta)
            mask = torch.zeros(1, size, size, dtype=torch.uint8)
            mask[:, 8:70, 8:60] = 1
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor([[8.0, 8, 60, 70]]),
                labels=torch.tensor([1]),
                masks=BitmapMasks(mask.numpy(), size, size),
            )
            sample.ignored_instances = InstanceData(
                bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long)
            )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def attempt(task: str, layer: str, size: int, sr: dict) -> dict[str, float]:
    """One train step and one val step; the losses are returned.

    Raises:
        AssertionError: A loss is not finite, a network did not move, or a prediction
            is missing.
    """
    library = task.split('::')[0]
    cfg = Config(model_config(task, layer, dict(sr)))
    init_default_scope(library)
    set_random_seed(0)  # some preprocessors mix images by NumPy's generator
    model = MODELS.build(cfg.model).train()
    wrappers = PerNetworkOptimWrapperConstructor(
        dict(sr=dict(optimizer=dict(type='AdamW', lr=1e-4)), task=cfg.optim)
    )(model)
    before = {
        name: [p.detach().clone() for p in getattr(model, name).parameters()]
        for name in ('sr', 'task')
    }
    logs = model.train_step(batch(library, cfg.model.task, size), wrappers)
    assert all(torch.isfinite(v).all() for v in logs.values()), logs
    for name, values in before.items():
        moved = [
            not torch.equal(a, b)
            for a, b in zip(values, getattr(model, name).parameters(), strict=True)
        ]
        assert any(moved), f'{name} did not move'
    with torch.no_grad():
        predictions = model.eval().val_step(batch(library, cfg.model.task, size))
    assert [p.images['sr'].shape[-2:] for p in predictions] == [(size, size)] * 2
    found = dict(mmdet='pred_instances', mmseg='pred_sem_seg', mmpretrain='pred_score')
    assert all(found[library] in p for p in predictions)
    return {
        k: v.item()
        for k, v in logs.items()
        if k in ('sr/loss_pixel', 'sr/loss_tdp', 'task/loss')
    }


@torch.no_grad()
def tiles_difference(sr: dict) -> float:
    """Return how much an image that is restored in tiles differs from it as a whole.

    Args:
        sr: Config of an SR network, x4; it gets random weights.

    Returns:
        float: The largest difference, in steps of 8 bits.
    """
    torch.manual_seed(0)
    network = build_network('sr', dict(sr)).eval()
    lr = torch.rand(3, 96, 104)
    tiled = super_resolve_tiled(
        network, lr, 4, *_TILE, multiple=getattr(network, 'window_size', 1)
    )
    return 255 * (tiled - network(lr[None])[0]).abs().max().item()


def attempts() -> Iterator[tuple[str, str, tuple]]:
    """Everything that is tried: group, name, arguments of :func:`attempt`."""
    for task, layer, size in TASKS:
        library, path = task.split('::')
        yield library, path.split('/')[1].removesuffix('.py'), (task, layer, size, _SR)
    for sr in SR_NETWORKS:
        yield 'mmagic', sr['type'].split('.')[1], (*_TASK, sr)
    for arch, settings in SPANDREL.items():
        yield (
            'spandrel',
            arch,
            (*_TASK, dict(type='mmsr4ir.Spandrel', arch=arch, **settings)),
        )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--out',
        default='docs/en/coverage.md',
        help='file to write (default: %(default)s)',
    )
    parser.add_argument(
        '--only',
        default='',
        metavar='TEXT',
        help='try only what has this in its library or name, and write nothing',
    )
    args = parser.parse_args()
    rows, failed = [], 0
    for group, name, arguments in attempts():
        if args.only not in f'{group} {name}':
            continue
        start = time.time()
        tiles = '-'
        try:
            losses = attempt(*arguments)
            result = ', '.join(f'{v:.3g}' for v in losses.values())
            if group in ('mmagic', 'spandrel'):
                tiles = f'{tiles_difference(arguments[-1]):.2g}'
        except Exception as error:  # whatever goes wrong is the result
            traceback.print_exc()
            failed += 1
            result = f'**{type(error).__name__}**: {str(error).splitlines()[0][:120]}'
        rows.append(f'| {group} | {name} | {arguments[2]} | {result} | {tiles} |')
        print(f'{rows[-1]} {time.time() - start:.1f} s', flush=True)
    if not rows:
        sys.exit(f'error: nothing has {args.only!r} in its name')
    if not args.only:
        with open(args.out, 'w', encoding='utf-8') as file:
            file.write(page(rows, failed))
    sys.exit(1 if failed else 0)


def page(rows: list[str], failed: int) -> str:
    """Return the Markdown page."""
    return '\n'.join(
        [
            '# Coverage: networks that were trained for one step',
            '',
            '`python tools/misc/make_coverage.py` wrote this page, with random '
            'weights, on '
            f'Python {platform.python_version()} and torch {torch.__version__}, CPU. '
            'Each '
            'row is one train step of SR4IR (both phases, TDP loss and patch mix '
            'included) '
            'and one val step on two images. A row passed if all losses were finite, '
            'both '
            'networks changed, and predictions and SR images had the right size. The '
            'task '
            "networks are their library's own configs at full size with a small "
            'EDSR. The '
            f'SR networks were trained with {_TASK[0].split("/")[1]}. Those of '
            'spandrel '
            '(`mmsr4ir.Spandrel`) have the default sizes of its classes, at x4. The '
            'losses '
            '(pixel, TDP, task) only show that there were some.',
            '',
            'The column of tiles has the largest difference, in steps of 8 bits, '
            'between '
            'an image of 96 x 104 LR pixels that the SR network restores at once and '
            'the '
            f'same image in tiles of {_TILE[0]} with an overlap of {_TILE[1]} '
            'pixels. It '
            'is large if attention or a mean reaches further than the overlap.',
            '',
            "spandrel's SeemoRe and IPT take one image at a time and cannot be "
            'validated here.',
            '',
            f'{len(rows) - failed} of {len(rows)} passed.',
            '',
            '| from | network | HR pixels | losses | tiles |',
            '| --- | --- | ---: | --- | ---: |',
            *rows,
            '',
        ]
    )


if __name__ == '__main__':
    main()
