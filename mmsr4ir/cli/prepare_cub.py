"""Check CUB-200-2011 and write its lists of images and classes."""
import argparse
import re
import sys
from pathlib import Path

from mmengine.utils import ProgressBar

from mmsr4ir.datasets.checks.before_run import DataError
from mmsr4ir.datasets.class_lists import Samples, prepare_lists

from .arguments import add_list_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Check CUB_200_2011 (images, images.txt, image_class_labels.txt, '
        'train_test_split.txt, classes.txt) and write its lists for mmpretrain\'s '
        'CustomDataset: OUT/train.txt and OUT/test.txt with a path and a class number '
        'a line, and OUT/classes.txt. No image is moved or copied. The settings for a '
        'config are shown at the end.',
        epilog='Classes are numbered as in classes.txt, from 0, without the number in '
        'their name. Exit code 1 if anything is wrong.')
    add_list_arguments(parser)
    return parser.parse_args()


def is_number(text: str) -> bool:
    """Whether it is a whole number, and no longer than one can be."""
    return text.isdecimal() and len(text) < 19


def read_table(path: Path) -> dict[int, str]:
    """A file of CUB: {number: what follows it}; DataError if it is none."""
    if not path.is_file():
        raise DataError(f'{path} does not exist: give the folder CUB_200_2011, with '
                        'all of its text files')
    found = {}
    for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
        parts = line.split(maxsplit=1)
        if not parts:
            continue
        if len(parts) < 2 or not is_number(parts[0]) or int(parts[0]) in found:
            raise DataError(f'{path}, line {number}: {line!r} is not a new number and '
                            'a value: unpack the archive again')
        found[int(parts[0])] = parts[1].strip()
    if not found:
        raise DataError(f'{path} is empty: unpack the archive again')
    return found


def read_cub(root: Path) -> tuple[list[str], dict[str, Samples]]:
    """The class names and the samples of train and test.

    Raises:
        DataError: A file is missing or has other images than the next one.
    """
    images, labels, split, classes = (
        read_table(root / f'{name}.txt') for name in
        ('images', 'image_class_labels', 'train_test_split', 'classes'))
    for name, table in (('image_class_labels', labels), ('train_test_split', split)):
        if table.keys() != images.keys():
            odd = sorted(table.keys() ^ images.keys())
            raise DataError(f'{root / name}.txt and images.txt differ in {len(odd)} '
                            f'image numbers, as in {odd[:5]}: unpack the archive again')
    if sorted(classes) != list(range(1, len(classes) + 1)):
        raise DataError(f'{root}/classes.txt is not numbered from 1 without a gap')
    samples = dict(train=[], test=[])
    for number, path in images.items():
        if split[number] not in ('0', '1') or not is_number(labels[number]):
            raise DataError(
                f'image {number}: train_test_split.txt has {split[number]!r} (not 0 or '
                f'1) or image_class_labels.txt {labels[number]!r} (no number)')
        side = 'train' if split[number] == '1' else 'test'
        samples[side].append((f'images/{path}', int(labels[number]) - 1))
    names = [re.sub(r'^\d+\.', '', classes[key]) for key in sorted(classes)]
    return names, samples


def main() -> None:
    args = parse_args()
    try:
        classes, splits = read_cub(args.root)
        bar = ProgressBar(sum(map(len, splits.values())))
        print('\n' + prepare_lists(
            args.root, args.out or args.root / 'meta', classes, splits, args.workers,
            args.skip_broken, bar.update))
    except (DataError, OSError, UnicodeDecodeError) as error:
        sys.exit(f'\nerror: {error}')


if __name__ == '__main__':
    main()
