"""Look at pairs of LR and HR images before a training starts.

A transform that moves the pixels of the HR image, but not those of its LR image, would
otherwise train S to move them back, without any error.
"""
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from mmsr4ir.registry import MODELS
from mmsr4ir.utils.configs import type_name

from .before_run import DataError, datasets_of
from .images import BROKEN, loaded_size
from .labels import build_unread, dataset_class

_COLOURS = (
    'AdjustGamma', 'AutoContrast', 'Brightness', 'CLAHE', 'Color', 'ColorJitter',
    'ColorTransform', 'Contrast', 'Equalize', 'GaussianBlur', 'Invert', 'Lighting',
    'PhotoMetricDistortion', 'Posterize', 'RandomGrayscale', 'Sharpness', 'Solarize',
    'SolarizeAdd', 'YOLOXHSVRandomAug')
#: Transforms that leave every pixel where it is, but for the flip, which is followed.
ALLOWED = (
    'LoadImageFromFile', 'LoadAnnotations',
    'LoadPanopticAnnotations', 'FilterAnnotations', 'GenerateEdge', 'RandomFlip',
    'PackInputs', 'PackDetInputs', 'PackSegInputs', 'NoteTaskSize', 'PackTaskSize',
    *_COLOURS)
# What the data sets of the three libraries raise when their files are not as expected.
_NOT_LISTED = (AssertionError, OSError, RuntimeError, ValueError, KeyError, TypeError)


def check_pairs(cfg, splits: tuple[str, ...] = ('train', 'val')) -> None:
    """See that each HR image has its LR image; nothing to do without ``PairedLR``.

    Args:
        cfg: A whole config with ``<split>_dataloader`` and ``model``.
        splits: The splits that will be used.

    Raises:
        DataError: A transform cannot be followed by the LR images, or some of these
            are missing, unreadable or of another size than that of the HR image
            divided by the scale.
    """
    degradation = cfg.model.get('degradation') or {}
    if type_name(degradation) != 'PairedLR':
        return
    pairs = MODELS.build(degradation)
    for split in splits:
        if split == 'test' and type_name(cfg.get('test_cfg') or {}) == 'LRTestLoop':
            continue  # its images are LR; there are no pairs
        if split == 'train':
            _check_batch_augments(cfg)
        flips, paths = set(), set()
        loader = cfg.get(f'{split}_dataloader') or {}
        for dataset, is_leaf in datasets_of(loader.get('dataset')):
            flips |= check_transforms(dataset.get('pipeline') or (), split,
                                      bool(cfg.model.get('task_resize')))
            if is_leaf:
                paths.update(_list_images(dataset, cfg, split))
        _check_files(pairs, sorted(paths), flips, split)


def check_transforms(pipeline: Sequence[dict], split: str, resized: bool = False
                     ) -> set[str]:
    """See that LR images can follow a pipeline.

    Args:
        pipeline: Configs of transforms.
        split: Whose it is.
        resized: Whether the model resizes, and tells mmdet the scale factor.

    Returns:
        set[str]: The directions in which it flips.

    Raises:
        DataError: They cannot.
    """
    where = f'the pipeline of {split}_dataloader'
    # mmdet's detectors cannot be validated without the scale factor that this tells.
    same_size = [t for t in pipeline
                 if type_name(t) == 'Resize' and t.get('scale_factor') == 1]
    others = [type_name(t) for t in pipeline
              if type_name(t) not in ALLOWED and t not in same_size]
    if others:
        raise DataError(
            f'{where} has {others}, which LR images of mmsr4ir.PairedLR cannot follow: '
            'take them out, and resize or crop the files of both before. Known to keep '
            f'the pixels in their places: {", ".join(ALLOWED)}')
    if split != 'train' and not (same_size or resized) and 'PackDetInputs' in map(
            type_name, pipeline):
        raise DataError(
            f"{where} needs dict(type='Resize', scale_factor=1.0), which leaves images "
            'as they are, since mmdet asks each for its scale_factor')
    flips = [t for t in pipeline if type_name(t) == 'RandomFlip']
    if len(flips) > 1:
        raise DataError(
            f'{where} has RandomFlip {len(flips)} times, and only the last one is told '
            "to the LR images: put one with direction=['horizontal', 'vertical', "
            "'diagonal']")
    needed = {'img_path', 'img_shape', *(('flip', 'flip_direction') if flips else ())}
    for transform in pipeline:
        absent = needed - set(transform.get('meta_keys', needed))
        if absent:
            raise DataError(
                f'{where}: put {sorted(absent)} into meta_keys of '
                f'{type_name(transform)}; the LR image is found and flipped by them')
    return set().union(*(_directions(flip.get('direction')) for flip in flips))


def _directions(direction: str | Sequence[str] | None) -> set[str]:
    direction = direction or 'horizontal'
    return {direction} if isinstance(direction, str) else set(direction)


def _check_batch_augments(cfg) -> None:
    """See that the preprocessor does not mix or resize images."""
    task = cfg.model.get('task') or {}
    places = [task.get('train_cfg')]  # of mmpretrain's classifiers
    for owner in (cfg, cfg.model, task):
        places.append((owner.get('data_preprocessor') or {}).get('batch_augments'))
    for augments in places:
        if isinstance(augments, dict):
            augments = augments.get('augments') or ()
            augments = [augments] if isinstance(augments, dict) else augments
        moving = [name for name in map(type_name, augments or ())
                  if name != 'BatchFixedSizePad']
        if moving:
            raise DataError(
                f'batch_augments of the preprocessor, or augments in train_cfg of the '
                f'task, has {moving}, which LR images of mmsr4ir.PairedLR cannot '
                'follow: take them out')


def _list_images(dataset: dict, cfg, split: str) -> Iterator[str]:
    try:
        kind = dataset_class(dataset, cfg.get('default_scope') or 'mmengine')
        for sample in build_unread(dataset, kind).load_data_list():
            yield sample['img_path']
    except _NOT_LISTED as error:
        raise DataError(
            f'the images of {split}_dataloader cannot be listed '
            f'({type(error).__name__}: {error}), so there are no pairs: use a data set '
            'of files, and set data_root, data_prefix and ann_file') from error


def _check_files(pairs, paths: list[str], flips: set[str], split: str) -> None:
    def look(path: str) -> str | None:
        try:
            for flip in flips or (None, ):
                pairs.read(path, _size(path), flip)
        except DataError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(16) as pool:
        problems = [p for p in pool.map(look, paths) if p]
    if not problems:
        owners = {}
        for path in paths:
            owners.setdefault(pairs.find(path), []).append(path)
        problems = [f'{" and ".join(names)} have the same LR image {lr}'
                    for lr, names in owners.items() if len(names) > 1]
    if problems:
        shown = '; '.join(problems[:5])
        raise DataError(
            f'{len(problems)} of {len(paths)} pairs of {split}_dataloader cannot be '
            f'used: {shown}{" ..." if len(problems) > 5 else ""}. Mend these files, or '
            'set lr_root, hr_root and scale of model.degradation')


def _size(path: str) -> tuple[int, int]:
    """(height, width) of an image as it is loaded; DataError if that fails."""
    try:
        width, height = loaded_size(path)
    except BROKEN as error:
        raise DataError(f'{path} cannot be read ({error})') from error
    return height, width
