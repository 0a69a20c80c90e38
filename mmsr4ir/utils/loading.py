"""How a pipeline decodes image files, for what reads files beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .configs import as_list, type_name


@dataclass(frozen=True)
class Loading:
    """What ``LoadImageFromFile`` of a pipeline says.

    Args:
        color_type: MMCV's flag: ``'color'`` makes three channels and ``'grayscale'``
            one, of 8 bits and turned by an EXIF orientation; with
            ``'_ignore_orientation'`` behind it not turned; ``'unchanged'`` is what the
            file holds.
        backend: MMCV's decoder; None for OpenCV.
    """

    color_type: str = 'color'
    backend: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether all files give images with three channels of 8 bits."""
        return self.color_type.startswith('color') and self.backend in (
            None,
            'cv2',
            'pillow',
            'turbojpeg',
        )

    @property
    def is_gray(self) -> bool:
        """Whether all files give images with one channel of 8 bits."""
        return self.color_type.startswith('grayscale') and self.backend != 'tifffile'

    @property
    def turns(self) -> bool:
        """Whether images with an EXIF orientation are turned."""
        return self.color_type in ('color', 'grayscale') and self.backend in (
            None,
            'cv2',
            'pillow',
        )


#: As ``LoadImageFromFile`` loads by default.
USUAL = Loading()


def loading_of(pipeline: Sequence[Mapping]) -> Loading:
    """Return how a pipeline decodes files; as by default if nothing in it says so."""
    for one in pipeline:
        if type_name(one) == 'LoadImageFromFile':
            return Loading(
                one.get('color_type') or 'color', one.get('imdecode_backend')
            )
    return USUAL


def loading_in(
    cfg: Mapping, splits: Sequence[str] = ('test', 'val', 'train')
) -> Loading:
    """Return how the first of some splits of a whole config decodes files.

    Args:
        cfg: The whole config.
        splits: Those whose dataloaders are looked at, one after the other.

    Returns:
        Loading: As by default if no split has a pipeline.
    """
    for split in splits:
        pipeline = pipeline_of((cfg.get(f'{split}_dataloader') or {}).get('dataset'))
        if pipeline:
            return loading_of(pipeline)
    return USUAL


def pipeline_of(dataset: Any) -> Sequence[Mapping]:
    """Return the pipeline of the innermost data set, the first of several.

    Args:
        dataset: The config of a data set, which may wrap others; or None.
    """
    if not isinstance(dataset, Mapping):
        return ()
    inner = as_list(dataset.get('datasets')) or as_list(dataset.get('dataset'))
    return pipeline_of(inner[0]) if inner else dataset.get('pipeline') or ()
