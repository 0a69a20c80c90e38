"""From images that are small, blurred or compressed to predictions, by one object."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.structures import BaseDataElement
from rich.progress import track
from torch import nn

from mmsr4ir.compat.checkpoint import is_of_device
from mmsr4ir.engine.build import build_model, find_run
from mmsr4ir.models.image_space import image_channels
from mmsr4ir.models.prediction.lr_input import LRInput, recognise, super_resolve_all
from mmsr4ir.utils.errors import ConfigError
from mmsr4ir.utils.images import MAX_PIXELS, ImageError, fit_channels
from mmsr4ir.utils.loading import loading_in
from mmsr4ir.utils.out_of_memory import is_out_of_memory
from mmsr4ir.visualization.drawing import (
    Annotator,
    build_annotator,
    drawn_pixels,
    write_png,
)

from .inputs import Item, Source, find_sources, read_items
from .predictions import (
    Result,
    is_multi_label,
    on_restored,
    plain,
    sample_class,
    write_prediction,
)
from .super_resolution import super_resolve_rows, super_resolve_to_png

#: More pixels than this of a restored image are not shown to the task network.
MAX_TASK_PIXELS = 50_000_000
_MOST_EDGE = 2**15  # of a picture that is drawn, in pixels; Matplotlib ends at 2**16
# Names and colours where the checkpoint has none.
_NUMBERS = dict(
    classes=[str(i) for i in range(256)],
    palette=[
        tuple(colour)
        for colour in np.random.default_rng(0).integers(0, 256, (256, 3)).tolist()
    ],
)
# What networks raise for an image that they cannot take, out of memory included.
_REFUSED = (RuntimeError, ValueError, AssertionError, IndexError)


class SR4IRInferencer(BaseInferencer):
    """Restore LR images as they are and recognise what is in them.

    .. code-block:: python

        inferencer = SR4IRInferencer('work_dirs/faster-rcnn_edsr_tiny')
        results = inferencer('photos', out_dir='found')

    Args:
        model: A config (file or object) of an ``SR4IR``; or a work directory alone,
            whose best (else last) checkpoint is taken, with the config of the training.
        weights: Checkpoint of a training with that config.
        device: By default the GPU, if there is one.
        show_progress: Whether to draw a progress bar.
        max_pixels: An image with more is refused, see
            :func:`mmsr4ir.utils.images.read_image`.
        max_task_pixels: An image that has more once it is restored is refused, unless
            it is only restored: the task network sees it as a whole.

    Raises:
        ValueError: If ``model`` names no config, ``weights`` is no file, or the
            checkpoint does not fit the config.
    """

    preprocess_kwargs: set = set()
    forward_kwargs = {'coordinates', 'tile', 'overlap', 'restore_only'}
    visualize_kwargs = {'draw', 'score_thr'}
    postprocess_kwargs = {'out_dir'}

    def __init__(
        self,
        model: str | Path | Config | Mapping,
        weights: str | Path | None = None,
        device: str | None = None,
        show_progress: bool = True,
        max_pixels: int = MAX_PIXELS,
        max_task_pixels: int = MAX_TASK_PIXELS,
    ) -> None:
        if isinstance(model, str | Path):
            model, weights = find_run(Path(model), weights)
        if weights is None or not os.path.isfile(weights):
            found = f'there is no checkpoint {weights}' if weights else 'no weights'
            raise ConfigError(
                f'{found}: give the file of a training as weights, or a work directory '
                'that has one as model'
            )
        self.max_pixels = max_pixels
        self.max_task_pixels = max_task_pixels
        super().__init__(model, str(weights), device, show_progress=show_progress)

    def __call__(
        self, inputs, return_datasamples: bool = False, batch_size: int = 1, **kwargs
    ) -> dict:
        """Restore and recognise.

        Args:
            inputs: See :func:`mmsr4ir.apis.inputs.find_sources`.
            return_datasamples: Whether ``predictions`` are the task's data samples.
            batch_size: Images that are run together; their sizes may differ.
            **kwargs: The settings below.
            coordinates: ``'lr'`` (default): predictions are in the pixels of the image
                that was given (turned by its EXIF orientation); ``'sr'``: in those of
                the restored one.
            tile: Largest edge, in LR pixels, that the SR network restores at once
                (default 256); None: any.
            overlap: LR pixels that a tile sees of its neighbours (default 32), see
                :mod:`mmsr4ir.models.prediction.tiles`.
            restore_only: Leave the recognition out.
            draw: Whether to draw predictions (default: yes).
            score_thr: Boxes below this score are not drawn (default 0.3).
            out_dir: Folder for ``preds/`` (JSON, and maps as PNG), ``restored/`` and
                ``vis/``, with an image's files under its name. Images that are
                written are not returned.

        Returns:
            dict: Lists in the order of the images: ``names``, ``predictions``,
            ``restored`` and ``visualization`` (RGB, uint8), with None where there is
            nothing; and ``failures``, the reason for each file that could not be used.
        """
        results = list(self.stream(inputs, return_datasamples, batch_size, **kwargs))
        return dict(
            names=[one.name for one in results],
            predictions=[
                one.sample if return_datasamples else one.prediction for one in results
            ],
            restored=[one.restored for one in results],
            visualization=[one.picture for one in results],
            failures={one.origin: one.error for one in results if one.error},
        )

    def stream(
        self, inputs, return_datasamples: bool = False, batch_size: int = 1, **kwargs
    ) -> Iterator[Result]:
        """Do what a call does, but image by image, so that a video needs no memory.

        Yields:
            Result: For each image, and for each file that could not be used.

        Raises:
            ValueError: If ``batch_size`` is not a positive integer.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f'batch_size={batch_size} must be a positive integer')
        sources = find_sources(
            inputs, self.max_pixels, loading_in(self.cfg), self.channels
        )
        results = self._run(
            self.preprocess(sources, batch_size),
            return_datasamples,
            *self._dispatch_kwargs(**kwargs)[1:],
        )
        counts = [source.count for source in sources if source.count is not None]
        yield from track(
            results,
            'Inference',
            sum(counts) if len(counts) == len(sources) else None,
            disable=not self.show_progress,
        )

    def _run(
        self,
        batches: Iterator[list[Item]],
        return_datasamples: bool,
        forward: dict,
        visualize: dict,
        postprocess: dict,
    ) -> Iterator[Result]:
        if forward.get('restore_only'):
            visualize['draw'] = False
        for batch in batches:
            if forward.get('restore_only') and postprocess.get('out_dir'):
                results = self.restore_to_files(
                    batch, postprocess['out_dir'], **forward
                )
            else:
                results = self.forward(batch, **forward)
                self.visualize(batch, results, **visualize)
            for result in results:
                self.postprocess(result, return_datasamples, **postprocess)
                yield result

    def preprocess(
        self, inputs: list[Source], batch_size: int = 1, **kwargs
    ) -> Iterator[list[Item]]:
        """Read images; yield so many at once."""
        items = map(self._fit_channels, read_items(inputs))
        yield from self._get_chunk_data(items, batch_size)

    def _fit_channels(self, item: Item) -> Item:
        """Return an item whose image has the networks' channels, or says why not."""
        if item.image is None:
            return item
        try:
            image = fit_channels(item.image, self.channels)
            return dataclasses.replace(item, image=image)
        except ImageError as error:
            return dataclasses.replace(item, image=None, error=str(error))

    @torch.no_grad()
    def forward(
        self,
        inputs: Sequence[Item],
        coordinates: str = 'lr',
        tile: int | None = 256,
        overlap: int = 32,
        restore_only: bool = False,
    ) -> list[Result]:
        """Run both networks; an image that they refuse does not stop the others."""
        how = LRInput(coordinates, tile, overlap)
        results = [Result(item.name, item.origin, item.error) for item in inputs]
        good: dict[int, np.ndarray] = {}  # the images that can be run, by their place
        for i, item in enumerate(inputs):
            if item.image is None:
                continue
            if not restore_only:
                results[i].error = self._too_large(item.image)
            if results[i].error is None:
                good[i] = item.image
        work = self._restore if restore_only else self._recognise
        refused = None
        try:
            if good:
                work(list(good.values()), [results[i] for i in good], how)
        except _REFUSED as error:
            if _is_of_no_image(error):
                raise
            refused = _say(error)
        if refused is None:
            return results
        # Not within `except`: there the traceback holds all tensors of the batch, for
        # which the memory may have been too small.
        for i in good:
            if len(good) == 1:
                results[i].error = refused
            else:
                results[i] = self.forward(
                    [inputs[i]], coordinates, tile, overlap, restore_only
                )[0]
        return results

    def _recognise(
        self, images: Sequence[np.ndarray], results: Sequence[Result], how: LRInput
    ) -> None:
        lr, samples = zip(*map(self.pipeline, images), strict=True)
        sr = super_resolve_all(self.model, lr, how)
        found = recognise(self.model, lr, sr, samples, how.coordinates)
        for result, sample in zip(results, found, strict=True):
            result.prediction = self.as_plain(sample)
            result.prediction['coordinates'] = how.coordinates
            result.sample = sample
            result.restored = sample.images['sr'].permute(1, 2, 0).cpu().numpy()

    def as_plain(self, sample: BaseDataElement) -> dict:
        """Return a prediction as plain data, see :func:`.predictions.plain`.

        Args:
            sample: The task's data sample, with a prediction.
        """
        classes = self.dataset_meta.get('classes') or ()
        return plain(sample, classes, is_multi_label(self.model.task))

    def _restore(
        self, images: Sequence[np.ndarray], results: Sequence[Result], how: LRInput
    ) -> None:
        for image, result in zip(images, results, strict=True):
            result.restored = np.concatenate(
                list(super_resolve_rows(self.model, image, how.tile, how.overlap))
            )

    def restore_to_files(
        self,
        batch: Sequence[Item],
        out_dir: str | Path,
        coordinates: str = 'lr',
        tile: int | None = 256,
        overlap: int = 32,
        restore_only: bool = True,
    ) -> list[Result]:
        """Restore images of any size, row by row, each into a file."""
        LRInput(coordinates, tile, overlap)  # refuses what cannot be
        results = [Result(item.name, item.origin, item.error) for item in batch]
        for item, result in zip(batch, results, strict=True):
            if item.image is not None:
                try:
                    super_resolve_to_png(
                        self.model,
                        item.image,
                        _file(out_dir, 'restored', item.name),
                        tile,
                        overlap,
                    )
                except _REFUSED as error:
                    if _is_of_no_image(error):
                        raise
                    result.error = _say(error)
        return results

    def visualize(
        self,
        inputs: Sequence[Item],
        preds: Sequence[Result],
        draw: bool = True,
        score_thr: float = 0.3,
    ) -> None:
        """Draw each prediction on its restored image, unless that is too large."""
        for result in preds:
            if not draw or result.prediction is None or result.restored is None:
                continue
            if score_thr not in self.annotators:
                self.annotators[score_thr] = build_annotator(
                    self.cfg, self.dataset_meta, score_thr
                )
            sample = result.sample
            if result.prediction['coordinates'] == 'lr':
                sample = on_restored(sample, self.model.degradation.scale)
            if max(result.restored.shape) <= _MOST_EDGE:
                result.picture = self.annotators[score_thr].draw(
                    drawn_pixels(result.restored), sample, truth=False
                )

    def postprocess(
        self,
        preds: Result,
        return_datasample: bool = False,
        out_dir: str | Path | None = None,
    ) -> None:
        """Write what there is of one image; what is written is not returned."""
        if not return_datasample:
            preds.sample = None
        if out_dir is None:
            return
        try:
            for folder, image in (('restored', preds.restored), ('vis', preds.picture)):
                if image is not None:
                    write_png(_file(out_dir, folder, preds.name), image)
            if preds.prediction is not None:
                write_prediction(
                    Path(out_dir) / 'preds',
                    preds.name,
                    dict(input=preds.origin, **preds.prediction),
                )
        except ValueError as error:
            preds.error = _say(error)
        preds.restored = preds.picture = None

    def _too_large(self, image: np.ndarray) -> str | None:
        height, width = (
            side * self.model.degradation.scale for side in image.shape[:2]
        )
        if height * width <= self.max_task_pixels:
            return None
        return (
            f'would have {width} x {height} pixels once restored, more than '
            f'max_task_pixels={self.max_task_pixels}: raise that, or only restore '
            'it (restore_only)'
        )

    @property
    def channels(self) -> int:
        """The channels of the images that the networks take."""
        return image_channels(self.model.data_preprocessor, self.model.task)

    def _init_model(self, cfg: Config, weights: str, device: str) -> nn.Module:
        model = build_model(cfg, weights)
        self.dataset_meta = _NUMBERS | (model.dataset_meta or {})
        return model.to(device)

    def _init_pipeline(self, cfg: Config) -> Callable[[np.ndarray], tuple]:
        """Make what turns an image into (C, h, w), [0, 1], and a data sample."""
        new = sample_class(self.model.task)

        def pipeline(image: np.ndarray) -> tuple:
            lr = torch.from_numpy(image.copy()).permute(2, 0, 1)
            size, parameter = image.shape[:2], next(self.model.parameters())
            # As bytes to the GPU: as numbers they are four times as many.
            lr = lr.to(parameter.device, non_blocking=True)
            return (
                lr.to(parameter.dtype) / 255,
                new(
                    metainfo=dict(
                        img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0)
                    )
                ),
            )

        return pipeline

    def _init_collate(self, cfg: Config) -> None:
        """Return None: images of different sizes stay apart."""

    def _init_visualizer(self, cfg: Config) -> None:
        """Return None: annotators draw, each built with its first picture."""
        self.annotators: dict[float, Annotator] = {}


def _file(out_dir: str | Path, folder: str, name: str) -> Path:
    return Path(out_dir) / folder / f'{name}.png'


def _is_of_no_image(error: Exception) -> bool:
    """Return whether the GPU has failed, so that it would fail for all images."""
    return is_of_device(error) and not is_out_of_memory(error)


def _say(error: Exception) -> str:
    return f'is refused by the networks ({type(error).__name__}: {error})'
