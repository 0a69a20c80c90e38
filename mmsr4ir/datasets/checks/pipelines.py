"""What is wrong with what a pipeline makes of images, before labels matter."""

from importlib.util import find_spec

import numpy as np
from mmengine.registry import TRANSFORMS, DefaultScope
from torch.utils.data import IterableDataset

from mmsr4ir.utils.configs import type_name

from .problem import Report
from .sets import NOT_READ, DataPart

_ENLARGED = 1.1  # times the pixels; less is rounding
_COLOUR = (None, 'color', 'color_ignore_orientation')
# Packages that parts of mmdet import when they are used.
_LVIS = ('lvis', 'pip install lvis')
_PANOPTIC = (
    'panopticapi',
    'pip install git+https://github.com/cocodataset/panopticapi.git',
)
_PACKAGES = dict(
    LVISDataset=_LVIS,
    LVISV05Dataset=_LVIS,
    LVISV1Dataset=_LVIS,
    LVISMetric=_LVIS,
    LoadPanopticAnnotations=_PANOPTIC,
    CocoPanopticMetric=_PANOPTIC,
)


def check_buildable(report: Report, part: DataPart) -> None:
    """Check that what a data set is made of can be built and be read from."""
    for one in (part.dataset, *part.pipeline, *part.metrics):
        package, command = _PACKAGES.get(type_name(one), (None, ''))
        if package and find_spec(package) is None:
            report.error(
                '',
                f'{type_name(one)} needs the package {package}, which is not installed',
                command,
            )
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


def check_enlarged(report: Report, part: DataPart, size: tuple[int, int]) -> None:
    """Warn where a pipeline enlarges images before LR images are made of them.

    Args:
        report: Is filled.
        part: The data set.
        size: (width, height) of its first image.
    """
    # Not above: the models import this package.
    from mmsr4ir.models.batch import enlarged_text
    from mmsr4ir.models.task_resize import RESIZES, SizeRule

    resizes = [one for one in part.pipeline if type_name(one) in RESIZES]
    if not resizes or not part.is_ours:
        return
    width, height = map(int, size)
    with DefaultScope.overwrite_default_scope(part.scope):
        # Not every interpolation of a library can move behind S; the size can.
        resize = {k: v for k, v in resizes[-1].items() if k != 'interpolation'}
        after = SizeRule(resize).size((height, width)).size
    times = after[0] * after[1] / (height * width)
    if times > _ENLARGED:
        report.warn(
            '',
            enlarged_text(
                f'the pipeline of {part.loader} enlarges images (the first one from '
                f'{width} x {height} to {after[1]} x {after[0]} pixels)',
                times,
            ),
        )


def check_loaded(report: Report, part: DataPart) -> None:
    """Check that an image of each kind has 3 channels and values from 0 to 255.

    Args:
        report: Is filled; the images have been looked at.
        part: The data set.
    """
    loader = part.pipeline[0] if part.pipeline else {}
    plain = loader.get('color_type') in _COLOUR and loader.get('imdecode_backend') in (
        None,
        'cv2',
        'pillow',
        'turbojpeg',
    )
    if type_name(loader) != 'LoadImageFromFile' or plain:
        return  # 8 bits in three channels of whatever stands in the file
    fix = (
        f"set color_type='color' and no imdecode_backend in {type_name(loader)} of "
        f'the pipeline of {part.loader}'
    )
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
            report.error(path, f'cannot be loaded as the pipeline does ({error})', fix)
            continue
        channels = image.shape[2] if image.ndim == 3 else 1
        deep = image.dtype != np.uint8 and image.dtype.kind in 'iu'
        if part.is_ours and channels != 3:
            report.error(
                path, f'is loaded with {channels} channels, and SR4IR needs 3', fix
            )
        elif deep or not 0 <= image.min() <= image.max() <= 255:
            report.error(
                path,
                f'is loaded with values from {image.min():g} to {image.max():g} '
                f'({image.dtype}), and not 0 to 255 in 8 bits',
                f'{fix}: it keeps the '
                'upper 8 of 16 bits. Convert files with fractions to 8-bit PNG',
            )
