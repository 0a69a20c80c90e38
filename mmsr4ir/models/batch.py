"""A batch of images in the qualities that a train step works with."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from mmengine.logging import print_log
from torch import Tensor, nn

from .degradations.degradation import ImageByImage
from .image_space import extend_edges, image_size
from .losses import valid_mask

if TYPE_CHECKING:
    from .sr4ir import SR4IR

_ENLARGED = 1.05  # less is rounding


@dataclass
class Batch:
    """A batch on its way through the two networks.

    Attributes:
        inputs: (N, C, H', W'), the task network's normalised HR input; H' = H and
            W' = W without ``model.task_resize``.
        samples: The task's data samples, as ``inputs`` have them; None if a prediction
            is made without any.
        sizes: (height, width) of each image before padding, in pixels.
        hr: (N, C, H, W), RGB, [0, 1]; the padding repeats the edge pixels, or mirrors
            them with ``model.count_padding``.
        lr: (N, C, ceil(H / scale), ceil(W / scale)), RGB, [0, 1].
        task_sizes: (height, width) of each image in ``inputs``; None: ``sizes``.
        sr: (M, C, H, W), what the SR network last made of the first M images of ``lr``;
            with gradients only in a phase that updates that network.
        teacher_hr: The teacher's features of ``inputs``, level by level, once computed.
        whole: The batch that this one is the beginning of, see :meth:`first`.
    """

    inputs: Tensor
    samples: Sequence | None
    sizes: list[tuple[int, int]]
    hr: Tensor
    lr: Tensor
    task_sizes: list[tuple[int, int]] | None = None
    sr: Tensor | None = None
    teacher_hr: Sequence[Tensor] | None = None
    whole: 'Batch | None' = None

    @property
    def full(self) -> tuple[int, int]:
        """(height, width) with padding, in pixels."""
        return image_size(self.hr)

    @property
    def task_full(self) -> tuple[int, int]:
        """(height, width) of what the task network gets, with padding, in pixels."""
        return image_size(self.inputs)

    @cached_property
    def mask(self) -> Tensor | None:
        """(N, 1, H, W), 1 on the images and 0 on the padding; None without any."""
        return valid_mask(self.sizes, self.full, self.hr)

    @cached_property
    def task_mask(self) -> Tensor | None:
        """(N, 1, H', W'), the same of what the task network gets."""
        return valid_mask(self.task_sizes or self.sizes, self.task_full, self.inputs)

    def first(self, share: float) -> 'Batch':
        """Return the beginning of the batch, for a phase that sees only that.

        Args:
            share: The part of the N images, in (0, 1]; rounded up to whole images.

        Returns:
            Batch: The first images, padded as here; this batch itself if that is all.
        """
        count = images_of(len(self.inputs), share)
        if count == len(self.inputs):
            return self
        return replace(self.images(0, count), whole=self)

    def split(self, times: int) -> list['Batch']:
        """Divide the batch; of what cannot be divided evenly, the first get one more.

        Args:
            times: The number of parts.

        Returns:
            list[Batch]: The parts, padded as here; some are empty if N < ``times``.
        """
        least, more = divmod(len(self.inputs), times)
        ends = [least * number + min(number, more) for number in range(times + 1)]
        return [
            self.images(start, stop)
            for start, stop in zip(ends, ends[1:], strict=False)
        ]

    def images(self, start: int, stop: int) -> 'Batch':
        """Return the images from ``start`` to before ``stop`` as a batch."""
        some = slice(start, stop)
        return Batch(
            inputs=self.inputs[some],
            samples=None if self.samples is None else self.samples[some],
            sizes=self.sizes[some],
            hr=self.hr[some],
            lr=self.lr[some],
            task_sizes=None if self.task_sizes is None else self.task_sizes[some],
            sr=None if self.sr is None else self.sr[some],
        )


def images_of(count: int, share: float) -> int:
    """Return how many of ``count`` images a phase with a share sees, rounded up."""
    return math.ceil(count * share - 1e-9)


def make_batch(model: 'SR4IR', inputs: Tensor, samples: Sequence | None) -> Batch:
    """Make HR and LR images from a task network's input.

    1. Undo the normalisation.
    2. With a ``task_resize``, cut off what is padding in all images.
    3. Extend the edges of each image over its padding, up to sides that the scale
       divides.
    4. Degrade the result to ``lr``. The result is ``hr``, too, cut to the size of
       ``inputs`` if there is no ``task_resize``.
    5. With a ``task_resize``, resize the task network's input and its labels.

    Args:
        model: What holds the degradation and the other parts.
        inputs: (N, C, H', W'), normalised as the task network expects, padded.
        samples: N data samples of the task; their ``img_shape`` is the size of the
            image without padding.

    Returns:
        Batch: ``hr`` (N, C, H, W) and ``lr`` (N, C, ceil(H / scale), ceil(W / scale)),
        both in [0, 1], RGB if C is 3, and ``inputs`` of the task network, resized if
        there is a ``task_resize``.
    """
    if not model.checked_sizes:
        # In a test, go on until one is found: in test-time augmentation each version of
        # an image is a batch of its own, and the first may well be a smaller one.
        model.checked_sizes = warn_of_enlarged(samples or ()) or model.training
    inputs = inputs.contiguous(memory_format=model.memory_format)
    full = image_size(inputs)
    sizes = (
        [shown_size(sample, full) for sample in samples]
        if samples
        else [full] * len(inputs)
    )
    hr = model.image_space.to_image(inputs)
    if model.task_resize:  # padding is added after the task network's resize
        hr = hr[..., : max(h for h, _ in sizes), : max(w for _, w in sizes)]
    # The degradation needs sides that the scale divides.
    extended = extend_edges(
        hr, sizes, model.degradation.scale, mirror=model.count_padding
    )
    if model.task_resize:
        full = image_size(extended)
    # Some degradations draw for each image, and must not see its padding.
    each = (sizes, samples or ()) if isinstance(model.degradation, ImageByImage) else ()
    lr = model.degradation(extended, *each)
    hr, lr = (
        image.contiguous(memory_format=model.memory_format)
        for image in (extended[..., : full[0], : full[1]], lr)
    )
    batch = Batch(inputs, samples, sizes, hr, lr)
    return model.task_resize(batch, model.training) if model.task_resize else batch


def shown_size(sample, default: tuple[int, int]) -> tuple[int, int]:
    """Return the size of a data sample's image without padding.

    Args:
        sample: A data sample of the task.
        default: The size where the sample does not tell its ``img_shape``.

    Returns:
        tuple[int, int]: (height, width) in pixels.
    """
    height, width = sample.metainfo.get('img_shape', default)[:2]
    return height, width


def complete_meta(preprocessor: nn.Module, args: tuple) -> None:
    """Tell each sample the size of its image, and that nothing resized it.

    Some transforms do not update ``img_shape``, such as torchvision's in mmpretrain,
    and whatever lies beyond it is taken for padding. A pipeline without a resize gives
    no ``scale_factor``, and mmdet's detectors cannot predict without one. This is a
    forward pre-hook of a preprocessor.
    """
    data = args[0]
    for image, sample in zip(
        data['inputs'], data.get('data_samples') or (), strict=False
    ):
        size, meta = image_size(image), sample.metainfo
        if shown_size(sample, size) != size:
            sample.set_metainfo(dict(img_shape=size))
        if 'scale_factor' not in meta and tuple(meta.get('ori_shape', ())[:2]) == size:
            sample.set_metainfo(dict(scale_factor=(1.0, 1.0)))


def warn_of_enlarged(samples: Sequence) -> bool:
    """Warn of images that the pipeline has enlarged before an LR image is made of them.

    Args:
        samples: The task's data samples, as the pipeline packed them.

    Returns:
        bool: Whether there are any.
    """
    for sample in samples:
        meta = sample.metainfo
        factors = meta.get('scale_factor') or [
            new / old
            for new, old in zip(
                meta.get('img_shape', ())[:2],
                meta.get('ori_shape', ())[:2],
                strict=False,
            )
        ]
        if len(factors) == 2 and min(factors) > _ENLARGED:
            print_log(
                'the pipeline enlarges images (the first one '
                f'{min(factors):.2f} times) before the degradation makes LR images of '
                f'them, which then hold {factors[0] * factors[1]:.1f} times the '
                'pixels that LR images of the files would, so that there is less to '
                "restore. model.task_resize='pipeline' moves the resize behind the SR "
                'network, unless a crop or the like comes after it',
                'current',
                logging.WARNING,
            )
            return True
    return False
