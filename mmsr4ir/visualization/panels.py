"""The panels that a picture of one image is made of."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from torch import Tensor, nn

from mmsr4ir.compat.mmengine_visualizer import in_every_process
from mmsr4ir.models.distributed import unwrap
from mmsr4ir.models.image_space import extend_edges, image_size, picture
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.utils.errors import ConfigError

from .drawing import Annotator, titled, zoom_to

PANELS = ('hr', 'lr', 'sr', 'prediction', 'truth', 'error', 'tdp')


def error_map(sr: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """Compute the absolute difference of two images, mean over the channels.

    Args:
        sr: (height, width, C), uint8.
        hr: (height, width, C), uint8.

    Returns:
        np.ndarray: (height, width), [0, 255], float32.
    """
    return np.abs(sr.astype(np.float32) - hr.astype(np.float32)).mean(-1)


@torch.no_grad()
def tdp_map(model: SR4IR, sr: Tensor, hr: Tensor) -> np.ndarray:
    """Compute where the task network's features of two images differ.

    Args:
        model: With ``features`` and ``tdp``.
        sr: (C, H, W), uint8, RGB if C is 3.
        hr: (C, H, W), uint8, of the same size.

    Returns:
        np.ndarray: (H, W), see :meth:`~mmsr4ir.models.losses.TDPLoss.position_map`.
    """
    assert model.judges  # Painter.check_panels
    features = []
    for image in (sr, hr):
        image = image[None].to(next(model.parameters())) / 255
        if model.task_resize:
            image = model.task_resize.image(image)
        # Strides are powers of 2: whole positions lie over the pixels they come from.
        size, image = image.shape[-2:], extend_edges(image, multiple=32)
        features.append(model.judges.task_tap(model.image_space.normalise(image)))
    values = model.judges.distance.position_map(
        features[0], features[1], image_size(image)
    )
    values = values[:, None, : size[0], : size[1]].float()
    if size != sr.shape[-2:]:  # back from the size of task_resize
        values = nn.functional.interpolate(values, sr.shape[-2:], mode='area')
    return values[0, 0].cpu().numpy()


def colour_map(values: np.ndarray) -> np.ndarray:
    """Draw values from 0 (dark) to their maximum (bright).

    Args:
        values: (height, width), 0 or more.

    Returns:
        np.ndarray: (height, width, 3), RGB, uint8.
    """
    scaled = values / max(float(values.max()), 1e-12) * 255
    return cv2.applyColorMap(scaled.round().astype(np.uint8), cv2.COLORMAP_INFERNO)[
        ..., ::-1
    ]


class Painter:
    """Draws an image as a row of panels.

    Args:
        runner: Its model is asked for features; its visualizer is copied, without
            backends: nothing else is to be written.
        metainfo: What the dataset says of its classes and colours.
        panels: Some of :data:`PANELS`.
        score_thr: Predictions below this score are not drawn.
        min_size: Images with a shorter edge than this are enlarged to about it, in
            pixels.

    Raises:
        ConfigError: If a panel cannot be drawn.
    """

    def __init__(
        self,
        runner: Runner,
        metainfo: dict | None,
        panels: Sequence[str],
        score_thr: float,
        min_size: int,
    ) -> None:
        self.model: SR4IR = unwrap(runner.model)
        self.panels = panels
        self.min_size = min_size
        self.annotator = Annotator(copy_without_backends(runner, metainfo), score_thr)
        self.check_panels()

    def check_panels(self) -> None:
        """Check that each panel can be drawn.

        Raises:
            ConfigError: If a panel cannot be drawn; the message says what it needs.
        """
        visualizer = type(self.annotator.visualizer)
        original: type[Visualizer] = visualizer.__mro__[1]
        drawn = {'prediction', 'truth'} & set(self.panels)
        if (
            drawn
            and self.annotator.has_places
            and (original.add_datasample is Visualizer.add_datasample)
        ):
            raise ConfigError(
                f'picture_grid: {visualizer.__name__} draws no predictions; set '
                "visualizer to the task library's own, as "
                "dict(type='mmdet.DetLocalVisualizer'), or leave 'prediction' and "
                "'truth' out of picture_grid.panels"
            )
        if 'tdp' in self.panels and self.model.judges is None:
            raise ConfigError(
                "picture_grid: the panel 'tdp' shows the features of the TDP loss, "
                'which the model has not; leave it out of picture_grid.panels, or say '
                "which features: model.tdp=dict(type='mmsr4ir.TDPLoss', layer=...)"
            )

    def draw(self, sample) -> np.ndarray:
        """Draw one row: (height, width, 3), RGB, uint8.

        Args:
            sample: A data sample with ``images``, as :class:`SR4IR` returns them.
        """
        size = image_size(sample.images['sr'])
        if self.annotator.has_places:
            size = sample.metainfo.get('ori_shape', size)[:2]
        return np.hstack(
            [
                titled(*self.panel(name, sample, size))
                for name in self.panels
                if 'hr' in sample.images or name not in ('hr', 'error', 'tdp')
            ]
        )

    def panel(self, name: str, sample, size: tuple[int, int]) -> tuple[str, np.ndarray]:
        """Make one panel.

        Args:
            name: One of :data:`PANELS`.
            sample: See :meth:`draw`.
            size: (height, width) that the predictions belong to, in pixels.

        Returns:
            tuple: Its title, and the picture in a whole multiple of ``size``.
        """
        zoom = zoom_to(size, self.min_size)

        def pixels(image: Tensor) -> np.ndarray:
            return image.permute(1, 2, 0).cpu().numpy()

        def image(key: str) -> np.ndarray:
            return pixels(picture(sample.images[key]))

        def fit(
            drawn: np.ndarray, how: int = cv2.INTER_NEAREST, times: int = 1
        ) -> np.ndarray:
            return cv2.resize(
                drawn, (size[1] * times, size[0] * times), interpolation=how
            )

        judged = judged_image(self.model)
        if name in ('hr', 'sr'):
            title = 'HR' if name == 'hr' else judged
            return title, fit(fit(image(name), cv2.INTER_LINEAR), times=zoom)
        if name == 'lr':
            return 'LR', fit(fit(image('lr')), times=zoom)
        if name in ('prediction', 'truth'):
            truth = name == 'truth'
            on_hr = truth and 'hr' in sample.images
            below = fit(image('hr' if on_hr else 'sr'), cv2.INTER_LINEAR)
            title = 'ground truth' if truth else f'prediction on {judged}'
            return title, self.annotator.draw_enlarged(below, sample, truth, zoom)
        if name == 'error':
            title, values = (
                '|SR - HR|',
                error_map(*(pixels(sample.images[key]) for key in ('sr', 'hr'))),
            )
        else:
            title, values = (
                'TDP',
                tdp_map(self.model, sample.images['sr'], sample.images['hr']),
            )
        return (
            f'{title}, max {values.max():.3g}',
            fit(fit(colour_map(values)), times=zoom),
        )


def judged_image(model: SR4IR) -> str:
    """Name what a prediction is made on: SR, HR, or LR that is only enlarged."""
    return 'LR, enlarged' if model.test_on == 'lr' else model.test_on.upper()


def copy_without_backends(runner: Runner, metainfo: dict | None) -> Visualizer:
    """Make another visualizer like the runner's, which draws in every process."""
    cfg = runner.cfg.get('visualizer')
    cfg = dict(cfg) if isinstance(cfg, Mapping) else {}
    for key in ('type', '_scope_', 'name', 'vis_backends'):
        cfg.pop(key, None)
    original: type = type(runner.visualizer)
    visualizer = in_every_process(original)(
        name='picture_grid', vis_backends=None, **cfg
    )
    visualizer.dataset_meta = metainfo
    return visualizer
