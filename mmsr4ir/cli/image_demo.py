"""Restore small, blurred or compressed images and recognise what is in them."""

import argparse

from .command import command
from .inference_arguments import add_inference_arguments, start_inference, tell_failures


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__ + ' Images are taken as low-resolution as they are.',
        epilog='The exit code is 1 if any input could not be used. The tool processes '
        'all other inputs, and lists the unusable ones with the reason at the end.',
    )
    add_inference_arguments(parser)
    parser.add_argument(
        'inputs',
        nargs='+',
        help='files, folders, videos, patterns in quotes such as '
        '"photos/**/*.jpg", or http(s) addresses',
    )
    parser.add_argument(
        '--out-dir',
        default='inference_output',
        metavar='FOLDER',
        help='for preds/ (JSON), restored/ and vis/ (default: %(default)s)',
    )
    parser.add_argument(
        '--coordinates',
        choices=('lr', 'sr'),
        default='lr',
        help='pixels in which '
        'predictions are written: of the given or the restored image '
        '(default: %(default)s)',
    )
    return parser.parse_args()


@command
def main() -> None:
    """Restore and recognise all inputs."""
    args = parse_args()
    inferencer, options = start_inference(args)
    done, failures = 0, {}
    try:
        for result in inferencer.stream(
            args.inputs, coordinates=args.coordinates, out_dir=args.out_dir, **options
        ):
            if result.error is None:
                done += 1
            else:
                failures[result.origin] = result.error
    except OSError as error:  # of a folder or a disk; those of inputs are in failures
        failures[args.out_dir] = f'and all that was left: {error}'
    print(f'{done} images are in {args.out_dir}')
    tell_failures(failures)
