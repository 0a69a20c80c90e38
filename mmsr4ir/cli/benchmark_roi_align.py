"""Time RoIAlign in both directions: torchvision's kernel and sparse_roi_align."""

import argparse

import torch
from torch.utils.benchmark import Compare, Timer
from torchvision.ops import roi_align

from mmsr4ir.models.roi_align import sparse_roi_align

from .command import command

STRIDE = 4
#: Height and width of the features, and the longest side of a box, in cells.
CASES = {
    'published detector': (8, 10, 4),
    'COCO, small boxes': (200, 304, 28),
    'COCO, large boxes': (200, 304, 100),
}


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='Boxes are random, with 7 x 7 bins. A call is one '
        'way to the bins and back.',
    )
    parser.add_argument('--boxes', type=int, default=1024, metavar='N')
    parser.add_argument('--channels', type=int, default=256, metavar='N')
    parser.add_argument(
        '--sampling-ratio',
        type=int,
        default=0,
        metavar='N',
        help='samples along each '
        'side of a bin; 0 for about one a cell (default: %(default)s)',
    )
    parser.add_argument(
        '--seconds',
        type=float,
        default=5.0,
        metavar='S',
        help='least time for each measurement (default: %(default)s)',
    )
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu'
    )
    return parser.parse_args()


def both_ways(
    align, features: torch.Tensor, rois: torch.Tensor, ratio: int, towards: torch.Tensor
) -> torch.Tensor:
    """Run RoIAlign to the bins, laid out as a head takes them, and back.

    Args:
        align: :func:`torchvision.ops.roi_align`, or a function like it.
        features: (2, C, H, W), requires a gradient.
        rois: (K, 5), the index of the image and a box in pixels.
        ratio: Samples along each side of a bin; 0 for about one a cell.
        towards: (K, C * 49), the gradient of the bins.

    Returns:
        Tensor: (2, C, H, W), the gradient of the features.
    """
    bins = align(features, rois, (7, 7), 1 / STRIDE, ratio, True).flatten(1)
    return torch.autograd.grad(bins, features, towards)[0]


def draw(count: int, height: int, width: int, longest: int) -> torch.Tensor:
    """Draw random boxes of two images, (count, 5): the index, and pixels."""
    start = torch.rand(count, 2) * torch.tensor([width, height]) * 0.6
    extent = (0.2 + 0.8 * torch.rand(count, 2)) * longest
    index = torch.randint(2, (count, 1))
    return torch.cat([index, torch.cat([start, start + extent], 1) * STRIDE], 1)


@command
def main() -> None:
    """Time both kernels in all cases, and print a table."""
    args = parse_args()
    torch.manual_seed(0)
    found = []
    for name, (height, width, longest) in CASES.items():
        features = torch.randn(2, args.channels, height, width, device=args.device)
        rois = draw(args.boxes, height, width, longest).to(args.device)
        towards = torch.randn(args.boxes, args.channels * 49, device=args.device)
        for align in (roi_align, sparse_roi_align):
            found.append(
                Timer(
                    'both_ways(align, features, rois, ratio, towards)',
                    globals=dict(
                        both_ways=both_ways,
                        align=align,
                        rois=rois,
                        ratio=args.sampling_ratio,
                        towards=towards,
                        features=features.requires_grad_(),
                    ),
                    label=f'{args.boxes} boxes, {args.channels} channels on '
                    f'{args.device}',
                    sub_label=align.__name__,
                    description=name,
                    num_threads=torch.get_num_threads(),
                ).blocked_autorange(min_run_time=args.seconds)
            )
    Compare(found).print()
    for usual, sparse in zip(found[::2], found[1::2], strict=True):
        print(
            f'{sparse.description}: {usual.median / sparse.median:.1f} times as '
            'fast; interquartile ranges: '
            f'{usual.iqr * 1000:.1f} and {sparse.iqr * 1000:.1f} ms'
        )
