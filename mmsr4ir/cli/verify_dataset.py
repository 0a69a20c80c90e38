"""Check all data of a config, a COCO JSON or class folders, and list what is wrong."""

import argparse
import os
import sys
from pathlib import Path

from mmengine.config import Config

from mmsr4ir.compat.mmengine_parts import set_classes
from mmsr4ir.datasets.checks.reports import reports
from mmsr4ir.datasets.checks.sets import SPLITS, parts
from mmsr4ir.datasets.class_lists import holds_lists
from mmsr4ir.datasets.move_resize import move_resize
from mmsr4ir.engine.zoo_checks import check_packages
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.errors import DataError
from mmsr4ir.utils.files import write_json

from .arguments import add_config_options, add_workers, new_file, scanner
from .command import command

_SHOWN = 20


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Look at all data of a config and report: images that are missing, '
        'truncated or unreadable; empty boxes and boxes that reach out of the image; '
        'labels and map values out of range; maps of another size than their image; '
        'classes that never occur; and the counts of each class. What the loader '
        'changes (16 bits, CMYK, transparency, EXIF) is noted.',
        epilog='The exit code is 0 if there is no problem (notes do not count), 1 if '
        'there is a problem or the data cannot be read, 2 for wrong options.',
    )
    parser.add_argument(
        'target',
        help='config (.py), COCO annotations (.json, with --images) or a '
        'folder of class folders',
    )
    parser.add_argument(
        '--split',
        nargs='+',
        choices=SPLITS,
        help='dataloaders of the config (default: all that it has)',
    )
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='for a JSON: folder that its file names start from',
    )
    parser.add_argument(
        '--out',
        type=new_file,
        metavar='FILE.json',
        help='write counts, all problems and all notes to a file',
    )
    add_config_options(parser)
    add_workers(parser)
    args = parser.parse_args()
    if args.target.endswith('.json') != (args.images is not None):
        parser.error('--images goes with a .json, and a .json needs it')
    if not args.target.endswith('.py') and (args.split or args.cfg_options):
        parser.error('--split and --cfg-options are for a config')
    return args


def plain_config(target: str, images: str | None) -> Config:
    """Return a config whose validation reads a JSON or class folders."""
    if images is not None:
        from mmdet.datasets import CocoDataset

        class OwnClasses(CocoDataset):
            METAINFO: dict = {}

        dataset = dict(type=OwnClasses, ann_file=target, data_prefix=dict(img=images))
    else:
        from mmpretrain.datasets.custom import CustomDataset, find_folders, get_samples

        class ClassFolders(CustomDataset):
            """Class folders without the lists of prepare_image_folder.py."""

            def load_data_list(self) -> list[dict]:
                names = [
                    name
                    for name in find_folders(self.img_prefix)[0]
                    if not holds_lists(Path(self.img_prefix, name))
                ]
                set_classes(self, names)
                numbers = {name: i for i, name in enumerate(names)}
                samples, _ = get_samples(self.img_prefix, numbers, self.is_valid_file)
                return [
                    dict(img_path=os.path.join(self.img_prefix, path), gt_label=number)
                    for path, number in samples
                ]

        dataset = dict(type=ClassFolders, data_prefix=target)
    return Config(dict(val_dataloader=dict(dataset=dataset)))


def chosen_splits(cfg: Config, wanted: list[str] | None) -> list[str]:
    """Return the splits to look at; name those that read the data of another.

    Raises:
        DataError: If a split that was asked for is not there, or none is.
    """
    there = list(parts(cfg, wanted or SPLITS))
    for split in wanted or ():
        if split not in {part.split for part in there}:
            raise DataError(f'the config has no {split}_dataloader with a dataset')
    if not there:
        raise DataError('the config has no dataloader with a dataset')
    for part in there:
        if part.same:
            print(f'{part.name}: the same data as {part.same}')
    return [split for split in SPLITS if split in {part.split for part in there}]


def _parts_of(cfg: Config, split: str) -> list:
    return [cfg.get(f'{split}_{part}') for part in ('dataloader', 'evaluator')]


@command
def main() -> None:
    """Run the command line."""
    args = parse_args()
    if not os.path.exists(args.target) and '://' not in args.target:
        raise DataError(f'{args.target} does not exist')
    if args.target.endswith('.py'):
        cfg = read_config(args.target, args.cfg_options)
        move_resize(cfg)  # as the Runner does
    else:
        cfg = plain_config(args.target, args.images)
    splits = chosen_splits(cfg, args.split)
    # Data can be looked at without the packages of networks and of other splits.
    check_packages({split: _parts_of(cfg, split) for split in splits})
    found = list(reports(cfg, splits, scanner(args)))
    if args.out:
        write_json(args.out, {report.name: report.as_dict() for report in found})
    for report in found:
        print(f'\n{report.name}', *report.lines(), sep='\n')
    problems = [
        (report.name, one)
        for report in found
        for one in report.found('error', 'warning')
    ]
    print(f'\n{len(problems)} problems')
    for name, one in problems[:_SHOWN]:
        print(f'  {name}: {one.severity}: {one}')
    if len(problems) > _SHOWN:
        print(
            f'  and {len(problems) - _SHOWN} more'
            + (f', in {args.out}' if args.out else ': give --out for all')
        )
    sys.exit(bool(problems))
