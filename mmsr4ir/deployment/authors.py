"""Files of the authors of SR4IR, joined to a checkpoint of this package.

Their code (https://github.com/JaehaKim97/SR4IR) saves the two networks apart: the SR
network by the names of the original EDSR or SwinIR, the task network by those of
torchvision.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from torch import Tensor

from mmsr4ir.datasets.checks.sets import dataset_class, datasets_of
from mmsr4ir.engine.build import build_model
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.models.torchvision_networks import TorchvisionNetwork
from mmsr4ir.models.weights import mismatch
from mmsr4ir.utils.configs import type_name

from .convert import (
    ConvertError,
    about,
    check_out,
    find_state_dict,
    plain_values,
    read_checkpoint,
    rename,
    save_checkpoint,
)
from .edsr import edsr_name, take_mean
from .swinir import swinir_name

_SR = ('EDSRNet', 'SwinIRNet')
_COUNTER = 'num_batches_tracked'


def join_published(cfg: Config, sr: Path | None, task: Path, out: Path) -> list[str]:
    """Write the checkpoint, once it is known to fit the config.

    Args:
        cfg: The config of the same method, SR network, scale and data set.
        sr: File of the SR network; None for a config that only interpolates.
        task: File of the task network.
        out: File to write.

    Returns:
        list[str]: What was read and written, a line each.

    Raises:
        ConvertError: If a file cannot be read or written, does not fit the config, or
            would be overwritten.
    """
    with about(cfg.filename):
        model = build_model(cfg)
        check_networks(model, sr is not None)
        meta = dataset_meta(cfg)
    parts, report, kind = {}, [], type_name(tested_dataset(cfg))
    for part, path, change in (('sr', sr, sr_weights), ('task', task, convert_task)):
        if path is not None:
            with about(f'--{part} {path}'):
                parts[part] = change(model, read_tensors(path))
                check_out(out, path)
            report.append(
                f'{path}: {len(parts[part])} tensors of '
                f'{type(getattr(model, part)).__name__}'
            )
    # The authors number classes in the order of their folders' names. So do mmpretrain
    # for CUB, mmdet and mmsegmentation for VOC, but not mmpretrain for Stanford Cars.
    if kind == 'StanfordCars':
        number_classes(parts['task'], meta['classes'])
        report.append(
            f'classes of the last layer: in the order of {kind}, not of folders'
        )
    state_dict = {
        f'{part}.{name}': value
        for part, tensors in parts.items()
        for name, value in tensors.items()
    }
    with about(cfg.filename):
        check_out(out, Path(cfg.filename))
        found = mismatch(model.state_dict(), state_dict)
        if found:
            raise ConvertError(
                f'there is more in the model than both networks: {found}'
            )
    model.load_state_dict(state_dict)
    with about(out):
        save_checkpoint(
            dict(
                meta=dict(
                    cfg=cfg.pretty_text,
                    dataset_meta=meta,
                    converted_from=[
                        path.name for path in (sr, task) if path is not None
                    ],
                ),
                state_dict=model.state_dict(),
            ),
            out,
        )
    return [*report, f'{out} written: python tools/test.py {cfg.filename} {out}']


def check_networks(model: SR4IR, has_sr_file: bool) -> None:
    """Check that the authors have networks as the config's.

    Args:
        model: Built from the config.
        has_sr_file: Whether ``--sr`` is given.

    Raises:
        ConvertError: If a network is of another kind, or if ``--sr`` is missing or of
            no use.
    """
    sr, task = type(model.sr).__name__, type(model.task).__name__
    has_tensors = bool(model.sr.state_dict())
    if has_tensors and sr not in _SR:
        raise ConvertError(
            f'model.sr is {sr}; the authors have mmagic.EDSRNet and mmagic.SwinIRNet'
        )
    if not isinstance(model.task, TorchvisionNetwork):
        raise ConvertError(
            f'model.task is {task}; the authors have networks of torchvision: '
            'mmsr4ir.TorchvisionDetector, TorchvisionSegmentor or '
            'TorchvisionClassifier'
        )
    if has_tensors and not has_sr_file:
        raise ConvertError(f'model.sr is {sr}: give its file as --sr')
    if has_sr_file and not has_tensors:
        raise ConvertError(f'model.sr is {sr}, which has no parameters: leave --sr out')


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file, without the prefix of training on several GPUs.

    Raises:
        ConvertError: If the file cannot be read, or holds something else.
    """
    _, state_dict = find_state_dict(read_checkpoint(path), ('params_ema', 'params'))
    return {
        str(name).removeprefix('module.'): value for name, value in state_dict.items()
    }


