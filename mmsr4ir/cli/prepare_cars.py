"""Check Stanford Cars and write its lists of images and classes."""
import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.utils import ProgressBar
from scipy.io import loadmat

from mmsr4ir.datasets.checks.before_run import DataError
from mmsr4ir.datasets.class_lists import Samples, prepare_lists

from .arguments import add_list_arguments


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Check Stanford Cars, in either of its layouts (car_ims and '
        'cars_annos.mat; or cars_train, cars_test and devkit), and write its lists for '
        'mmpretrain\'s CustomDataset: OUT/train.txt and OUT/test.txt with a path and a '
        'class number a line, and OUT/classes.txt. No image is moved or copied. The '
        'settings for a config are shown at the end.',
        epilog='The second layout needs devkit/cars_meta.mat and devkit/cars_test_'
        'annos_withlabels.mat (also looked for in ROOT): the cars_test_annos.mat of '
        'the devkit has no classes. For class folders, see prepare_image_folder.py. '
        'Exit code 1 if anything is wrong.')
    add_list_arguments(parser)
    return parser.parse_args()


def read_mat(path: Path) -> dict:
    """The variables of a MATLAB file; DataError if it is none.

    It is read in a process of its own, because scipy's reader can crash on a damaged
    file (seen with 1.15: a segmentation fault).
    """
    if not path.is_file():
        raise DataError(f'{path} does not exist: add it')
    try:
        with ProcessPoolExecutor(1) as reader:
            return reader.submit(
                loadmat, path, squeeze_me=True, appendmat=False).result()
    except Exception as error:  # scipy raises nearly anything on a damaged file
        raise DataError(f'{path} is no whole MATLAB file up to version 7 ({error}): '
                        'fetch it again') from error


def read_fields(path: Path, *names: str) -> list[list]:
    """Columns of the struct array ``annotations``; DataError if one is missing."""
    annotations = read_mat(path).get('annotations')
    has = getattr(getattr(annotations, 'dtype', None), 'names', None) or ()
    absent = [name for name in names if name not in has]
    if absent:
        raise DataError(f'{path}: annotations has no {", ".join(absent)}'
                        + (': this is the file without classes, take '
                           'cars_test_annos_withlabels.mat' if absent == ['class']
                           else ': fetch it again'))
    columns = [np.atleast_1d(annotations[name]).tolist() for name in names]
    if len(set(map(len, columns))) > 1:  # of a single image, with several values
        raise DataError(f'{path}: annotations is damaged: fetch it again')
    return columns


def as_sample(path: Path, image: object, label: object, folder: str = ''
              ) -> tuple[str, int]:
    """An image and its class number from 0; DataError if they are something else."""
    try:
        number = int(label)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f'{path}: the class of {image!r} is {label!r} and no number: '
                        'fetch it again') from error
    if not isinstance(image, str):
        raise DataError(f'{path}: {image!r} is no path of an image: fetch it again')
    return folder + image, number - 1


def read_names(path: Path) -> list[str]:
    """The variable ``class_names``; DataError if it is missing."""
    content = read_mat(path)
    if 'class_names' not in content:
        raise DataError(f'{path} has no class_names: fetch it again')
    return [str(name) for name in np.atleast_1d(content['class_names'])]


def read_cars(root: Path) -> tuple[list[str], dict[str, Samples]]:
    """The class names and the samples of train and test.

    Raises:
        DataError: It is neither layout, or a file is missing or damaged.
    """
    single = root / 'cars_annos.mat'
    if single.is_file():
        paths, labels, test = read_fields(single, 'relative_im_path', 'class', 'test')
        samples = dict(train=[], test=[])
        for path, label, flag in zip(paths, labels, test, strict=True):
            if not isinstance(flag, int):
                raise DataError(f'{single}: test of {path!r} is {flag!r}, not 0 or 1: '
                                'fetch it again')
            samples['test' if flag else 'train'].append(as_sample(single, path, label))
        return read_names(single), samples
    if not (root / 'cars_train').is_dir():
        raise DataError(f'{root} has neither cars_annos.mat nor cars_train: give the '
                        'folder of Stanford Cars')
    samples = {}
    for split, name in (('train', 'cars_train_annos.mat'),
                        ('test', 'cars_test_annos_withlabels.mat')):
        path = _find(root, name)
        samples[split] = [
            as_sample(path, one, label, f'cars_{split}/')
            for one, label in zip(*read_fields(path, 'fname', 'class'), strict=True)]
    return read_names(_find(root, 'cars_meta.mat')), samples


def _find(root: Path, name: str) -> Path:
    """In devkit, where the archives put it, or in the root."""
    return root / name if (root / name).is_file() else root / 'devkit' / name


def main() -> None:
    args = parse_args()
    try:
        classes, splits = read_cars(args.root)
        bar = ProgressBar(sum(map(len, splits.values())))
        print('\n' + prepare_lists(
            args.root, args.out or args.root / 'meta', classes, splits, args.workers,
            args.skip_broken, bar.update))
    except (DataError, OSError) as error:
        sys.exit(f'\nerror: {error}')


if __name__ == '__main__':
    main()
