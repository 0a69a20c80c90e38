"""Check images in class folders, split them if need be, and write lists of them."""

import argparse
from pathlib import Path

from mmsr4ir.datasets.class_lists import (
    Samples,
    holds_lists,
    prepare_lists,
    split_samples,
)
from mmsr4ir.utils.errors import DataError

from .arguments import add_list_arguments, scanner, share
from .command import command

_SUFFIXES = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')
_EVALUATION = ('val', 'valid', 'validation', 'test')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Check images in class folders (ROOT/train/<class>/... and '
        'ROOT/val/<class>/..., or only ROOT/<class>/...) and write lists for '
        "mmpretrain's CustomDataset: OUT/<split>.txt with a path and a class number a "
        'line, and OUT/classes.txt. Without a val, valid, validation or test folder, '
        'the training images are split at random, class by class; the same seed gives '
        'the same split on any machine. No image is moved or copied. The settings for '
        'a config are shown at the end.',
        epilog='Classes are the folders of train, sorted. Exit code 1 if anything is '
        'wrong, as a class folder without an image.',
    )
    add_list_arguments(parser)
    parser.add_argument(
        '--val-share',
        type=share,
        default=0.2,
        metavar='SHARE',
        help='share of each class for validation, where there is no folder for it '
        '(default: %(default)s)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the split (default: 0)')
    return parser.parse_args()


def read_folders(
    root: Path, val_share: float, seed: int
) -> tuple[list[str], dict[str, Samples]]:
    """Read the class names and the samples of each split.

    Raises:
        DataError: If there is no class folder, an empty one, or one that train lacks.
    """
    if not root.is_dir():
        raise DataError(f'{root} is no folder: give the folder of the data set')
    train = root / 'train' if (root / 'train').is_dir() else root
    found = {'train': train}
    found |= {
        name: root / name
        for name in _EVALUATION
        if train != root and (root / name).is_dir()
    }
    classes = _class_folders(train)
    if not classes:
        raise DataError(
            f'{train} has no class folder: put the images of each class '
            'into a folder of its own'
        )
    splits = {}
    for name, folder in found.items():
        more = [one for one in _class_folders(folder) if one not in classes]
        if more:
            raise DataError(
                f'{folder} has the class folders {more}, which {train} '
                'lacks: the classes must be the same'
            )
        splits[name] = [
            (path.relative_to(root).as_posix(), label)
            for label, one in enumerate(classes)
            if (folder / one).is_dir()
            for path in _images(folder / one)
        ]
    if len(splits) == 1:
        splits['train'], splits['val'] = split_samples(splits['train'], val_share, seed)
    return classes, splits


def _class_folders(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith('.') and not holds_lists(path)
    )


def _images(folder: Path) -> list[Path]:
    images = sorted(
        path
        for path in folder.rglob('*')
        if path.suffix.lower() in _SUFFIXES and path.is_file()
    )
    if not images:
        raise DataError(
            f'class folder {folder} has no image ({", ".join(_SUFFIXES)}): '
            'add some or remove it'
        )
    return images


@command
def main() -> None:
    """Run the command line."""
    args = parse_args()
    classes, splits = read_folders(args.root, args.val_share, args.seed)
    out = args.out or args.root / 'meta'
    print(
        prepare_lists(args.root, out, classes, splits, scanner(args), args.skip_broken)
    )
