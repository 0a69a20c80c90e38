"""Convert a data set with VOC annotations to COCO JSON."""

import argparse
import json
from pathlib import Path

from mmengine.utils import ProgressBar

from mmsr4ir.datasets.voc import Converter, find_splits, read_classes
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.files import write_whole

from .coco_settings import coco_settings
from .command import command


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description='Convert VOC annotations to COCO JSON, one file for each split. '
        'Works on VOCdevkit/VOC2012 (Annotations, JPEGImages, ImageSets/Main) and on '
        'any folder whose XML files and images have the same names. Image paths are '
        'written relative to ROOT: use data_root=ROOT and data_prefix=dict(img="").',
        epilog='Boxes: VOC counts pixels from 1 and includes the last one, so '
        'x = xmin - 1 and width = xmax - xmin + 1; they are clipped to the image, and '
        'left out where no area remains. Objects marked difficult become iscrowd=1, '
        'which neither training nor the COCO metric counts (the metric overlooks the '
        'key "ignore" that some converters write). Exit code 1 on any error.',
    )
    parser.add_argument('root', type=Path, help='folder of the data set')
    parser.add_argument(
        '--out',
        type=Path,
        help='folder for <split>.json, or the path of one .json '
        'file where there is one split (default: ROOT/annotations)',
    )
    parser.add_argument(
        '--split',
        nargs='+',
        metavar='NAME',
        help='splits, by the files in ImageSets/Main or by the folders in ROOT '
        '(default: every one found; "all" where there is none)',
    )
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='classes in their order, or one text file with a name a line (default: '
        'all that the annotations have, sorted)',
    )
    parser.add_argument(
        '--ann-dir',
        metavar='DIR',
        help='folder of the XML files, from ROOT or absolute',
    )
    parser.add_argument(
        '--image-dir', metavar='DIR', help='folder of the images, within ROOT'
    )
    parser.add_argument(
        '--ignore-unknown',
        action='store_true',
        help='leave out objects of classes that --classes does not name',
    )
    parser.add_argument(
        '--keep-difficult',
        action='store_true',
        help='take difficult objects for '
        'objects like all others, as the published SR4IR experiments do',
    )
    return parser.parse_args()


@command
def main() -> None:
    """Convert all splits, and print the settings for a config."""
    args = parse_args()
    out = args.out or args.root / 'annotations'
    splits = find_splits(args.root, args.split, args.ann_dir)
    single = out.suffix == '.json'
    if single and len(splits) > 1:
        raise DataError(
            f'--out {out} is one file for the splits {list(splits)}: '
            'give a folder, or one --split'
        )
    classes = read_classes(args.classes, [f for s in splits.values() for f in s])
    converter = Converter(
        args.root, classes, args.image_dir, args.ignore_unknown, args.keep_difficult
    )
    bar = ProgressBar(sum(map(len, splits.values())))
    try:
        made = {
            name: converter.convert(files, bar.update) for name, files in splits.items()
        }
    finally:
        print()  # after the bar
    for name, coco in made.items():
        path = out if single else out / f'{name}.json'
        write_whole(path, json.dumps(coco))
        print(
            f'{path}: {len(coco["images"])} images, {len(coco["annotations"])} objects'
        )
    names = sorted(made, key=lambda name: name != 'train')
    print(
        coco_settings(
            [out if single else out / f'{name}.json' for name in names],
            args.root,
            classes,
        )
    )
    for note, count in converter.notes.items():
        print(f'{count} {note}; first in {converter.first_met[note]}')
