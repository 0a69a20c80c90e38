"""HR, LR, restored image, prediction and ground truth side by side."""
import inspect
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from mmengine.hooks import Hook
from mmengine.registry import VISUALIZERS
from mmengine.runner import Runner
from mmengine.visualization import Visualizer

from mmsr4ir.registry import HOOKS

_TITLE_HEIGHT = 22


@HOOKS.register_module()
class PictureGridHook(Hook):
    """Write a picture for each tested image: HR, LR, SR, prediction, ground truth.

    The task library's own visualizer draws the predictions, so boxes, masks, maps and
    labels look as they do there.

    Args:
        out_dir: Folder for the pictures; None switches the hook off
            (``tools/test.py --show-dir`` sets it).
        max_images: At most so many pictures a process.
        score_thr: Predictions below this score are not drawn.
        min_height: Smaller images are enlarged to about this height, in pixels.
    """

    priority = 'LOW'

    def __init__(self, out_dir: str | None = None, max_images: int = 50,
                 score_thr: float = 0.3, min_height: int = 256) -> None:
        self.out_dir = out_dir
        self.max_images = max_images
        self.score_thr = score_thr
        self.min_height = min_height
        self._drawn = 0
        self._visualizer = None

    def after_test_iter(self, runner: Runner, batch_idx: int,
                        data_batch: dict | None = None,
                        outputs: Sequence | None = None) -> None:
        """Draw the images of one test batch."""
        if self.out_dir is None:
            return
        for sample in outputs or ():
            if self._drawn >= self.max_images:
                return
            self._drawn += 1
            stem = Path(sample.metainfo.get('img_path', f'{self._drawn:06d}')).stem
            path = os.path.join(self.out_dir, f'{stem}.png')
            os.makedirs(self.out_dir, exist_ok=True)
            if not cv2.imwrite(path, self.draw(runner, sample)[..., ::-1]):
                raise OSError(f'{path} cannot be written: is the disk full?')

    def draw(self, runner: Runner, sample) -> np.ndarray:
        """Draw one row of pictures: (height, width, 3), RGB, uint8."""
        size = tuple(sample.metainfo.get('ori_shape', sample.images['hr'].shape[-2:]))
        # Whole multiples keep pixels visible as they are.
        zoom = max(1, round(self.min_height / size[0]))

        def fit(key: str) -> np.ndarray:
            image = sample.images[key].permute(1, 2, 0).cpu().numpy()
            interpolation = cv2.INTER_NEAREST if key == 'lr' else cv2.INTER_LINEAR
            return cv2.resize(image, size[1::-1], interpolation=interpolation)

        def enlarge(image: np.ndarray) -> np.ndarray:
            return cv2.resize(
                image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)

        sr = fit('sr')
        pictures = {
            'HR': fit('hr'),
            'LR': fit('lr'),
            'SR': sr,
            'prediction on SR': self._annotate(runner, sr, sample, False),
            'ground truth': self._annotate(runner, fit('hr'), sample, True),
        }
        return np.hstack([
            _titled(title, enlarge(picture)) for title, picture in pictures.items()
        ])

    def _annotate(self, runner: Runner, image: np.ndarray, sample, truth: bool
                  ) -> np.ndarray:
        if self._visualizer is None:
            # One of our own without backends: nothing else is to be written.
            cfg = dict(runner.cfg.visualizer, vis_backends=None, name='picture_grid')
            self._visualizer: Visualizer = VISUALIZERS.build(cfg)
            self._visualizer.dataset_meta = runner.visualizer.dataset_meta
        # The one place where the visualizers of the three task libraries differ.
        draw = getattr(self._visualizer, 'visualize_cls', None)
        draw = draw or partial(self._visualizer.add_datasample, 'image')
        parameters = inspect.signature(draw).parameters
        more = dict(pred_score_thr=self.score_thr, with_labels=False)
        draw(np.ascontiguousarray(image), data_sample=sample, draw_gt=truth,
             draw_pred=not truth,
             **{k: v for k, v in more.items() if k in parameters})
        return self._visualizer.get_image()


def _titled(title: str, picture: np.ndarray) -> np.ndarray:
    """Put a line of text above a picture and a thin frame around it."""
    bar = np.full((_TITLE_HEIGHT, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, title, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1,
                cv2.LINE_AA)
    return cv2.copyMakeBorder(
        np.vstack([bar, picture]), 1, 1, 1, 1, cv2.BORDER_CONSTANT,
        value=(255, 255, 255))
