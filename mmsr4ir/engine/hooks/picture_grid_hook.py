"""HR, LR, restored image, prediction and ground truth side by side."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Dataset

from mmsr4ir.registry import HOOKS
from mmsr4ir.utils.errors import ConfigError
from mmsr4ir.utils.files import image_path, unique_names
from mmsr4ir.visualization.drawing import write_png
from mmsr4ir.visualization.panels import PANELS, Painter


@HOOKS.register_module()
class PictureGridHook(Hook):
    """Draw images as one row of panels each.

    In a validation, the rows of a few images, each time the same, go to the visual
    backends of the runner's visualizer (files, TensorBoard, WandB, ...) as
    ``val_<image>``, with the epoch or iteration as step. In a test they are written
    into a folder, as ``<image>.png``, where one is given. The processes of a
    distributed run draw their own images.

    A picture has the name of its image's file without the suffix. If two of the drawn
    images would have the same name, the names of their folders come before it, as in
    ``<folder>_<image>``.

    ==============  =================================================================
    ``hr``          the image as the task network sees it in its own training
    ``lr``          degraded
    ``sr``          what the prediction was made on
    ``prediction``  the prediction on ``sr``, drawn by the task library's visualizer
    ``truth``       the ground truth on ``hr``, drawn likewise
    ``error``       absolute difference of ``sr`` and ``hr``, mean over the channels,
                    from 0 (black) to its maximum (yellow), which the title says, of
                    at most 255
    ``tdp``         distance of their features in the ``tdp`` loss, drawn likewise
    ==============  =================================================================

    Where the input is LR (``LRTestLoop``) there is no HR image: ``hr``, ``error`` and
    ``tdp`` are left out, and the ground truth is drawn on ``sr``.

    Args:
        out_dir: Folder for the pictures of a test; None writes none
            (``tools/test.py --show-dir`` sets it).
        max_images: At most so many pictures of a test, evenly spaced over its images.
        val_images: What is drawn in a validation: a number of images, evenly spaced,
            or file names, with or without folder and suffix. 0 or None draws none.
        panels: Which panels, in which order.
        score_thr: Predictions below this score are not drawn.
        min_size: Images with a shorter edge than this are enlarged to about it, in
            pixels.

    Raises:
        ConfigError: If a panel is unknown or cannot be drawn, or a file name is
            unknown.
    """

    priority = 'LOW'

    def __init__(
        self,
        out_dir: str | None = None,
        max_images: int = 50,
        val_images: int | Sequence[str] | None = 4,
        panels: Sequence[str] = ('hr', 'lr', 'sr', 'prediction', 'truth'),
        score_thr: float = 0.3,
        min_size: int = 256,
    ) -> None:
        unknown = [panel for panel in panels if panel not in PANELS]
        if unknown or not panels:
            raise ConfigError(
                f'picture_grid.panels={list(panels)}: name one or more of '
                f'{list(PANELS)}'
            )
        val_images = [val_images] if isinstance(val_images, str) else val_images or 0
        if (
            val_images < 0
            if isinstance(val_images, int)
            else not all(isinstance(name, str) for name in val_images)
        ):
            raise ConfigError(
                f'picture_grid.val_images={val_images}: give a number of images or a '
                'list of file names (with the suffix where they are all digits)'
            )
        self.out_dir = out_dir
        self.max_images = max_images
        self.val_images = val_images
        self.panels = tuple(panels)
        self.score_thr = score_thr
        self.min_size = min_size
        self._names: dict[int, str] = {}
        self._train_loop = None

    def before_train(self, runner: Runner) -> None:
        """Check that the pictures can be drawn, before hours of training.

        Raises:
            ConfigError: If a panel cannot be drawn, or the validation has no image of
                a name in ``val_images``.
        """
        self._train_loop = runner.train_loop
        if self.val_images and runner.val_loop is not None:
            self._start(runner, runner.val_dataloader, self.val_images)

    def after_train(self, runner: Runner) -> None:
        """Forget the training: a validation on its own has step 0."""
        self._train_loop = None

    def before_val_epoch(self, runner: Runner) -> None:
        """Choose the images."""
        if self.val_images:
            self._start(runner, runner.val_dataloader, self.val_images)

    def after_val_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Draw what is chosen of one validation batch."""
        if self.val_images:
            for index, picture in self._chosen(outputs):
                self._pictures[index] = picture

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Send the pictures of all processes to the visual backends."""
        if not self.val_images:
            return
        pictures: dict[int, np.ndarray] = {}
        for drawn in all_gather_object(self._pictures):
            pictures |= drawn
        loop = self._train_loop
        step = (
            0
            if loop is None
            else (loop.iter if isinstance(loop, IterBasedTrainLoop) else loop.epoch)
        )
        for index in sorted(pictures):
            runner.visualizer.add_image(
                f'val_{self._names[index]}', pictures[index], step
            )

    def before_test_epoch(self, runner: Runner) -> None:
        """Choose the images."""
        if self.out_dir is not None:
            self._start(runner, runner.test_dataloader, self.max_images)

    def after_test_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence | None = None,
    ) -> None:
        """Write the pictures of one test batch."""
        if self.out_dir is None:
            return
        for index, picture in self._chosen(outputs):
            path = Path(self.out_dir) / f'{self._names[index]}.png'
            # Two processes may have the same image, where they do not divide evenly.
            write_png(path, picture)

    def _start(
        self, runner: Runner, loader: DataLoader, wanted: int | Sequence[str]
    ) -> None:
        """Choose images and prepare to draw them."""
        metainfo = getattr(loader.dataset, 'metainfo', None)
        self._painter = Painter(
            runner, metainfo, self.panels, self.score_thr, self.min_size
        )
        self._names = choose_images(loader.dataset, wanted)
        # The dataset's indices in the order in which this process gets the images.
        batches = loader.batch_sampler
        assert batches is not None  # MMEngine builds every dataloader with one
        self._order = iter([i for batch in batches for i in batch])
        self._pictures: dict[int, np.ndarray] = {}

    def _chosen(self, outputs: Sequence | None) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the index and the picture of each chosen image of a batch.

        Visualizers of other packages may fail for any reason. The log then says which
        picture is missing and why, and the run continues.
        """
        for sample, index in zip(outputs or (), self._order):  # noqa: B905
            if index not in self._names:
                continue
            try:
                picture = self._painter.draw(sample)
            except Exception as error:
                print_log(
                    f'picture_grid: no picture of {self._names[index]!r}, drawing it '
                    f'failed with {type(error).__name__}: {error}',
                    'current',
                    logging.WARNING,
                )
            else:
                yield index, picture


