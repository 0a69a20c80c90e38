"""What is wrong with what a pipeline makes of images, before labels matter."""

from collections.abc import Mapping

import numpy as np
from mmengine.registry import TRANSFORMS, DefaultScope
from torch.utils.data import IterableDataset

from mmsr4ir.utils.configs import type_name

from .problem import Report
from .sets import NOT_READ, DataPart

# Transforms that work on colours, so on images of three channels.
_COLOURS = (
    'ColorJitter',
    'Lighting',
    'PhotoMetricDistortion',
    'RGB2Gray',
    'YOLOXHSVRandomAug',
)
# How the networks' configs call the number of channels that they take.
_IN_CHANNELS = ('in_channels', 'in_chans')
#: mmdet's Albu was written for this line: later ones drop transforms of its configs.
#: Without their dependencies, as these would bring a second OpenCV.
ALBUMENTATIONS = (
    'albumentations',
    'pip install scikit-learn scikit-image && pip install --no-deps '
    'albumentations==1.3.1 qudida',
)


def check_buildable(report: Report, part: DataPart) -> None:
    """Check that what a data set is made of can be built and be read from."""
    for one in part.pipeline:
        if type_name(one) in ('Albu', 'Albumentations'):
            _check_albu(report, part, one)
    if part.kind is None:
        report.error(
            part.loader,
            f'has the dataset type {part.dataset.get("type")!r}, '
            'which is not registered',
            'correct it, or name the module that has it in custom_imports',
        )
    elif issubclass(part.kind, IterableDataset):
        report.error(
            part.loader,
            f'has {part.kind.__name__}, an IterableDataset, but '
            'the samplers need a length and indices',
            'write it as a data set with __len__ and __getitem__',
        )


def _check_albu(report: Report, part: DataPart, cfg: Mapping) -> None:
    """Build a transform of albumentations, since each version has other parts."""
    try:
        with DefaultScope.overwrite_default_scope(part.scope):
            TRANSFORMS.build(cfg)
    except NOT_READ as error:
        report.error(
            '',
            f'{type_name(cfg)} in the pipeline of {part.loader} cannot be built '
            f'({error})',
            'correct its transforms, or install the version that mmdet 3 was written '
            f'for: {ALBUMENTATIONS[1]}',
        )


def check_padding(report: Report, part: DataPart) -> None:
    """Warn of a pipeline that pads, because all later steps take padding for image."""
    padding = sorted(
        {type_name(one) for one in part.pipeline if type_name(one).endswith('Pad')}
    )
    if padding and part.is_ours:
        report.warn(
            '',
            f'the pipeline of {part.loader} has {padding}: pixels that it '
            'adds count as image in the pixel and the TDP loss and in PSNR and '
            'SSIM',
            'take it out and let the preprocessor pad '
            '(pad_size_divisor of model.task.data_preprocessor; in mmseg '
            'size_divisor)',
        )


def config_channels(cfg: Mapping) -> int | None:
    """Return how many channels the networks of a whole config take, if it says so.

    As the built networks have it (:func:`mmsr4ir.models.image_space.image_channels`),
    and before they are built: n means of the preprocessor are for n channels; with one
    or none, the config of the SR network says it, else that of the task network. One
    mean alone may be for any number.
    """
    model = cfg.get('model') or {}
    task = model.get('task') or {}
    preprocessor: Mapping = next(
        (
            owner['data_preprocessor']
            for owner in (task, model, cfg)
            if owner.get('data_preprocessor')
        ),
        {},
    )
    means = preprocessor.get('mean')
    if isinstance(means, list | tuple) and len(means) > 1:
        return len(means)
    for network in (model.get('sr') or {}, task.get('backbone') or {}):
        for name in _IN_CHANNELS:
            if isinstance(network.get(name), int):
                return network[name]
    return None if means else 3


def check_loaded(report: Report, part: DataPart) -> None:
    """Check that images are loaded with the networks' channels, from 0 to 255.

    Args:
        report: Is filled; the images have been looked at.
        part: The data set.
    """
    how = part.loading
    want = config_channels(part.cfg) if part.is_ours else None
    if not any(type_name(one) == 'LoadImageFromFile' for one in part.pipeline):
        return
    if want not in (None, 3):
        _check_colours(report, part, want)
    if how.is_plain or how.is_gray:  # whatever stands in the files
        channels = 1 if how.is_gray else 3
        if want not in (None, channels):
            report.error(
                part.loader, *_other_channels(part, 'loads images', channels, want)
            )
        return
    loader = next(one for one in part.pipeline if type_name(one) == 'LoadImageFromFile')
    with DefaultScope.overwrite_default_scope(part.scope):
        transform = TRANSFORMS.build(loader)
    for path in (
        paths[0]
        for kind, paths in report.kinds.items()
        if kind not in ('unreadable', 'in memory', 'elsewhere')
    ):
        try:
            image = transform(dict(img_path=path))['img']
        except NOT_READ as error:
            report.error(
                path,
                f'cannot be loaded as the pipeline of {part.loader} does ({error})',
                _color_type(part, want or 3),
            )
            continue
        channels = image.shape[2] if image.ndim == 3 else 1
        deep = image.dtype != np.uint8 and image.dtype.kind in 'iu'
        if want not in (None, channels):
            report.error(path, *_other_channels(part, 'is loaded', channels, want))
        elif deep or not 0 <= image.min() <= image.max() <= 255:
            report.error(
                path,
                f'is loaded with values from {image.min():g} to {image.max():g} '
                f'({image.dtype}), and not 0 to 255 in 8 bits',
                _color_type(part, want or 3)
                + ', which keeps the upper 8 of 16 bits' * (want in (None, 1, 3))
                + '. Convert files with fractions to 8 bits',
            )


def _check_colours(report: Report, part: DataPart, want: int) -> None:
    """Find transforms of colours, where there are none."""
    for one in part.pipeline:
        if type_name(one) in _COLOURS:
            report.error(
                part.loader,
                f'has {type_name(one)} in its pipeline, which is for 3 channels; the '
                f'networks take {want}',
                'take it out',
            )


def _other_channels(
    part: DataPart, what: str, channels: int, want: int
) -> tuple[str, str]:
    """Return what is wrong with images of other channels, and what to do."""
    return (
        f'{what} with {channels} channel{"s" * (channels != 1)}, and the networks '
        f'take {want}',
        f'{_color_type(part, want)}; or set the channels of model.sr, of the backbone '
        f'in model.task, and of mean and std of its data_preprocessor to {channels}',
    )


def _color_type(part: DataPart, want: int) -> str:
    """Say how to load images of so many channels in 8 bits."""
    kind = {1: 'grayscale', 3: 'color'}.get(want)
    where = f'LoadImageFromFile of the pipeline of {part.loader}'
    if kind is None:
        return (
            f"set color_type='unchanged' in {where}, and have files of {want} channels "
            'of 8 bits'
        )
    return f'set color_type={kind!r} and no imdecode_backend in {where}'
