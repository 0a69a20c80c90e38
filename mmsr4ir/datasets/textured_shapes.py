"""The embedded data set: textured shapes whose class lies in fine detail.

Every object is filled with one of four patterns of a few pixels' period. Its shape,
size, colours, brightness and contrast are drawn from the same distributions for every
class, so only the pattern tells the classes apart. Down-sampling by 4 takes most of it
away: the shorter periods fold into other directions, the longer ones survive faintly.

One generator serves detection (COCO boxes and masks), segmentation (label maps) and
classification (one object an image). Each image has a seed of its own, so the same
settings give the same bytes, whatever was made before.
"""

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmsr4ir.utils.errors import ConfigError, DataError
from mmsr4ir.utils.files import load_json, write_json

CLASSES = ('horizontal', 'vertical', 'diagonal', 'checker')
#: Period of the patterns in pixels, from and to.
PERIODS = (3.5, 7.0)
#: Objects of less than this visible share are left out.
_MIN_VISIBLE = 0.4
_CROP_SIZE = 64
#: Radius of the object of a class crop, as a share of the crop: 10 to 19 pixels, the
#: smaller ones of detection's 10 to 28. With objects that fill the crop, the task
#: network did as well on enlarged LR images as on restored ones.
_CROP_RADII = (0.15, 0.3)
#: Standard deviation of every pattern before it is coloured, 0.5 at most.
_CONTRAST = 0.32
#: Class crops for each validation image. With 60 crops, one would be 1.7 points of
#: accuracy, too coarse to compare methods.
_VAL_CROPS = 4
#: Raise it when the images change: sets of another version are refused.
_VERSION = 5


@dataclass
class Sample:
    """One image and what is on it.

    Attributes:
        image: (size, size, 3), RGB, uint8.
        labels: Class index of each object.
        masks: (size, size) bool, the visible part of each object.
    """

    image: np.ndarray
    labels: list[int]
    masks: list[np.ndarray]


