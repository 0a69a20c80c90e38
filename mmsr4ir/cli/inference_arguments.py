"""The options that the command lines in ``demo/`` share."""

import argparse
import sys

from mmsr4ir.apis.inferencer import MAX_TASK_PIXELS, SR4IRInferencer
from mmsr4ir.models.prediction.lr_input import LRInput
from mmsr4ir.utils.images import MAX_PIXELS

from .arguments import positive


def add_model_arguments(
    parser: argparse.ArgumentParser, max_pixels: int, max_task_pixels: int
) -> None:
    """Add the options that choose the networks and limit the size of images."""
    parser.add_argument(
        'model',
        help='work directory of a training (its best or else last checkpoint '
        'is taken, with the config of the training), or a config file',
    )
    parser.add_argument('--weights', metavar='FILE', help='checkpoint file')
    parser.add_argument(
        '--device', help='such as cpu or cuda:0 (default: a GPU, if there is one)'
    )
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        metavar='S',
        help='boxes below are not drawn (default: %(default)s)',
    )
    parser.add_argument(
        '--max-pixels',
        type=int,
        default=max_pixels,
        metavar='N',
        help='refuse images with more (default: %(default)s)',
    )
    parser.add_argument(
        '--max-task-pixels',
        type=int,
        default=max_task_pixels,
        metavar='N',
        help='refuse to recognise in restored images with more (default: %(default)s)',
    )


def add_inference_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the networks and how they run."""
    add_model_arguments(parser, MAX_PIXELS, MAX_TASK_PIXELS)
    parser.add_argument(
        '--batch-size',
        type=positive,
        default=1,
        metavar='N',
        help='images at once (default: %(default)s)',
    )
    parser.add_argument(
        '--tile',
        type=int,
        default=256,
        metavar='PIXELS',
        help='largest edge that is '
        'restored at once; 0: the whole image (default: %(default)s)',
    )
    parser.add_argument(
        '--overlap',
        type=int,
        default=32,
        metavar='PIXELS',
        help='what a tile sees of its neighbours (default: %(default)s)',
    )
    parser.add_argument(
        '--restore-only', action='store_true', help='leave the recognition out'
    )


def build_inferencer(args: argparse.Namespace, **options) -> SR4IRInferencer:
    """Build the inferencer that the options of a command line choose.

    Ends the process with a message if the model cannot be used.
    """
    try:
        return SR4IRInferencer(
            args.model,
            args.weights,
            args.device,
            max_pixels=args.max_pixels,
            max_task_pixels=args.max_task_pixels,
            **options,
        )
    except (ValueError, RuntimeError) as error:  # torch raises the latter for a device
        sys.exit(f'error: {error}')


def start_inference(args: argparse.Namespace) -> tuple[SR4IRInferencer, dict]:
    """Build the inferencer, and the options of its calls.

    Ends the process with a message if an option or the model cannot be used.
    """
    options = dict(tile=args.tile or None, overlap=args.overlap)
    try:
        LRInput(**options)
    except ValueError as error:
        sys.exit(f'error: {error}')
    return build_inferencer(args), options | dict(
        batch_size=args.batch_size,
        restore_only=args.restore_only,
        score_thr=args.score_thr,
    )


def tell_failures(failures: dict[str, str]) -> None:
    """List the unusable inputs and exit with code 1; return if there is none."""
    if failures:
        sys.exit(
            '\n'.join(
                [
                    f'error: {len(failures)} could not be used:',
                    *(f'  {origin} {reason}' for origin, reason in failures.items()),
                ]
            )
        )
