"""Make the embedded data set (see mmsr4ir/datasets/textured_shapes.py)."""
import argparse
import sys

from mmengine.utils import ProgressBar

from mmsr4ir.datasets.textured_shapes import write_dataset


def main() -> None:
    parser = argparse.ArgumentParser(
        description='Make the embedded data set of textured shapes: COCO boxes and '
        'masks, semantic maps and class folders. The same settings give the same '
        'files.')
    parser.add_argument('--out', default='data/textured_shapes', help='folder')
    parser.add_argument('--num-train', type=int, default=240, help='training images')
    parser.add_argument('--num-val', type=int, default=60, help='validation images')
    parser.add_argument('--size', type=int, default=128, help='pixels a side')
    parser.add_argument('--seed', type=int, default=0, help='another seed, other images')
    args = parser.parse_args()
    if min(args.num_train, args.num_val) < 4 or args.size < 64:
        parser.error('at least 4 images a split and 64 pixels a side are needed')
    bar = ProgressBar(args.num_train + args.num_val)
    try:
        written = write_dataset(
            args.out, args.num_train, args.num_val, args.size, args.seed, bar.update)
    except ValueError as error:
        sys.exit(f'\nerror: {error}')
    print(f'\n{args.out} ' + ('written' if written else 'is there already'))


if __name__ == '__main__':
    main()
