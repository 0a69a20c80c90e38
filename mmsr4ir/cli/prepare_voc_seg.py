"""Check PASCAL VOC 2012 for segmentation; mmsegmentation reads it as it stands."""

import argparse
import sys
from pathlib import Path

from mmengine.utils import ProgressBar

from mmsr4ir.datasets.checks.labels import check_occurrence
from mmsr4ir.datasets.checks.maps import MapRule, check_maps
from mmsr4ir.datasets.checks.problem import Report
from mmsr4ir.datasets.class_lists import check_splits, describe
from mmsr4ir.utils.errors import DataError

from .arguments import add_workers
from .command import command

CLASSES = (
    'background',
    'aeroplane',
    'bicycle',
    'bird',
    'boat',
    'bottle',
    'bus',
    'car',
    'cat',
    'chair',
    'cow',
    'diningtable',
    'dog',
    'horse',
    'motorbike',
    'person',
    'pottedplant',
    'sheep',
    'sofa',
    'train',
    'tvmonitor',
)
_LISTS = 'ImageSets/Segmentation'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Check VOCdevkit/VOC2012 for segmentation: every image and map '
        'that the lists name is there and whole, both have the same size, and the maps '
        'have only 0 to 20 and 255 (not counted). Nothing is written: mmsegmentation '
        'reads the folder as it stands, and the settings for it are shown at the end.',
        epilog='These are the 1,464 training images of VOC itself. For the 10,582 with '
        "the SBD maps, see mmsegmentation's tools/dataset_converters/voc_aug.py. For "
        'detection, see voc2coco.py. Exit code 1 if anything is wrong.',
    )
    parser.add_argument('root', type=Path, help='folder VOC2012')
    parser.add_argument(
        '--split',
        nargs='+',
        default=['train', 'val'],
        metavar='NAME',
        help=f'lists in {_LISTS} (default: train val)',
    )
    add_workers(parser)
    return parser.parse_args()


def read_list(root: Path, split: str) -> list[tuple[str, str]]:
    """Read the image and map of each name in a list.

    Raises:
        DataError: If there is no such list.
    """
    path = root / _LISTS / f'{split}.txt'
    if not path.is_file():
        found = sorted(one.stem for one in path.parent.glob('*.txt'))
        raise DataError(
            f'{path} does not exist; lists there: {found}. Give the folder that has '
            'JPEGImages, SegmentationClass and ImageSets, and a split of these'
        )
    names = [line.strip() for line in path.read_text(encoding='utf-8').splitlines()]
    for name in names:
        if Path(name).name != name:
            raise DataError(
                f'{path}: {name!r} is a path and not the name of an image: '
                'unpack the archive again'
            )
    return [
        (
            str(root / 'JPEGImages' / f'{name}.jpg'),
            str(root / 'SegmentationClass' / f'{name}.png'),
        )
        for name in names
        if name
    ]


def settings(root: Path, splits: list[str]) -> str:
    """Return what a config needs."""
    lines = [
        'For the config:',
        f'model = dict(num_classes={len(CLASSES)})',
        f"dataset = dict(_delete_=True, type='PascalVOCDataset', data_root='{root}',",
        "               data_prefix=dict(img_path='JPEGImages', "
        "seg_map_path='SegmentationClass'))",
    ]
    for loader, split in (('train', splits[0]), ('val', splits[-1])):
        pipeline = f'{"train" if loader == "train" else "test"}_pipeline'
        lines.append(
            f"{loader}_dataloader = dict(dataset=dict(ann_file='{_LISTS}/"
            f"{split}.txt', pipeline={pipeline}, **dataset))"
        )
    return '\n'.join([*lines, 'test_dataloader = val_dataloader'])


@command
def main() -> None:
    """Run the command line."""
    args = parse_args()
    try:
        splits = {name: read_list(args.root, name) for name in args.split}
        if 'trainval' not in splits:
            check_splits(splits)
        bar = ProgressBar(sum(map(len, splits.values())))
        reports = []
        for name, samples in splits.items():
            reports.append(Report(name, classes=CLASSES))
            check_maps(reports[-1], samples, MapRule(), True, args.workers, bar.update)
            check_occurrence(reports[-1])
        print()
        problems = [
            one for report in reports for one in report.found('error', 'warning')
        ]
        if problems:
            raise DataError(describe(problems, 'unpack the archive again'))
    except (DataError, OSError, UnicodeDecodeError) as error:
        sys.exit(f'\nerror: {error}')
    for report in reports:
        print(
            f'{report.name}: {len(splits[report.name])} images',
            *report.lines(),
            '',
            sep='\n',
        )
    print(settings(args.root, args.split))
