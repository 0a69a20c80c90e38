"""Frames of video files, of cameras and of streams, read one after the other."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import mmcv
import numpy as np
from cv2.utils import logging as cv2_logging

from mmsr4ir.utils.images import MAX_PIXELS, ImageError, check_array, check_pixels

#: Milliseconds without an answer after which a stream is given up.
STREAM_TIMEOUT = 10_000
# Frames a second of a camera that states no rate.
_USUAL_RATE = 25.0


def is_live(text: str) -> bool:
    """Return whether a text names a camera (``'0'``) or a stream (an address)."""
    return text.isdecimal() or '://' in text


def read_video(path: str, max_pixels: int = MAX_PIXELS) -> Iterator[np.ndarray]:
    """Yield the frames of a video file, (height, width, 3), RGB, uint8.

    Raises:
        ImageError: If the video cannot be opened, has larger frames than
            ``max_pixels``, or ends before the length that it states.
    """
    count = 0
    with open_video(path) as video:
        check_pixels(video.width, video.height, max_pixels)
        for frame in video:
            count += 1
            yield check_array(np.ascontiguousarray(frame[..., ::-1]), max_pixels)
    if count < video.frame_cnt or not count:
        raise ImageError(f'ends after {count} of {video.frame_cnt} frames')


def open_video(path: str) -> mmcv.VideoReader:
    """Open a video file.

    Raises:
        ImageError: If the file is missing, truncated or no video.
    """
    if not os.path.isfile(path):
        raise ImageError('is missing')
    video = mmcv.VideoReader(path, cache_capacity=1)
    if not video.opened:
        raise ImageError('is truncated or no video')
    return video


def read_live(name: str, max_pixels: int = MAX_PIXELS) -> Iterator[np.ndarray]:
    """Yield the frames of a camera or stream, (height, width, 3), RGB, uint8.

    A stream ends when it gives no more frames; its length is not known before.

    Args:
        name: See :func:`open_live`.
        max_pixels: A frame with more is refused.

    Raises:
        ImageError: If it cannot be opened, gives no frame, or larger ones.
    """
    count = 0
    with open_live(name) as capture:
        while True:
            there, frame = capture.read()
            if not there:
                break
            count += 1
            yield check_array(np.ascontiguousarray(frame[..., ::-1]), max_pixels)
    if not count:
        raise ImageError('gives no frame')


@contextmanager
def open_live(name: str) -> Iterator[cv2.VideoCapture]:
    """Open a camera or a stream, and close it at the end of the block.

    Args:
        name: The number of a camera, or an address that OpenCV's FFmpeg reads
            (``rtsp://``, ``http://``, ``file://`` and others).

    Raises:
        ImageError: If there is no such camera, or the address does not answer within
            :data:`STREAM_TIMEOUT`.
    """
    level = cv2_logging.getLogLevel()
    cv2_logging.setLogLevel(cv2_logging.LOG_LEVEL_SILENT)  # it tells each driver tried
    try:
        if name.isdecimal():
            capture = cv2.VideoCapture(int(name))
        else:
            limits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
            capture = cv2.VideoCapture(
                name,
                cv2.CAP_FFMPEG,
                [n for one in limits for n in (one, STREAM_TIMEOUT)],
            )
    finally:
        cv2_logging.setLogLevel(level)
    try:
        if not capture.isOpened():
            raise ImageError(
                'is no camera that can be opened: check the number, and whether '
                'another program uses it'
                if name.isdecimal()
                else f'does not answer, or sends no video (in {STREAM_TIMEOUT // 1000} '
                'seconds)'
            )
        yield capture
    finally:
        capture.release()


def frame_rate(name: str) -> float:
    """Return the frames a second of a video file, a camera or a stream.

    A camera or stream that states none counts as one of 25.

    Raises:
        ImageError: If it cannot be opened, or is a file that states no rate.
    """
    if is_live(name):
        with open_live(name) as capture:
            rate = capture.get(cv2.CAP_PROP_FPS)
        return rate if rate > 0 and math.isfinite(rate) else _USUAL_RATE
    with open_video(name) as video:
        if not video.fps > 0:
            raise ImageError('states no frame rate')
        return video.fps
