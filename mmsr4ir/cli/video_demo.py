"""Restore a video and draw into it what is recognised, at the same frame rate."""

import argparse
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event

import cv2
import numpy as np

from mmsr4ir.apis.inputs import live_source
from mmsr4ir.apis.videos import frame_rate, is_live
from mmsr4ir.utils.files import whole_file
from mmsr4ir.utils.images import ImageError

from .command import command
from .inference_arguments import add_inference_arguments, start_inference, tell_failures

_CODECS = {'.mp4': 'mp4v', '.avi': 'MJPG'}


def parse_args() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__ + ' Frames are taken as low-resolution as they are; sound '
        'is not copied.',
        epilog='Exit code 1 if a file ends before its stated length; what could be '
        'read of it is written all the same. Ctrl-C ends a camera or a stream, and the '
        'frames until then are written.',
    )
    add_inference_arguments(parser)
    parser.add_argument(
        'video',
        help='video file, number of a camera (0, 1, ...), or address of a stream '
        '(rtsp://, http:// and others)',
    )
    parser.add_argument(
        '--out',
        type=Path,
        required=True,
        metavar='FILE',
        help=f'video file to write, {" or ".join(_CODECS)}',
    )
    args = parser.parse_args()
    if args.out.suffix not in _CODECS:
        parser.error(f'--out {args.out}: it must end in {" or ".join(_CODECS)}')
    return args


def write_video(path: Path, fps: float, frames: Iterable[np.ndarray]) -> int:
    """Write frames (height, width, 3), RGB, uint8, of one size; return their number.

    Raises:
        OSError: If OpenCV has no encoder for this kind of file or size.
    """
    writer, count = None, 0
    for frame in frames:
        if writer is None:
            codec = cv2.VideoWriter.fourcc(*_CODECS[path.suffix])
            writer = cv2.VideoWriter(str(path), codec, fps, frame.shape[1::-1])
            if not writer.isOpened():
                raise OSError(
                    f'OpenCV cannot write {path} of {frame.shape[1]} x '
                    f'{frame.shape[0]} pixels'
                )
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
        count += 1
    if writer is not None:
        writer.release()
    return count


def stop_at_ctrl_c() -> Event:
    """Return an event that the first Ctrl-C sets; a second one interrupts as usual."""
    stopped = Event()

    def stop(*_) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, usual)

    usual = signal.signal(signal.SIGINT, stop)
    return stopped


@command
def main() -> None:
    """Restore the video frame by frame."""
    args = parse_args()
    try:
        fps = frame_rate(args.video)
    except ImageError as error:
        sys.exit(f'error: {args.video} {error}')
    inferencer, options = start_inference(args)
    video, stopped, failures = args.video, Event(), {}
    if is_live(args.video):
        video, stopped = live_source(args.video, args.max_pixels), stop_at_ctrl_c()

    def frames() -> Iterator[np.ndarray]:
        for result in inferencer.stream(video, **options):
            picture = result.restored if result.picture is None else result.picture
            if picture is not None:
                yield picture
            elif result.error is not None:
                failures[result.origin] = result.error
            if stopped.is_set():
                break

    with whole_file(args.out) as unfinished:
        count = write_video(unfinished, fps, frames())
        if not count:
            tell_failures(failures)
    print(f'{count} frames at {fps:g} a second are in {args.out}')
    tell_failures(failures)
