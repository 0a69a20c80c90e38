"""Genuine LR images, without any HR image: restore them and recognise what is there.

The task network gets the restored images through its own preprocessor, as if they were
files of that size. What it finds is in the coordinates of the image that was given, or
of the restored one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from mmengine.model import ImgDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmsr4ir.models.batch import shown_size
from mmsr4ir.models.image_space import image_size, to_uint8
from mmsr4ir.utils.errors import ConfigError

from .tiles import Tiles

if TYPE_CHECKING:  # it imports this module
    from mmsr4ir.models.sr4ir import SR4IR

#: Whose pixels predictions are measured in: the image that was given, or the restored
#: one, which has those of the HR image.
COORDINATES = ('lr', 'sr')


@dataclass(frozen=True)
class LRInput:
    """How :class:`SR4IR` predicts on images that are LR already.

    Args:
        coordinates: One of :data:`COORDINATES`.
        tile: Largest edge, in LR pixels, that the SR network restores at once; None:
            any.
        overlap: See :class:`~mmsr4ir.models.prediction.tiles.Tiles`, in LR pixels.

    Raises:
        ConfigError: If ``coordinates`` is none of :data:`COORDINATES`, or tiles of this
            size and overlap do not cover an image.
    """

    coordinates: str = 'lr'
    tile: int | None = None
    overlap: int = 32

    def __post_init__(self) -> None:
        if self.coordinates not in COORDINATES:
            raise ConfigError(
                f'coordinates={self.coordinates!r}: use one of {COORDINATES}'
            )
        if self.tile is not None:
            Tiles(self.tile, self.overlap)  # which refuses what cannot be


@torch.no_grad()
def predict_lr(model: 'SR4IR', inputs: Tensor, samples: Sequence, how: LRInput) -> list:
    """Restore LR images and predict on the result.

    Args:
        model: A :class:`SR4IR`.
        inputs: (N, C, h, w), normalised by the task's preprocessor, perhaps padded.
        samples: The task's data samples.
        how: Coordinates and tiles.

    Returns:
        list: See :func:`recognise`.
    """
    images = model.image_space.to_image(inputs)
    sizes = [shown_size(sample, image_size(images)) for sample in samples]
    lr = [
        image[:, :height, :width]
        for image, (height, width) in zip(images, sizes, strict=True)
    ]
    sr = super_resolve_all(model, lr, how)
    return recognise(model, lr, sr, samples, how.coordinates)


@torch.no_grad()
def super_resolve_all(
    model: 'SR4IR', lr: Sequence[Tensor], how: LRInput
) -> list[Tensor]:
    """Restore images of any sizes, each as if it were alone.

    Args:
        model: A :class:`SR4IR`.
        lr: Images (C, h, w), [0, 1], RGB if C is 3.
        how: Its tiles.

    Returns:
        list[Tensor]: (C, h * scale, w * scale), [0, 1] except for overshoots.
    """
    restored: dict[int, Tensor] = {}
    for indices in indices_by_size(lr):
        if how.tile is not None and max(image_size(lr[indices[0]])) > how.tile:
            tiles = Tiles(how.tile, how.overlap, model.degradation.scale, model.window)
            restored |= {i: tiles.whole(model.super_resolve, lr[i]) for i in indices}
        else:
            sr = model.super_resolve(torch.stack([lr[i] for i in indices]))
            restored |= zip(indices, sr, strict=True)
    return [restored[i] for i in range(len(lr))]


@torch.no_grad()
def recognise(
    model: 'SR4IR',
    lr: Sequence[Tensor],
    sr: Sequence[Tensor],
    samples: Sequence,
    coordinates: str,
) -> list:
    """Run the task network on restored images.

    Images of different sizes share a batch where the preprocessor pads, as mmdet's
    does; those of mmsegmentation and mmpretrain get a batch for each size.

    Args:
        model: A :class:`SR4IR`.
        lr: (C, h, w), [0, 1].
        sr: (C, h * scale, w * scale), [0, 1] except for overshoots.
        samples: The task's data samples, with the meta information of the LR images.
        coordinates: One of :data:`COORDINATES`. With ``'sr'`` a map has the size of
            the true one, where there is one: HR need not be a multiple of LR.

    Returns:
        list: The data samples with predictions, and ``images``, a dict of uint8
        tensors ``lr`` and ``sr`` (C, height, width). Their meta information is
        that of the LR image again, but ``ori_shape`` is the size, in pixels, that the
        predictions belong to.

    Raises:
        ConfigError: If ``model.test_on`` is not ``'sr'``.
    """
    if model.test_on != 'sr':
        raise ConfigError(
            f'test_on={model.test_on!r} needs HR images, but the input is LR: set '
            "model.test_on='sr' (for interpolation instead of an SR network, "
            "model.sr=dict(type='mmsr4ir.InterpolateUpsampler'))"
        )
    pads = isinstance(model.data_preprocessor, ImgDataPreprocessor)
    inputs: Sequence[Tensor] = [model.image_space.to_loaded(image) for image in sr]
    enlarged_samples: Sequence = [
        restored_sample(sample, image, model.degradation.scale, coordinates)
        for sample, image in zip(samples, sr, strict=True)
    ]
    if model.task_resize:
        inputs, enlarged_samples = zip(
            *map(model.task_resize.loaded, inputs, enlarged_samples), strict=True
        )
    predictions = [None] * len(sr)
    for indices in [range(len(sr))] if pads else indices_by_size(inputs):
        batch = model.data_preprocessor(
            dict(
                inputs=[inputs[i] for i in indices],
                data_samples=[enlarged_samples[i] for i in indices],
            ),
            False,
        )
        found = model.network('task')(
            batch['inputs'], batch['data_samples'], mode='predict'
        )
        for i, prediction in zip(indices, found, strict=True):
            size = prediction.metainfo['ori_shape']
            prediction = prediction.new(
                metainfo=dict(samples[i].metainfo, ori_shape=size)
            )
            prediction.images = dict(lr=to_uint8(lr[i]), sr=to_uint8(sr[i]))
            predictions[i] = prediction
    return predictions


def restored_sample(
    sample: BaseDataElement, sr: Tensor, scale: int, coordinates: str
) -> BaseDataElement:
    """Copy a data sample, with the meta information of the restored image.

    The task network divides by ``scale_factor`` to get to the coordinates of an image
    of ``ori_shape``.

    Args:
        sample: The data sample of the LR image.
        sr: (C, h * scale, w * scale), the restored image.
        scale: Of the SR network.
        coordinates: One of :data:`COORDINATES`.
    """
    meta = sample.metainfo
    size, factor = image_size(sr), tuple(meta.get('scale_factor', (1.0, 1.0)))
    given = tuple(meta.get('ori_shape', (size[0] // scale, size[1] // scale)))[:2]
    if coordinates == 'lr':
        factor = tuple(value * scale for value in factor)
    else:
        truth = sample.get('gt_sem_seg')
        given = (
            tuple(side * scale for side in given)
            if (truth is None)
            else image_size(truth.data)
        )
    return sample.new(
        metainfo=dict(
            meta, img_shape=size, pad_shape=size, ori_shape=given, scale_factor=factor
        )
    )


def indices_by_size(images: Sequence[Tensor]) -> Iterator[list[int]]:
    """Yield the indices of the images (..., H, W) of each size."""

    def size(i: int) -> tuple[int, int]:
        return image_size(images[i])

    for _, indices in groupby(sorted(range(len(images)), key=size), key=size):
        yield list(indices)
