"""Crop the cars of Stanford Cars, resize them, and write lists of them."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
from mmengine.utils import track_iter_progress
from scipy.io import loadmat

from mmsr4ir.datasets.class_lists import split_samples
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.files import write_whole
from mmsr4ir.utils.images import ImageError, read_image

from .arguments import share
from .command import command

#: Width and height of the small images, in pixels.
SIZE = (160, 112)
_LABELS = 'devkit/cars_train_annos.mat'


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Make the set of the configs *_cars.py from the training half of '
        f'Stanford Cars: each car is cropped to its box and resized to {SIZE[0]} x '
        f'{SIZE[1]} pixels. OUT gets images/, and train.txt and val.txt with a file '
        'name and a class number (from 0) a line. The images are split class by class; '
        'the same seed gives the same split on any machine.'
    )
    parser.add_argument(
        'root', type=Path, help=f'folder with cars_train/ and {_LABELS}'
    )
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument(
        '--val-share',
        type=share,
        default=0.2,
        metavar='SHARE',
        help='share of each class for validation (default: %(default)s)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the split (default: 0)')
    return parser.parse_args(argv)


def read_labels(root: Path) -> list[tuple[str, int, tuple[int, int, int, int]]]:
    """Read name, class from 0 on, and box (left, top, right, bottom) of each image.

    Raises:
        DataError: If the file is missing or is not that of Stanford Cars; or if it
            lists an image twice or has a class below 1.
    """
    path = root / _LABELS
    if not path.is_file():
        raise DataError(f'{path} does not exist: unpack car_devkit.tgz in {root}')
    try:
        rows = loadmat(path, squeeze_me=True)['annotations']
        labels = [
            (
                Path(str(row['fname'])).name,
                int(row['class']) - 1,
                # Counted from 1, and with the last pixel.
                (
                    int(row['bbox_x1']) - 1,
                    int(row['bbox_y1']) - 1,
                    int(row['bbox_x2']),
                    int(row['bbox_y2']),
                ),
            )
            for row in rows
        ]
    except Exception as error:  # scipy raises nearly anything for a damaged file
        raise DataError(f'{path} is not that of Stanford Cars: {error}') from error
    times = Counter(name for name, *_ in labels)
    for name, label, _ in labels:
        if label < 0 or times[name] > 1:
            raise DataError(
                f'{path} is not that of Stanford Cars: {name} '
                + ('is listed twice' if label >= 0 else f'has the class {label + 1}')
            )
    return labels


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Write images and lists."""
    args = parse_args(argv)
    labels = read_labels(args.root)
    (args.out / 'images').mkdir(parents=True, exist_ok=True)
    for name, _, (left, top, right, bottom) in track_iter_progress(labels):
        path = args.root / 'cars_train' / name
        try:
            image = read_image(path.read_bytes())
        except (OSError, ImageError) as error:
            raise DataError(f'{path}: {error}') from error
        car = image[max(top, 0) : bottom, max(left, 0) : right, ::-1]  # BGR for OpenCV
        if not car.size:
            raise DataError(f'{path}: its box lies outside the image')
        small = cv2.resize(car, SIZE, interpolation=cv2.INTER_AREA)
        written, data = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, 95])
        assert written
        write_whole(args.out / 'images' / name, data.tobytes())
    samples = [(name, label) for name, label, _ in labels]
    parts = split_samples(samples, args.val_share, args.seed)
    for split, part in zip(('train', 'val'), parts, strict=True):
        lines = ''.join(f'{name} {label}\n' for name, label in part)
        write_whole(args.out / f'{split}.txt', lines)
    print(f'\n{args.out}: {len(parts[0])} images to train, {len(parts[1])} to validate')
