"""Check a COCO-style set and split it into training and validation if wanted."""

import argparse
import json
from pathlib import Path

from mmsr4ir.datasets.checks.coco import CocoRule, check_coco, read_coco
from mmsr4ir.datasets.checks.labels import check_occurrence
from mmsr4ir.datasets.checks.problem import Report
from mmsr4ir.datasets.class_lists import describe, split_names
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.files import write_whole

from .arguments import add_check_arguments, scanner, share
from .coco_settings import coco_settings
from .command import command


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Check a COCO JSON and its images: every image is there, whole and '
        'of the size that the file says; every box has an area and lies within its '
        'image; every id is known and there once. With --val-share, write '
        'OUT/train.json and OUT/val.json, split by image; with --skip-broken alone, '
        'OUT/clean.json. Categories, also those without an object in one of the '
        'files, stay as they are. The settings for a config are shown at the end.',
        epilog='The same seed gives the same split on any machine. Annotations are '
        'numbered anew. Exit code 1 if anything is wrong.',
    )
    parser.add_argument('annotations', type=Path, help='COCO JSON')
    parser.add_argument(
        '--images',
        type=Path,
        required=True,
        metavar='DIR',
        help='folder that the file names in the JSON start from',
    )
    parser.add_argument(
        '--val-share',
        type=share,
        metavar='SHARE',
        help='share of the images for validation (default: no split)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the split (default: 0)')
    parser.add_argument(
        '--out',
        type=Path,
        metavar='DIR',
        help='folder for new files (default: that of the JSON)',
    )
    parser.add_argument(
        '--overwrite',
        action='store_true',
        help='replace files that are there with other content',
    )
    add_check_arguments(parser)
    return parser.parse_args()


def split_coco(content: dict, val_share: float, seed: int) -> dict[str, dict]:
    """Split a COCO dict by image; all but images and annotations stays.

    Raises:
        DataError: If there are less than two images.
    """
    names = [image['file_name'] for image in content['images']]
    if len(set(names)) < 2:
        raise DataError(f'{len(set(names))} images cannot be split')
    chosen = split_names(sorted(set(names)), val_share, seed)
    sides = {}
    for side in ('train', 'val'):
        images = [
            one
            for one in content['images']
            if (one['file_name'] in chosen) == (side == 'val')
        ]
        ids = {one['id'] for one in images}
        sides[side] = dict(
            content,
            images=images,
            annotations=[
                one for one in content['annotations'] if one['image_id'] in ids
            ],
        )
    return sides


@command
def main() -> None:
    """Run the command line."""
    args = parse_args()
    out = args.out or args.annotations.parent
    content = read_coco(str(args.annotations))
    report = Report(args.annotations.stem)
    clean = check_coco(
        report,
        str(args.annotations),
        content,
        str(args.images),
        CocoRule(str(args.annotations)),
        scanner(args),
    )
    check_occurrence(report)
    problems = report.found('error', 'warning')
    if problems and not args.skip_broken:
        raise DataError(describe(problems, 'correct them, or give --skip-broken'))
    if not clean['images']:
        raise DataError('no image is left')
    new = (
        split_coco(clean, args.val_share, args.seed)
        if args.val_share
        else (dict(clean=clean) if args.skip_broken else {})
    )
    files = {name: out / f'{name}.json' for name in new}
    texts = {}
    for name, path in files.items():
        new[name]['annotations'] = [
            dict(one, id=i) for i, one in enumerate(new[name]['annotations'], 1)
        ]
        texts[path] = json.dumps(new[name])
        if not path.exists():
            continue
        if path.samefile(args.annotations):
            raise DataError(f'{path} is the file to read: give another --out')
        if path.read_text() != texts[path] and not args.overwrite:
            raise DataError(
                f'{path} is there already, with other content: give '
                'another --out or --overwrite'
            )
    for name, path in files.items():
        print(
            f'{path}: {len(new[name]["images"])} images, '
            f'{len(new[name]["annotations"])} objects'
        )
        write_whole(path, texts[path])
    left = [len(content[key]) - len(clean[key]) for key in ('images', 'annotations')]
    print(
        '{} images and {} objects left out'.format(*left) * any(left),
        *report.lines(),
        '',
        coco_settings(
            list(files.values()) or [args.annotations], args.images, report.classes
        ),
        sep='\n',
    )
