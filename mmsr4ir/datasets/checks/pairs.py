"""Look at pairs of LR and HR images before a training starts.

A transform that moves the pixels of the HR image, but not those of its LR image, would
otherwise train the SR network to move them back, without any error.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from mmsr4ir.registry import MODELS
from mmsr4ir.utils.configs import batch_augments, type_name
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.images import BROKEN
from mmsr4ir.utils.loading import Loading

from .images import scan_image
from .problem import Report
from .sets import build_unread, datasets_of, parts, samples_of

_COLOURS = (
    'AdjustGamma',
    'AutoContrast',
    'Brightness',
    'CLAHE',
    'Color',
    'ColorJitter',
    'ColorTransform',
    'Contrast',
    'Equalize',
    'GaussianBlur',
    'Invert',
    'Lighting',
    'PhotoMetricDistortion',
    'Posterize',
    'RandomGrayscale',
    'Sharpness',
    'Solarize',
    'SolarizeAdd',
    'YOLOXHSVRandomAug',
)
#: Transforms that leave every pixel in its place, and the flip, which LR images follow.
ALLOWED = (
    'LoadImageFromFile',
    'LoadAnnotations',
    'LoadPanopticAnnotations',
    'FilterAnnotations',
    'GenerateEdge',
    'RandomFlip',
    'PackInputs',
    'PackDetInputs',
    'PackSegInputs',
    'NoteTaskSize',
    'PackTaskSize',
    *_COLOURS,
)


def check_pairs(report: Report, cfg: Mapping, split: str) -> None:
    """Check that each HR image has its LR image, if there is a ``PairedLR``.

    It is an error if LR images cannot follow a transform, or if some are missing,
    unreadable or of another size than that of the HR image divided by the scale.

    Args:
        report: Is filled.
        cfg: A whole config with ``<split>_dataloader`` and ``model``.
        split: The split.
    """
    model = cfg.get('model') or {}
    degradation = model.get('degradation') or {}
    if type_name(degradation) != 'PairedLR' or (
        # The images of such a test are LR; there are no pairs.
        split == 'test' and type_name(cfg.get('test_cfg') or {}) == 'LRTestLoop'
    ):
        return
    try:
        pairs = MODELS.build(degradation)
        if split == 'train':
            _check_batch_augments(cfg)
        flips: set = set()
        paths: dict[str, Loading] = {}
        loader = cfg.get(f'{split}_dataloader') or {}
        for dataset, _ in datasets_of(loader.get('dataset')):
            flips |= check_transforms(dataset.get('pipeline') or (), split)
        for part in parts(cfg, [split]):
            for sample in samples_of(build_unread(part), part):
                paths[sample.get('img_path') or ''] = part.loading
        _check_files(report, pairs, dict(sorted(paths.items())), flips)
    except DataError as error:
        report.error('', str(error))


def check_transforms(pipeline: Sequence[dict], split: str) -> set[str]:
    """Check that LR images can follow a pipeline.

    Args:
        pipeline: Configs of transforms.
        split: Whose it is.

    Returns:
        set[str]: The directions in which it flips.

    Raises:
        DataError: If LR images cannot follow a transform of the pipeline.
    """
    where = f'the pipeline of {split}_dataloader'
    others = [
        type_name(t)
        for t in pipeline
        if type_name(t) not in ALLOWED
        and not (type_name(t) == 'Resize' and t.get('scale_factor') == 1)
    ]
    if others:
        raise DataError(
            f'{where} has {others}, which LR images of mmsr4ir.PairedLR cannot follow: '
            'take them out, and resize or crop the files of both before. Known to keep '
            f'the pixels in their places: {", ".join(ALLOWED)}'
        )
    flips = [t for t in pipeline if type_name(t) == 'RandomFlip']
    if len(flips) > 1:
        raise DataError(
            f'{where} has RandomFlip {len(flips)} times, and only the last one is told '
            "to the LR images: put one with direction=['horizontal', 'vertical', "
            "'diagonal']"
        )
    needed = {'img_path', 'img_shape', *(('flip', 'flip_direction') if flips else ())}
    for transform in pipeline:
        absent = needed - set(transform.get('meta_keys', needed))
        if absent:
            raise DataError(
                f'{where}: put {sorted(absent)} into meta_keys of '
                f'{type_name(transform)}; the LR image is found and flipped by them'
            )
    return set().union(*(_directions(flip.get('direction')) for flip in flips))


def _directions(direction: str | Sequence[str] | None) -> set[str]:
    direction = direction or 'horizontal'
    return {direction} if isinstance(direction, str) else set(direction)


def _check_batch_augments(cfg: Mapping) -> None:
    """Check that the preprocessor does not mix or resize images."""
    names = batch_augments(cfg, cfg['model'])
    moving = [name for name in names if name != 'BatchFixedSizePad']
    if moving:
        raise DataError(
            'batch_augments of the preprocessor, or augments in train_cfg of the '
            f'task, has {moving}, which LR images of mmsr4ir.PairedLR cannot '
            'follow: take them out'
        )


def _check_files(
    report: Report, pairs, paths: dict[str, Loading], flips: set[str]
) -> None:
    """Check that each HR image has an LR image of its own that fits."""

    def look(path: str) -> str | None:
        scan = scan_image(path, whole=False, how=paths[path])
        if scan.size is None:
            return f'{path} {scan.problem}'
        width, height = scan.size
        try:
            for flip in flips or (None,):
                pairs.read(path, (height, width), flip)
        except DataError as error:
            return str(error)
        except BROKEN as error:
            return f'{path} {error}'
        return None

    fix = 'correct these files, or set lr_root, hr_root and scale of model.degradation'
    with ThreadPoolExecutor(16) as pool:
        causes = [cause for cause in pool.map(look, paths) if cause]
    for cause in causes:
        report.error('', cause, fix)
    if not causes:
        owners: dict[str, list[str]] = {}
        for path in paths:
            owners.setdefault(pairs.find(path), []).append(path)
        for lr, names in owners.items():
            if len(names) > 1:
                report.error(' and '.join(names), f'have the same LR image {lr}', fix)
