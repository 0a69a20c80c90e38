"""Export models of the zoos and print what came out as a Markdown table.

Each is tried for any batch and size first and for one image of one size then; ONNX is
compared with PyTorch through onnxruntime, torch.export directly.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from zoo_networks import RECIPE, SMALL_SR, SPANDREL, TASK, sr_config

from mmsr4ir.deployment.export import (
    ExportError,
    ExportPart,
    difference,
    load_onnx,
    output_names,
    save_onnx,
    trace,
)
from mmsr4ir.engine.build import build_model

#: (height, width) of the LR images in pixels. The one size is what the networks with
#: position embeddings were made for.
_OPEN, _FIXED = (40, 48), (56, 56)
_OTHER = [(1, 41, 50), (3, 56, 47)]
_TOLERANCE = 1e-4


#: (config, TDP layer)
TASKS = (
    ('mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'neck'),
    ('mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py', 'neck'),
    ('mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', 'neck'),
    ('mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', 'neck'),
    ('mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-40k_voc12aug-512x512.py', 'backbone'),
    ('mmseg::pspnet/pspnet_r50-d8_4xb4-40k_voc12aug-512x512.py', 'backbone'),
    ('mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py', 'backbone'),
    (
        'mmseg::swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-'
        '512x512.py',
        'backbone',
    ),
    ('mmseg::ocrnet/ocrnet_hr18s_4xb4-40k_voc12aug-512x512.py', 'backbone'),
    ('mmpretrain::resnet/resnet18_8xb32_in1k.py', 'backbone'),
    ('mmpretrain::mobilenet_v3/mobilenet-v3-large_8xb128_in1k.py', 'backbone'),
    ('mmpretrain::convnext/convnext-tiny_32xb128_in1k.py', 'backbone'),
    ('mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', 'backbone'),
    ('mmpretrain::vision_transformer/vit-base-p32_64xb64_in1k.py', 'backbone'),
)
#: Families of mmagic's SR networks.
SR_FAMILIES = ('edsr', 'swinir', 'esrgan', 'srgan_resnet', 'rdn')


def attempts() -> Iterator[tuple[str, str, tuple]]:
    """Yield everything that is tried: group, name, arguments of :func:`attempt`."""
    for task, layer in TASKS:
        library, path = task.split('::')
        name = path.split('/')[1].removesuffix('.py')
        yield library, name, (task, layer, SMALL_SR)
    for library, names in (('mmagic', SR_FAMILIES), ('spandrel', SPANDREL)):
        for name in names:
            sr = sr_config(library, name)
            shown = sr['type'].split('.')[1] if library == 'mmagic' else name
            yield library, shown, (TASK, 'backbone', sr)


def model_config(task: str, layer: str, sr: dict) -> dict:
    """Return a task config of a zoo within the wrapper, without weights."""
    cfg = get_config(task)
    model = dict(
        type='mmsr4ir.SR4IR',
        task=cfg.model.to_dict(),
        sr=sr,
        recipe=RECIPE,
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


def attempt(group: str, task: str, layer: str, sr: dict) -> list[str]:
    """Export one model; return what became of it in three columns.

    Raises:
        ExportError: It cannot be exported, or differs.
    """
    cfg = Config(model_config(task, layer, dict(sr)))
    cfg.default_scope = task.split('::')[0]
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = build_model(cfg)
    part = dict(mmdet='dense', mmagic='sr', spandrel='sr').get(group, 'pipeline')
    part = ExportPart(model, part).eval()
    try:
        return ['any batch and size', *export(part, _OPEN, [(2, *_OPEN), *_OTHER])]
    except ExportError as error:
        print(f'  {error}', file=sys.stderr)
    return ['one image of one size', *export(part, _FIXED, [(1, *_FIXED)], static=True)]


def export(
    part: ExportPart,
    shape: tuple[int, int],
    shapes: list[tuple[int, int, int]],
    static: bool = False,
) -> list[str]:
    """Export, and give the largest differences of ONNX and of torch.export.

    Raises:
        ExportError: It cannot be exported, or ONNX differs.
    """
    program = trace(part, shape, static)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'model.onnx'
        save_onnx(program, output_names(part, shape), {}, path)
        largest = max(difference(part, load_onnx(path), s) for s in shapes)
    if not largest < _TOLERANCE:
        raise ExportError(f'ONNX differs by {largest:.0e}')
    try:
        other = max(difference(part, program.module(), s) for s in shapes)
    except ExportError as error:
        print(f'  {error}', file=sys.stderr)
        return [f'{largest:.0e}', 'refuses some']
    return [f'{largest:.0e}', f'{other:.0e}']


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        '--only',
        default='',
        metavar='TEXT',
        help='try only what has this in its library or name',
    )
    args = parser.parse_args()
    logging.getLogger('torch.onnx').setLevel(logging.ERROR)
    failed = 0
    print(
        '| from | network | exported for | ONNX | torch.export |\n'
        '| --- | --- | --- | ---: | ---: |'
    )
    for group, name, arguments in attempts():
        if args.only not in f'{group} {name}':
            continue
        start = time.time()
        try:
            result = attempt(group, *arguments)
        except Exception as error:  # whatever goes wrong is the result
            failed += 1
            reason = ' '.join(str(error).split())[:120]
            result = [f'**{type(error).__name__}**: {reason}', '', '']
        print(f'| {group} | {name} | {" | ".join(result)} |', flush=True)
        print(f'  {time.time() - start:.0f} s', file=sys.stderr, flush=True)
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
