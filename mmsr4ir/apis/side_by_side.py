"""One image restored and, beside it, only enlarged: pictures, predictions, scores."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from mmsr4ir.compat.torch_parts import with_child
from mmsr4ir.evaluation import SRQuality
from mmsr4ir.models.degradations.paired_lr import PairedLR
from mmsr4ir.models.image_space import to_uint8
from mmsr4ir.models.upsamplers import InterpolateUpsampler
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.images import ImageError, fit_channels
from mmsr4ir.visualization.drawing import write_png

from .inferencer import SR4IRInferencer
from .predictions import write_prediction

_LEAST = 11  # pixels of an edge, for the window of SSIM
_MOST_CLASSES, _MOST_SCORES = 5, 10  # of a classifier, of a class, that are listed


@dataclass
class View:
    """What the task network found in one image.

    Attributes:
        restored: (height, width, 3), RGB, uint8, what the task network saw.
        picture: The prediction drawn, RGB, uint8.
        prediction: See :func:`mmsr4ir.apis.predictions.plain`.
    """

    restored: np.ndarray
    picture: np.ndarray
    prediction: dict


@dataclass
class Comparison:
    """What both ways made of one image.

    Attributes:
        lr: (h, w, 3), RGB, uint8, what both were given.
        enlarged: Of the image that was enlarged bilinearly.
        restored: Of the image that the SR network restored.
        factor: By how much the given image was degraded first; None: not at all.
        quality: PSNR (dB) and SSIM of ``enlarged`` and ``restored``, against the image
            before it was degraded. Empty if there is none of that size.
    """

    lr: np.ndarray
    enlarged: View
    restored: View
    factor: int | None
    quality: dict[str, tuple[float, float]]


class SideBySide:
    """Run the same task network on the restored and on the enlarged image.

    Args:
        inferencer: Of the networks.
        score_thr: Boxes below this score are neither drawn nor listed.

    Attributes:
        scale: By how much the SR network enlarges.
        can_degrade: Whether the model has a degradation for images from anywhere.
    """

    def __init__(self, inferencer: SR4IRInferencer, score_thr: float = 0.3) -> None:
        self.inferencer = inferencer
        self.score_thr = score_thr
        self.scale = inferencer.model.degradation.scale
        # Pairs of images come from files; there is nothing to degrade others with.
        self.can_degrade = not isinstance(inferencer.model.degradation, PairedLR)
        # The same networks, except the SR network; weights are not copied.
        self.interpolation = copy.copy(inferencer)
        self.interpolation.model = with_child(
            inferencer.model, 'sr', InterpolateUpsampler(self.scale, 'bilinear')
        )

    def __call__(self, image: np.ndarray, factor: int | None) -> Comparison:
        """Compare.

        Args:
            image: (height, width, C), uint8: RGB, or what the networks take.
            factor: First degrade the image by this factor, as in training except for
                the size. The image loses the pixels beyond a multiple of the factor, at
                its right and bottom. None: the image is LR as it is.

        Raises:
            ImageError: If the image is too small to be degraded, or the networks refuse
                it; the message says why.
        """
        hr = lr = image = fit_channels(image, self.inferencer.channels)
        if factor is not None:
            hr, lr = self.degrade(image, factor)
        enlarged, restored = (
            self._run(one, lr, factor) for one in (self.interpolation, self.inferencer)
        )
        quality = {}
        if factor == self.scale:
            before, after = (
                SRQuality().measure(_tensor(view.restored), _tensor(hr))
                for view in (enlarged, restored)
            )
            quality = {name: (before[name], after[name]) for name in before}
        return Comparison(lr, enlarged, restored, factor, quality)

    def degrade(self, image: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut an image to a multiple of the factor and degrade it.

        Args:
            image: (height, width, 3), RGB, uint8.
            factor: By how much.

        Returns:
            tuple: HR (H, W, 3) and LR (H / factor, W / factor, 3), RGB, uint8.

        Raises:
            ImageError: If an edge of the image is too short.
        """
        height, width = image.shape[:2]
        if min(height, width) < max(_LEAST, factor):
            raise ImageError(
                f'has {width} x {height} pixels, but degrading it by '
                f'{factor} needs {max(_LEAST, factor)} each way'
            )
        hr = image[: height // factor * factor, : width // factor * factor]
        known = self.inferencer.cfg.model.get('degradation') or dict(
            type='mmsr4ir.BicubicDownsample'
        )
        degradation = MODELS.build(dict(known, scale=factor)).eval()
        with torch.no_grad():
            lr = degradation(_tensor(hr)[None].float() / 255)[0]
        return hr, to_uint8(lr).permute(1, 2, 0).numpy()

    def _run(
        self, inferencer: SR4IRInferencer, lr: np.ndarray, factor: int | None
    ) -> View:
        (result,) = inferencer.stream(
            [lr], score_thr=self.score_thr, coordinates='lr' if factor is None else 'sr'
        )
        if result.error is not None:
            raise ImageError(result.error)
        if result.picture is None:
            raise ImageError('has an edge that is too long, once restored, to draw on')
        assert result.restored is not None and result.prediction is not None
        return View(result.restored, result.picture, result.prediction)

    def scores(self, comparison: Comparison) -> list[tuple[str, str, str]]:
        """Make rows of a table: what, on the enlarged, and on the restored image.

        A detector's rows are classes with the scores of their boxes; a classifier's
        are the most likely classes, a segmentor's those that there are, with their
        share in %. PSNR and SSIM come last.
        """
        classes = self.inferencer.dataset_meta['classes']
        rows = score_rows(
            comparison.enlarged.prediction,
            comparison.restored.prediction,
            classes,
            self.score_thr,
        )
        for name, (before, after) in comparison.quality.items():
            unit, digits = (' (dB)', 2) if name == 'PSNR' else ('', 4)
            rows.append(
                (f'{name}{unit}', f'{before:.{digits}f}', f'{after:.{digits}f}')
            )
        return rows


def score_rows(
    enlarged: Mapping, restored: Mapping, classes: Sequence[str], score_thr: float
) -> list[tuple[str, str, str]]:
    """Make the rows of :meth:`SideBySide.scores` from two predictions as plain data."""
    if 'bboxes' in restored:
        less, more = (_boxes(one, score_thr) for one in (enlarged, restored))
        best = {
            name: max(less.get(name, []) + more.get(name, [])) for name in less | more
        }
        return [
            (name, _listed(less.get(name, [])), _listed(more.get(name, [])))
            for name in sorted(best, key=lambda name: -best[name])
        ]
    if 'sem_seg' in restored:
        before, after = (
            np.bincount(one['sem_seg'].ravel(), minlength=len(classes))
            / one['sem_seg'].size
            for one in (enlarged, restored)
        )
        listed = [i for i in np.argsort(-after) if before[i] or after[i]]
    else:
        before, after = (np.asarray(one['pred_scores']) for one in (enlarged, restored))
        listed = list(np.argsort(-np.maximum(before, after))[:_MOST_CLASSES])
    return [
        (str(classes[i]), f'{100 * before[i]:.1f} %', f'{100 * after[i]:.1f} %')
        for i in listed
    ]


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write all there is, under names of our own; return the files."""
    write_png(folder / 'lr.png', comparison.lr)
    write_png(folder / 'sr.png', comparison.restored.restored)
    for i, (name, view) in enumerate(
        (('lr', comparison.enlarged), ('sr', comparison.restored))
    ):
        write_png(folder / f'{name}_drawn.png', view.picture)
        quality = {key: values[i] for key, values in comparison.quality.items()}
        write_prediction(
            folder,
            f'{name}_found',
            dict(degraded_by=comparison.factor, quality=quality, **view.prediction),
        )
    return sorted(folder.iterdir())


def _boxes(prediction: Mapping, score_thr: float) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for name, score in zip(prediction['classes'], prediction['scores'], strict=True):
        if score >= score_thr:
            found.setdefault(name, []).append(score)
    return {name: sorted(scores, reverse=True) for name, scores in found.items()}


def _listed(scores: Sequence[float]) -> str:
    more = len(scores) - _MOST_SCORES
    shown = ', '.join(f'{score:.2f}' for score in scores[:_MOST_SCORES]) or '-'
    return f'{shown} and {more} more' if more > 0 else shown


def _tensor(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
