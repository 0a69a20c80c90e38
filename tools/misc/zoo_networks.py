"""SR networks of mmagic and spandrel, tried for one step with a small classifier."""

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import set_random_seed
from zoo_families import SR_NETWORKS

import mmsr4ir  # noqa: F401  (prepares mmcv.ops before anything asks for it)
from mmsr4ir.engine import PerNetworkOptimWrapperConstructor
from mmsr4ir.models.networks import build_network
from mmsr4ir.models.prediction.tiles import Tiles

#: The task network, and the height and width of the HR images in pixels.
TASK, HR_SIZE = 'mmpretrain::resnet/resnet18_8xb32_in1k.py', 64
#: Edge and overlap of tiles in LR pixels.
TILE = (64, 32)
#: The SR network that task networks are tried with.
SMALL_SR = dict(
    type='mmagic.EDSRNet',
    in_channels=3,
    out_channels=3,
    mid_channels=16,
    num_blocks=2,
    upscale_factor=4,
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
RECIPE = dict(
    sr=dict(update=['sr'], losses=dict(pixel=1.0, tdp=1.0)),
    task=dict(update=['task'], losses=dict(task_sr=0.34, task_hr=0.34, task_mix=0.34)),
)


def sr_config(library: str, name: str) -> dict:
    """Return the config of an SR network, x4.

    Args:
        library: ``'mmagic'`` or ``'spandrel'``.
        name: A family of mmagic or an architecture of spandrel.
    """
    if library == 'mmagic':
        return dict(SR_NETWORKS[name])
    return dict(type='mmsr4ir.Spandrel', arch=name, **SPANDREL[name])


def sr_trial(library: str, name: str) -> dict:
    """Make one train step and one val step.

    Args:
        library: As in :func:`sr_config`.
        name: As in :func:`sr_config`.

    Returns:
        dict: ``losses``: pixel, TDP and task; ``tiles``: see
        :func:`tiles_difference`.

    Raises:
        AssertionError: If a loss is not finite, a network did not move, or a
            prediction has another size.
    """
    cfg = get_config(TASK)
    init_default_scope('mmpretrain')
    set_random_seed(0)
    model_cfg = dict(
        type='mmsr4ir.SR4IR',
        task=cfg.model.to_dict(),
        sr=sr_config(library, name),
        recipe=RECIPE,
        tdp=dict(type='mmsr4ir.TDPLoss'),
        patch_mix=dict(type='mmsr4ir.CrossQualityPatchMix', grid=4),
        data_preprocessor=dict(cfg.data_preprocessor),
    )
    model = MODELS.build(Config(dict(model=model_cfg)).model).train()
    adam = dict(optimizer=dict(type='AdamW', lr=1e-4))
    wrappers = PerNetworkOptimWrapperConstructor(dict(sr=adam, task=adam))(model)
    before = {
        part: [p.detach().clone() for p in getattr(model, part).parameters()]
        for part in ('sr', 'task')
    }
    logs = model.train_step(_batch(), wrappers)
    assert all(torch.isfinite(v).all() for v in logs.values()), logs
    for part, values in before.items():
        moved = [
            not torch.equal(a, b)
            for a, b in zip(values, getattr(model, part).parameters(), strict=True)
        ]
        assert any(moved), f'{part} did not move'
    with torch.no_grad():
        predictions = model.eval().val_step(_batch())
    sizes = [p.images['sr'].shape[-2:] for p in predictions]
    assert sizes == [(HR_SIZE, HR_SIZE)] * 2, sizes
    losses = {k: logs[k].item() for k in ('sr/loss_pixel', 'sr/loss_tdp', 'task/loss')}
    return dict(losses=losses, tiles=tiles_difference(sr_config(library, name)))


def _batch() -> dict:
    """Two random images with labels, as mmpretrain's dataloader gives them."""
    from mmpretrain.structures import DataSample

    generator = torch.Generator().manual_seed(0)
    size = (HR_SIZE, HR_SIZE)
    inputs = [
        torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
        for _ in range(2)
    ]
    meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    samples = [
        DataSample(metainfo=dict(meta, img_path=f'{i}.png', num_classes=1000))
        for i in range(2)
    ]
    return dict(
        inputs=inputs,
        data_samples=[sample.set_gt_label(i) for i, sample in enumerate(samples)],
    )


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
    tiles = Tiles(*TILE, scale=4, multiple=getattr(network, 'window_size', 1))
    tiled = tiles.whole(network, lr)
    return 255 * (tiled - network(lr[None])[0]).abs().max().item()