def render(
    rng: np.random.Generator,
    size: int,
    labels: list[int] | None = None,
    centred: bool = False,
) -> Sample:
    """Draw one image.

    Args:
        rng: Source of everything random.
        size: Height and width in pixels, at least 64.
        labels: The classes of the objects, 0 to 3, in drawing order; 1 to 5 objects
            at random if None.
        centred: Whether to draw the objects in the middle, as a class crop needs.

    Returns:
        Sample: The image. Objects that others mostly cover are left out, except the
        last one of `labels`.

    Raises:
        ConfigError: If ``size`` is below 64 or a label is no class.
    """
    if size < 64:
        raise ConfigError(f'size {size} is too small for the objects: give 64 or more')
    if labels is None:
        labels = rng.integers(0, len(CLASSES), rng.integers(1, 6)).tolist()
    if not set(labels) <= set(range(len(CLASSES))):
        raise ConfigError(f'labels {labels} must lie in 0 to {len(CLASSES) - 1}')
    image = _background(rng, size)
    shapes: list[tuple] = []
    for label in labels:
        radius = rng.uniform(*_CROP_RADII) * size if centred else rng.uniform(10, 28)
        if centred:
            centre = rng.uniform(0.45, 0.55, 2) * size
        elif shapes and rng.random() < 0.3:  # touches or covers an earlier one a little
            angle = rng.uniform(0, 2 * np.pi)
            step = (radius + shapes[-1][2]) * rng.uniform(0.75, 1.0)
            centre = shapes[-1][1] + step * np.array([np.cos(angle), np.sin(angle)])
            centre = centre.clip(radius * 0.7, size - radius * 0.7)
        else:
            centre = rng.uniform(radius * 0.7, size - radius * 0.7, 2)
        shapes.append((label, centre, radius, _shape(rng, size, centre, radius)))
    covered = np.zeros((size, size), bool)
    visible = []
    for label, _, _, mask in shapes[::-1]:  # the last one drawn lies on top
        rest = mask & ~covered
        if rest.sum() >= _MIN_VISIBLE * mask.sum() > 0:
            covered |= mask
            visible.append((label, rest, mask))
    for label, _, mask in visible[::-1]:
        image[mask] = _texture(rng, size, label)[mask]
    noise = rng.normal(0, 3, image.shape)
    image = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    return Sample(image, [v[0] for v in visible], [v[1] for v in visible])


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Smooth colours with a weak fine grain."""
    coarse = rng.uniform(50, 205, (4, 4, 3)).astype(np.float32)
    image = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 12, (size // 2, size // 2, 1)).astype(np.float32)
    fine = cv2.resize(grain, (size, size), interpolation=cv2.INTER_LINEAR)
    return image + fine[..., None]


def _shape(
    rng: np.random.Generator, size: int, centre: np.ndarray, radius: float
) -> np.ndarray:
    """Draw a filled ellipse, rectangle or polygon: a (size, size) bool mask."""
    canvas = np.zeros((size, size), np.uint8)
    kind = rng.integers(0, 3)
    angle = rng.uniform(0, 180)
    x, y = (float(c) for c in centre)
    if kind == 0:
        axes = (int(radius), int(radius * rng.uniform(0.65, 1)))
        cv2.ellipse(canvas, (int(x), int(y)), axes, angle, 0, 360, 1, -1)
        return canvas.astype(bool)
    if kind == 1:
        side = radius * rng.uniform(0.65, 1) * 1.5
        corners = cv2.boxPoints(((x, y), (radius * 1.5, side), angle))
    else:
        count = int(rng.integers(5, 8))
        angles = (np.arange(count) + rng.uniform(-0.2, 0.2, count)) * 2 * np.pi / count
        lengths = radius * rng.uniform(0.75, 1, count)
        corners = np.stack(
            [x + lengths * np.cos(angles), y + lengths * np.sin(angles)], 1
        )
    cv2.fillPoly(canvas, [np.rint(corners).astype(np.int32)], 1)
    return canvas.astype(bool)


def _texture(rng: np.random.Generator, size: int, label: int) -> np.ndarray:
    """Draw a pattern of two colours over the whole canvas: (size, size, 3)."""
    y, x = np.mgrid[:size, :size].astype(np.float64)
    tilt = np.deg2rad(rng.uniform(-12, 12))
    x, y = np.cos(tilt) * x - np.sin(tilt) * y, np.sin(tilt) * x + np.cos(tilt) * y
    period = rng.uniform(*PERIODS)
    phases = rng.uniform(0, 2 * np.pi, 2)
    along_x = np.sin(2 * np.pi * x / period + phases[0])
    along_y = np.sin(2 * np.pi * y / period + phases[1])
    diagonal = np.sin(2 * np.pi * (x + y) / np.sqrt(2) / period + phases[0])
    wave = (along_y, along_x, diagonal, np.sign(along_x * along_y))[label]
    # Square waves all, so that every pattern spends the same time on both colours.
    share = np.where(wave > 0, 1.0, 0.0)
    share = cv2.GaussianBlur(share, (3, 3), 0.6)[..., None]
    # The blur weakens a checker more than stripes: without this, contrast alone would
    # tell it from them.
    share = 0.5 + (share - share.mean()) * _CONTRAST / share.std()
    dark, light = rng.uniform(20, 110, 3), rng.uniform(145, 235, 3)
    return dark + (light - dark) * share


def write_dataset(
    root: Path | str,
    num_train: int = 240,
    num_val: int = 60,
    size: int = 128,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> bool:
    """Write the data set, or leave it where it is there already.

    Args:
        root: Folder; made if needed.
        num_train: Images of the training split, and class crops.
        num_val: Images of the validation split; there are four times as many class
            crops.
        size: Height and width in pixels.
        seed: Another seed gives other images.
        progress: Called after each image.

    Returns:
        bool: Whether it was written; False if it was there with the same settings.

    Raises:
        DataError: If the folder holds other files, or a set with other settings.
        ConfigError: If a setting is too small.
        OSError: If a file cannot be written.
    """
    if min(num_train, num_val) < len(CLASSES) or size < 64:
        raise ConfigError(
            f'at least {len(CLASSES)} images a split and 64 pixels a side are needed'
        )
    root = Path(root)
    settings = dict(
        num_train=num_train, num_val=num_val, size=size, seed=seed, version=_VERSION
    )
    if _is_there(root, settings):
        return False
    root = root.resolve()
    root.parent.mkdir(parents=True, exist_ok=True)
    # On the same disk, so that what is whole can be moved.
    with TemporaryDirectory(prefix=f'.{root.name}.', dir=root.parent) as folder:
        for split_seed, (split, count) in enumerate(
            (('train', num_train), ('val', num_val))
        ):
            _write_split(Path(folder), split, count, size, [seed, split_seed], progress)
        if _is_there(root, settings):  # another process was faster
            return False
        root.mkdir(exist_ok=True)
        for part in Path(folder).iterdir():
            os.replace(part, root / part.name)
        write_json(root / 'meta.json', settings)  # the last one: the set is whole
    return True


def _is_there(root: Path, settings: dict) -> bool:
    """Return whether a folder holds the set with these settings.

    Returns:
        bool: False if the folder is empty or does not exist.

    Raises:
        DataError: If the folder holds other files, or a set with other settings.
    """
    try:
        meta = load_json(root / 'meta.json')
    except (OSError, ValueError):
        meta = None
    if meta == settings:
        return True
    if isinstance(meta, dict) and set(meta) == set(settings):
        raise DataError(
            f'{root} holds a set with other settings, or of another version of '
            f'mmsr4ir: remove it (rm -r {shlex.quote(str(root))}) or choose another '
            'folder'
        )
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(
            f'{root} is a file or holds something else: remove it or choose another '
            'folder'
        )
    return False


def _image_paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    """Image and semantic map."""
    name = f'{index:05d}.png'
    return root / split / name, root / 'semantic' / split / name


def _crop_paths(root: Path, split: str, count: int) -> list[Path]:
    """Class crops of a split with so many images; the classes take turns."""
    crops = root / 'classification' / split
    return [
        crops / CLASSES[i % len(CLASSES)] / f'{i:05d}.png'
        for i in range(count * (_VAL_CROPS if split == 'val' else 1))
    ]


def _write_split(
    root: Path,
    split: str,
    count: int,
    size: int,
    seed: list[int],
    progress: Callable[[], None],
) -> None:
    for folder in (
        split,
        'annotations',
        f'semantic/{split}',
        *(f'classification/{split}/{name}' for name in CLASSES),
    ):
        os.makedirs(root / folder, exist_ok=True)
    images: list[dict] = []
    annotations: list[dict] = []
    for index in range(count):
        rng = np.random.default_rng([*seed, index, 0])
        labels = rng.integers(0, len(CLASSES), rng.integers(1, 6)).tolist()
        labels[-1] = index % len(CLASSES)  # so that a small split has every class
        sample = render(rng, size, labels)
        image_path, semantic_path = _image_paths(root, split, index)
        _write_image(image_path, sample.image[..., ::-1])
        semantic = np.zeros((size, size), np.uint8)
        images.append(
            dict(id=index, file_name=image_path.name, height=size, width=size)
        )
        for label, mask in zip(sample.labels, sample.masks, strict=True):
            semantic[mask] = label + 1
            annotations.append(
                dict(
                    _annotation(mask),
                    id=len(annotations) + 1,
                    image_id=index,
                    category_id=label + 1,
                )
            )
        _write_image(semantic_path, semantic)
        progress()
    for index, path in enumerate(_crop_paths(root, split, count)):
        crop = render(
            np.random.default_rng([*seed, index, 1]),
            _CROP_SIZE,
            [index % len(CLASSES)],
            centred=True,
        )
        _write_image(path, crop.image[..., ::-1])
    (root / 'annotations' / f'{split}.json').write_text(
        json.dumps(
            dict(
                images=images,
                annotations=annotations,
                categories=[
                    dict(id=i + 1, name=name, supercategory='texture')
                    for i, name in enumerate(CLASSES)
                ],
            )
        )
    )


def _annotation(mask: np.ndarray) -> dict:
    rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    x, y = int(columns[0]), int(rows[0])
    return dict(
        bbox=[x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
        area=int(mask.sum()),
        iscrowd=0,
        segmentation=dict(size=list(rle['size']), counts=rle['counts'].decode()),
    )


def _write_image(path: Path, image: np.ndarray) -> None:
    if not cv2.imwrite(str(path), image):
        raise OSError(f'{path} cannot be written: is the disk full?')