def choose_images(dataset: Dataset, wanted: int | Sequence[str]) -> dict[int, str]:
    """Choose images of a dataset and name them.

    Args:
        dataset: With ``get_data_info``, as MMEngine's, or without file names.
        wanted: How many, evenly spaced; or file names, with or without folder and
            suffix.

    Returns:
        dict[int, str]: A different name for each chosen index.

    Raises:
        ConfigError: If no image has such a file name.
    """
    length = len(dataset)  # type: ignore[arg-type]  # torch promises no length
    if isinstance(wanted, int):
        count = min(wanted, length)
        spaced = [i * length // count for i in range(count)]
        return unique_names({i: image_path(dataset, i) for i in spaced})
    paths = {i: image_path(dataset, i) for i in range(length)}
    chosen: dict[int, Path] = {}
    missing = []
    for name in wanted:
        found = {i: path for i, path in paths.items() if _ends_with(path, Path(name))}
        chosen |= found
        if not found:
            missing.append(name)
    if missing:
        raise ConfigError(
            f'picture_grid.val_images: the validation set has no images {missing}; '
            f'its {length} images have names as {paths[0].name}'
        )
    return unique_names(chosen)


def _ends_with(path: Path, end: Path) -> bool:
    return any(
        p.parts[-len(end.parts) :] == end.parts for p in (path, path.with_suffix(''))
    )