def sr_weights(model: SR4IR, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of the SR network the names that the model has for them.

    Args:
        model: Built from the config.
        state_dict: Tensors by their original names; those of EDSR's mean are removed.

    Raises:
        ConvertError: If the tensors are of another network, or if the config gives
            that network the images in another range.
    """
    sr: BaseModule = model.sr  # of mmagic, see check_networks
    kind = type(sr).__name__
    if kind == 'EDSRNet':
        check_edsr(model, *take_mean(state_dict))
        return rename(
            state_dict,
            sr.state_dict(),
            lambda name: edsr_name(name, sr.num_blocks),
            f'model.sr ({kind})',
        )
    if model.sr_range != 1 or sr.img_range != 1:
        raise ConvertError(
            f'its images are in [0, 1]: leave model.sr_range={model.sr_range:g} and '
            f'model.sr.img_range={sr.img_range:g} at 1'
        )
    return rename(state_dict, sr.state_dict(), swinir_name, f'model.sr ({kind})')


def check_edsr(model: SR4IR, mean: list[float], end: int) -> None:
    """Compare the settings of ``mmagic.EDSRNet`` that no tensor holds with the file.

    Args:
        model: Built from the config.
        mean: What the authors' network subtracts from its images.
        end: The images of the authors' network are in [0, end].

    Raises:
        ConvertError: If the config's network subtracts another mean, has images in
            another range, or multiplies its residual blocks.
    """
    sr: BaseModule = model.sr  # mmagic.EDSRNet
    own, std = sr.mean.flatten(), sr.std.flatten()
    # A mean in [0, 1] with rgb_std=[1 / 255] * 3 does the same. Means have four digits.
    same_mean = torch.allclose(own / std, torch.tensor(mean), atol=1e-4)
    same_range = torch.allclose(model.sr_range / std, torch.tensor(float(end)))
    if not same_mean or not same_range:
        raise ConvertError(
            f'it subtracts {mean} from images in [0, {end}], and the config '
            f'rgb_mean={_rounded(own)} (rgb_std={_rounded(std)}) from images in [0, '
            f'{model.sr_range:g}]: set model.sr_range={end}, model.sr.rgb_mean={mean} '
            'and no rgb_std'
        )
    scales = {block.res_scale for block in sr.body}
    if scales - {1}:
        raise ConvertError(
            f"model.sr.res_scale={max(scales):g}, and the authors' "
            'EDSR has none: set it to 1'
        )


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]


def convert_task(model: SR4IR, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the task network in the model's order, with their names.

    Raises:
        ConvertError: If the tensors are of another network.
    """
    own = model.task.state_dict()
    odd = set(own) ^ set(state_dict)
    if odd and all(name.endswith(_COUNTER) for name in odd):
        is_frozen = odd <= set(own)  # the file's
        raise ConvertError(
            f'its batch normalisation has {"no " if is_frozen else ""}{_COUNTER} '
            f'({len(odd)} tensors): set model.task.frozen_batch_norm={is_frozen}'
        )
    return rename(state_dict, own, str, f'model.task ({type(model.task).__name__})')


def tested_dataset(cfg: Config) -> Mapping:
    """Return the config of the data set that is tested on, or the first of several."""
    datasets = datasets_of((cfg.get('test_dataloader') or {}).get('dataset'))
    return next((one for one, is_leaf in datasets if is_leaf), {})


def dataset_meta(cfg: Config) -> dict:
    """Return what a training would save of the data set: its classes and colours."""
    dataset = tested_dataset(cfg)
    kind = dataset_class(dataset, cfg.get('default_scope') or 'mmengine')
    own = getattr(kind, 'METAINFO', {})
    return plain_values({**own, **(dataset.get('metainfo') or {})})


def number_classes(state_dict: dict[str, Tensor], classes: Sequence[str]) -> None:
    """Move a classifier's classes from the order of their names to that of a data set.

    Args:
        state_dict: The tensors of the classifier, which are changed; the last two,
            (classes, C) and (classes, ), are of its last layer.
        classes: Their names, as the data set numbers them.
    """
    in_order = sorted(classes)
    rows = [in_order.index(name) for name in classes]
    for name in list(state_dict)[-2:]:
        if len(state_dict[name]) == len(rows):
            state_dict[name] = state_dict[name][rows]
