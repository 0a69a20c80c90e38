"""One image restored and, beside it, only enlarged: pictures, predictions, scores."""
import copy
import itertools
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
from mmsr4ir.utils.images import ImageError
from mmsr4ir.visualization.drawing import write_png

from .inferencer import Result, SR4IRInferencer
from .predictions import write_prediction

_LEAST = 11  # pixels of an edge, for the window of SSIM
_MOST_CLASSES, _MOST_SCORES = 5, 10  # of a classifier, of a class, that are listed


@dataclass
class Comparison:
    """What both ways made of one image.

    Attributes:
        lr: (h, w, 3), RGB, uint8, what both were given.
        enlarged: Of the image enlarged bilinearly, with predictions and a picture.
        restored: Of the image restored by S.
        factor: By how much the given image was degraded first; None: not at all.
        quality: PSNR (dB) and SSIM of ``enlarged`` and ``restored``, against the image
            before it was degraded. Empty if there is none of that size.
    """

    lr: np.ndarray
    enlarged: Result
    restored: Result
    factor: int | None
    quality: dict[str, tuple[float, float]]


class SideBySide:
    """Runs the same task network on the restored and on the enlarged image.

    Args:
        inferencer: Of the networks.
        score_thr: Boxes below this score are neither drawn nor listed.

    Attributes:
        scale: By how much S enlarges.
        can_degrade: Whether the model has a degradation for images from anywhere.
    """

    def __init__(self, inferencer: SR4IRInferencer, score_thr: float = 0.3) -> None:
        self.inferencer = inferencer
        self.score_thr = score_thr
        self.scale = inferencer.model.degradation.scale
        # Pairs of images come from files; there is nothing to degrade others with.
        self.can_degrade = not isinstance(inferencer.model.degradation, PairedLR)
        # The same networks, but for S; their weights are not copied.
        self.interpolation = copy.copy(inferencer)
        self.interpolation.model = with_child(
            inferencer.model, 'sr', InterpolateUpsampler(self.scale, 'bilinear'))

    def __call__(self, image: np.ndarray, factor: int | None) -> Comparison:
        """Compare.

        Args:
            image: (height, width, 3), RGB, uint8.
            factor: Degrade the image by this before, as in training but for the size;
                it loses what is beyond a multiple of the factor, to the right and at
                the bottom. None: it is LR as it is.

        Raises:
            ImageError: If the image is too small to be degraded, or the networks refuse
                it; the message says why.
        """
        hr = lr = image
        if factor is not None:
            hr, lr = self.degrade(image, factor)
        enlarged, restored = (self._run(one, lr, factor)
                              for one in (self.interpolation, self.inferencer))
        quality = {}
        if factor == self.scale:
            measured = [SRQuality().measure(*map(_tensor, (result.restored, hr)))
                        for result in (enlarged, restored)]
            quality = {name: tuple(values[name] for values in measured)
                       for name in measured[0]}
        return Comparison(lr, enlarged, restored, factor, quality)

    def degrade(self, image: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut an image to a multiple of the factor and degrade it: HR and LR, uint8."""
        height, width = image.shape[:2]
        if min(height, width) < max(_LEAST, factor):
            raise ImageError(f'has {width} x {height} pixels, but degrading it by '
                             f'{factor} needs {max(_LEAST, factor)} each way')
        hr = image[:height // factor * factor, :width // factor * factor]
        known = self.inferencer.cfg.model.get('degradation') or dict(
            type='mmsr4ir.BicubicDownsample')
        degradation = MODELS.build(dict(known, scale=factor)).eval()
        with torch.no_grad():
            lr = degradation(_tensor(hr)[None].float() / 255)[0]
        return hr, to_uint8(lr).permute(1, 2, 0).numpy()

    def _run(self, inferencer: SR4IRInferencer, lr: np.ndarray, factor: int | None
             ) -> Result:
        result, = inferencer.stream([lr], score_thr=self.score_thr,
                                    coordinates='lr' if factor is None else 'sr')
        if result.error is not None:
            raise ImageError(result.error)
        if result.picture is None:
            raise ImageError('has an edge that is too long, once restored, to draw on')
        return result

    def scores(self, comparison: Comparison) -> list[tuple[str, str, str]]:
        """Rows of a table: what, on the enlarged, and on the restored image.

        A detector's rows are classes with the scores of their boxes; a classifier's
        are the most likely classes, a segmentor's those that there are, with their
        share in %. PSNR and SSIM come last.
        """
        classes = self.inferencer.dataset_meta['classes']
        rows = score_rows(comparison.enlarged.prediction,
                          comparison.restored.prediction, classes, self.score_thr)
        return rows + [
            (f'{name}{" (dB)" if name == "PSNR" else ""}',
             *(f'{value:.2f}' if name == 'PSNR' else f'{value:.4f}'
               for value in values))
            for name, values in comparison.quality.items()]


def score_rows(enlarged: Mapping, restored: Mapping, classes: Sequence[str],
               score_thr: float) -> list[tuple[str, str, str]]:
    """See :meth:`SideBySide.scores`, for two predictions as plain data."""
    if 'bboxes' in restored:
        found = [_boxes(one, score_thr) for one in (enlarged, restored)]
        best = {name: max(max(one.get(name, [0])) for one in found)
                for name in dict.fromkeys(itertools.chain(*found))}
        return [(name, *(_listed(one.get(name, [])) for one in found))
                for name in sorted(best, key=best.get, reverse=True)]
    if 'sem_seg' in restored:
        shares = [np.bincount(one['sem_seg'].ravel(), minlength=len(classes))
                  / one['sem_seg'].size for one in (enlarged, restored)]
        listed = [i for i in np.argsort(-shares[1]) if shares[0][i] or shares[1][i]]
    else:
        shares = [np.asarray(one['pred_scores']) for one in (enlarged, restored)]
        listed = np.argsort(-np.maximum(*shares))[:_MOST_CLASSES]
    return [(str(classes[i]), *(f'{100 * share[i]:.1f} %' for share in shares))
            for i in listed]


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write all there is, under names of our own; return the files."""
    write_png(folder / 'lr.png', comparison.lr)
    write_png(folder / 'sr.png', comparison.restored.restored)
    for i, (name, result) in enumerate(
            (('lr', comparison.enlarged), ('sr', comparison.restored))):
        write_png(folder / f'{name}_drawn.png', result.picture)
        quality = {key: values[i] for key, values in comparison.quality.items()}
        write_prediction(folder, f'{name}_found', dict(
            degraded_by=comparison.factor, quality=quality, **result.prediction))
    return sorted(folder.iterdir())


def _boxes(prediction: Mapping, score_thr: float) -> dict[str, list[float]]:
    found = {}
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
