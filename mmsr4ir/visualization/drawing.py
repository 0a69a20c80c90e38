"""Pictures with annotations, by the task library's own visualizer."""

import inspect
import itertools
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import VISUALIZERS
from mmengine.structures import BaseDataElement
from mmengine.visualization import Visualizer
from torch import Tensor

from mmsr4ir.models.image_space import picture
from mmsr4ir.utils.errors import ConfigError
from mmsr4ir.utils.files import write_whole

_BAR, _FONT = 22, cv2.FONT_HERSHEY_SIMPLEX
_numbers = itertools.count()


class Annotator:
    """Draws ground truth or predictions into images, without a display.

    Args:
        visualizer: One of a task library.
        score_thr: Predictions below this score are not drawn.
    """

    def __init__(self, visualizer: Visualizer, score_thr: float = 0.3) -> None:
        self.visualizer = visualizer
        # The one place where the visualizers of the three task libraries differ.
        words = getattr(visualizer, 'visualize_cls', None)
        # Words have no place in the image, so they may go on an enlarged one.
        self.has_places = words is None
        self._draw = words or partial(visualizer.add_datasample, 'image')
        known = inspect.signature(self._draw).parameters
        options = dict(pred_score_thr=score_thr, with_labels=False)
        self._options = {k: v for k, v in options.items() if k in known}

    def draw(self, image: np.ndarray, sample, truth: bool) -> np.ndarray:
        """Annotate a copy of an image (height, width, 3), RGB, uint8.

        Args:
            image: Of the size that the sample's boxes, masks or maps belong to.
            sample: The data sample.
            truth: Whether to draw the ground truth or the prediction.

        Returns:
            np.ndarray: (height, width, 3), RGB, uint8.
        """
        self._draw(
            np.ascontiguousarray(image),
            data_sample=_with_whole_labels(sample),
            draw_gt=truth,
            draw_pred=not truth,
            **self._options,
        )
        return self.visualizer.get_image()

    def draw_enlarged(
        self, image: np.ndarray, sample, truth: bool, zoom: int
    ) -> np.ndarray:
        """Annotate as :meth:`draw` and enlarge by a whole factor.

        Returns:
            np.ndarray: (height * zoom, width * zoom, 3), RGB, uint8.
        """
        if self.has_places:
            return enlarge(self.draw(image, sample, truth), zoom)
        return self.draw(enlarge(image, zoom), sample, truth)


def _with_whole_labels(sample: BaseDataElement) -> BaseDataElement:
    """Return a sample whose labels are whole numbers: CrowdDet predicts floats.

    mmdet's visualizer looks colours up by them.
    """
    for name in ('gt_instances', 'pred_instances'):
        labels = getattr(sample.get(name), 'labels', None)
        if isinstance(labels, Tensor) and labels.is_floating_point():
            instances = sample.get(name).clone()
            instances.labels = labels.long()
            sample = sample.clone()
            setattr(sample, name, instances)
    return sample


def build_annotator(
    cfg: Config, dataset_meta: Mapping, score_thr: float = 0.3
) -> Annotator:
    """Make an annotator from a config.

    Args:
        cfg: The whole config; ``visualizer`` says how things look.
        dataset_meta: ``classes`` and ``palette`` of the data set.
        score_thr: Predictions below this score are not drawn.

    Raises:
        ConfigError: If the config has no visualizer.
    """
    if not (cfg.get('visualizer') or {}).get('type'):
        raise ConfigError(
            'the config has no visualizer: set it to the task '
            "library's, as dict(type='mmdet.DetLocalVisualizer')"
        )
    visualizer = VISUALIZERS.build(
        dict(cfg.visualizer, vis_backends=None, name=f'annotator_{next(_numbers)}')
    )
    visualizer.dataset_meta = dict(dataset_meta)
    return Annotator(visualizer, score_thr)


def drawn_pixels(image: np.ndarray) -> np.ndarray:
    """Return an image of any channels as it is drawn.

    Args:
        image: (height, width, C), RGB if C is 3; see
            :func:`~mmsr4ir.models.image_space.picture` for others.

    Returns:
        np.ndarray: (height, width, 3), RGB.
    """
    channels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    return picture(channels).permute(1, 2, 0).numpy()


def enlarge(image: np.ndarray, zoom: int) -> np.ndarray:
    """Enlarge (height, width, 3) by a whole factor; pixels stay visible as they are."""
    return image.repeat(zoom, axis=0).repeat(zoom, axis=1)


def zoom_to(size: tuple[int, int], min_size: int) -> int:
    """Return the whole factor that makes the shorter edge about ``min_size`` pixels."""
    return max(1, round(min_size / min(size)))


def titled(title: str, picture: np.ndarray) -> np.ndarray:
    """Put a line of text above (height, width, 3), uint8, and a thin frame around."""
    return cv2.copyMakeBorder(
        np.vstack([_bar(title, picture.shape[1]), picture]),
        1,
        1,
        1,
        1,
        cv2.BORDER_CONSTANT,
        value=(255, 255, 255),
    )


def row(panels: Sequence[tuple[str, np.ndarray]], title: str = '') -> np.ndarray:
    """Put pictures side by side, each under its name.

    Args:
        panels: Names, and pictures (height, width, 3), RGB, uint8.
        title: A line of text above all of them, if given.

    Returns:
        np.ndarray: (height, width, 3), RGB, uint8.
    """
    pictures = [titled(*panel) for panel in panels]
    height = max(map(len, pictures))
    whole = np.hstack(
        [
            cv2.copyMakeBorder(
                picture,
                0,
                height - len(picture),
                0,
                0,
                cv2.BORDER_CONSTANT,
                value=(255, 255, 255),
            )
            for picture in pictures
        ]
    )
    return np.vstack([_bar(title, whole.shape[1]), whole]) if title else whole


def _bar(text: str, width: int) -> np.ndarray:
    bar = np.full((_BAR, width, 3), 255, np.uint8)
    needed = cv2.getTextSize(text, _FONT, 0.5, 1)[0][0] + 8
    cv2.putText(
        bar,
        text,
        (4, 16),
        _FONT,
        0.5 * min(1, width / needed),
        (0, 0, 0),
        1,
        cv2.LINE_AA,
    )
    return bar


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write an image, whole or not at all.

    Args:
        path: The file.
        picture: (height, width, C), uint8: gray (1), RGB (3), or four channels as
            OpenCV loads them, blue first.

    Raises:
        ValueError: If an edge is too long for OpenCV, or a PNG file cannot have so many
            channels.
    """
    check_png(picture.shape[2])
    write_whole(
        path, encode_png(picture[..., ::-1] if picture.shape[2] == 3 else picture)
    )


def check_png(channels: int) -> None:
    """Check that a PNG file can have so many channels.

    Raises:
        ValueError: If it cannot.
    """
    if channels not in (1, 3, 4):
        raise ValueError(
            f'an image of {channels} channels cannot be a PNG file, which has 1, 3 or '
            '4: take the array instead (SR4IRInferencer without out_dir)'
        )


def encode_png(picture: np.ndarray) -> bytes:
    """Return the content of a PNG file.

    Args:
        picture: (height, width) or (height, width, C), BGR if C is 3, uint8.

    Raises:
        ValueError: If an edge is too long for OpenCV.
    """
    done, content = cv2.imencode('.png', picture)
    if not done:
        height, width = picture.shape[:2]
        raise ValueError(
            f'{width} x {height} pixels cannot be written as a PNG file, '
            'in which OpenCV has at most 1,000,000 along an edge'
        )
    return content.tobytes()
