"""Resize images for the task network, after the SR network.

A detector enlarges its images, often to 800 pixels along the short side. The
degradation makes the LR image of the image as the camera took it, the SR network
restores that size, and then :class:`TaskResize` enlarges the image (in the authors'
code, the detector's transform does). It changes boxes, masks and maps, too; the task
network gives its predictions in the pixels of the file, since it divides them by
``scale_factor``.
"""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import TRANSFORMS
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor, nn

from mmsr4ir.utils.configs import as_list
from mmsr4ir.utils.errors import ConfigError

from .batch import Batch
from .image_space import ImageSpace, image_size
from .resizing import fill_beside, fill_value, nearest, resize_images, resize_instances

#: Meta key of a sample with a :class:`TaskSize` of its own, as each version of an image
#: in test-time augmentation has one.
TASK_SIZE = 'task_size'
#: Transforms of the three libraries that resize an image as a whole.
RESIZES = frozenset(
    (
        'FixScaleResize',
        'FixShapeResize',
        'RandomChoiceResize',
        'RandomResize',
        'Resize',
        'ResizeEdge',
        'ResizeShortestEdge',
        'ResizeToMultiple',
    )
)
# The interpolations of OpenCV and Pillow that torch has under the same name.
_MODES = ('bilinear', 'bicubic', 'area', 'nearest')
_MOST_KNOWN = 4096  # sizes that need not be asked for again
_INSTANCES = ('gt_instances', 'ignored_instances', 'proposals')


@dataclasses.dataclass(frozen=True)
class TaskSize:
    """What becomes of one image.

    Attributes:
        size: (height, width) after the resize, in pixels.
        canvas: (height, width) with what a ``Pad`` adds at the right and below.
        fill: The value of each channel, 0 to 255, of what it adds, in the order of the
            channels of a loaded image; three equal ones may be for any channels.
    """

    size: tuple[int, int]
    canvas: tuple[int, int]
    fill: tuple[float, ...] = (0.0, 0.0, 0.0)


class SizeRule:
    """The size that transforms of a task library's pipeline give an image.

    Args:
        cfg: One transform that resizes or a list of them, then perhaps ``Pad``; none
            leaves images as they are.

    Raises:
        ConfigError: If a transform's ``interpolation`` is none of ``'bilinear'``,
            ``'bicubic'``, ``'area'`` and ``'nearest'``.
    """

    def __init__(self, cfg: Mapping | Sequence[Mapping] | None) -> None:
        self.transforms = [
            TRANSFORMS.build(copy.deepcopy(dict(one))) for one in as_list(cfg)
        ]
        self.mode = 'bilinear'
        for transform in self.transforms:
            resize = getattr(transform, 'resize', transform)  # of one that draws a size
            kind = getattr(resize, 'interpolation', None)
            if kind is not None:
                if kind not in _MODES:
                    raise ConfigError(
                        f'model.task_resize: interpolation={kind!r} does not exist in '
                        f'torch; use one of {", ".join(_MODES)}'
                    )
                self.mode = kind
                # The fastest, for images without content.
                resize.interpolation = 'nearest'
        self.resizes = bool(self.transforms)
        #: (long, short) edge of images whose sides keep their ratio, if that is all.
        self.ratio_scale = None
        if [type(one).__name__ for one in self.transforms] == ['Resize'] and (
            self.transforms[0].keep_ratio and self.transforms[0].scale
        ):
            scale = self.transforms[0].scale
            self.ratio_scale = (max(scale), min(scale))
        self.draws = any('Random' in type(one).__name__ for one in self.transforms)
        self.known: dict[tuple[int, int], TaskSize] = {}

    def size(self, image: tuple[int, int]) -> TaskSize:
        """Say what becomes of an image of (height, width) pixels."""
        if self.draws or image not in self.known:
            if len(self.known) >= _MOST_KNOWN:
                self.known.clear()
            self.known[image] = self.ask(image)
        return self.known[image]

    def ask(self, image: tuple[int, int]) -> TaskSize:
        """Run the library's own transforms on an image without content."""
        results: dict[str, Any] = dict(
            img=np.zeros(image, np.uint8), img_shape=image, ori_shape=image
        )
        size = image
        for transform in self.transforms:
            if type(transform).__name__ == 'Pad':
                beside = getattr(transform, 'pad_val', {}).get('img')
                channels = len(beside) if isinstance(beside, tuple) else 3
                results['img'] = np.zeros((*size, channels), np.uint8)
            results = transform(results)
            if type(transform).__name__ != 'Pad':
                size = results['img'].shape[:2]
        canvas = results['img'].shape[:2]
        if canvas == size:
            return TaskSize(size, size)
        return TaskSize(size, canvas, tuple(map(float, results['img'][-1, -1])))


def task_rules(
    cfg: Mapping | Sequence[Mapping] | None, task: nn.Module
) -> Mapping[bool, SizeRule] | None:
    """Read ``model.task_resize``.

    Args:
        cfg: A transform of the task library's pipelines or a list of them, as
            ``dict(type='Resize', scale=(1333, 800), keep_ratio=True)``; or
            ``dict(train=..., test=...)`` where the training has others.
        task: The task network. One of torchvision may have rules of its own.

    Returns:
        Mapping | None: For training (True) and test; None where nothing is resized.

    Raises:
        ConfigError: If ``cfg`` is ``'pipeline'``, which only
            :func:`mmsr4ir.datasets.move_resize.move_resize` can read; if the task
            network has rules of its own and ``cfg`` gives others; or if
            :class:`SizeRule` refuses a transform.
    """
    own = getattr(task, 'task_resize', None)
    if not cfg:
        return own
    if isinstance(cfg, str):
        raise ConfigError(
            f"model.task_resize={cfg!r}: 'pipeline' is for a whole config, whose "
            "pipelines' Resize moves into the model. This package's tools move it, and "
            "so does runner_type='mmsr4ir.SR4IRRunner' in a config. A tool that builds "
            'the model by itself takes the config that a training wrote into its work '
            'directory; in Python, call mmsr4ir.engine.move_resize(cfg) first'
        )
    train, test = (
        (cfg.get('train'), cfg.get('test'))
        if isinstance(cfg, Mapping) and 'type' not in cfg
        else (cfg, cfg)
    )
    if own and (train or test):
        raise ConfigError(
            f'model.task_resize={train or test}: {type(task).__name__} resizes by '
            'itself (min_size and max_size of model.task): take the Resize out of the '
            'pipelines'
        )
    return own or {True: SizeRule(train), False: SizeRule(test)}


class TaskResize:
    """Bring a batch to the size in which the task network wants it.

    Args:
        rules: For training (True) and test, see :func:`task_rules`.
        preprocessor: The task network's; what it pads with beyond that is read from it.
        image_space: How it normalises.
    """

    def __init__(
        self,
        rules: Mapping[bool, SizeRule],
        preprocessor: BaseDataPreprocessor,
        image_space: ImageSpace,
    ) -> None:
        self.rules = rules
        self.preprocessor = preprocessor
        self.image_space = image_space
        self.padding = {
            training: batch_padding(preprocessor, training)
            for training in (True, False)
        }
        if rules[True].resizes and getattr(preprocessor, 'size', None):
            # mmsegmentation would pad to the size that the task network wants before
            # images have it; here it only stacks them.
            preprocessor.size, preprocessor.size_divisor = None, 1

    def __call__(self, batch: Batch, training: bool) -> Batch:
        """Resize what is the task network's in a batch.

        Args:
            batch: As the preprocessor made it; it is left as it is.
            training: Whether the labels are to follow too. In a test they stay in the
                pixels of the file, where metrics compare.

        Returns:
            Batch: With other ``inputs``, ``samples`` and ``task_sizes``.
        """
        rule = self.rules[training]
        metas = [sample.metainfo for sample in batch.samples or ()] or [{}] * len(
            batch.sizes
        )
        to = [
            meta.get(TASK_SIZE) or rule.size(size)
            for size, meta in zip(batch.sizes, metas, strict=True)
        ]
        divisor, least, value = self.padding[training]
        height, width = (
            -(-max(least[axis], *(one.canvas[axis] for one in to)) // divisor) * divisor
            for axis in (0, 1)
        )
        full = height, width
        samples = [
            self.sample(sample, size, one, full, labels=training)
            for sample, size, one in zip(
                batch.samples or (), batch.sizes, to, strict=False
            )
        ]
        task_sizes = [one.size for one in to]
        if full == batch.full == batch.task_full and task_sizes == batch.sizes == [
            one.canvas for one in to
        ]:
            return dataclasses.replace(batch, samples=samples)
        inputs = resize_images(batch.inputs, batch.sizes, task_sizes, full, rule.mode)
        for image, one in zip(inputs, to, strict=True):
            self._fill(image, one, value)
        return dataclasses.replace(
            batch, inputs=inputs, samples=samples, task_sizes=task_sizes
        )

    def images(self, inputs: Tensor, batch: Batch, training: bool) -> Tensor:
        """Resize images of a batch as its HR images were.

        Args:
            inputs: (N, C, H, W), normalised.
            batch: The batch, after :meth:`__call__`.
            training: Whether the rule of the training holds.

        Returns:
            Tensor: (N, C, H', W'), of the size of ``batch.inputs``.
        """
        if batch.task_sizes is None:  # they had their size already
            return inputs
        return resize_images(
            inputs,
            batch.sizes,
            batch.task_sizes,
            batch.task_full,
            self.rules[training].mode,
        )

    def image(self, sr: Tensor) -> Tensor:
        """Resize images of one size for a test, in a graph, too.

        Args:
            sr: (N, C, H, W), [0, 1]; RGB if C is 3.

        Returns:
            Tensor: (N, C, H', W'), [0, 1].
        """
        rule, (height, width) = self.rules[False], sr.shape[-2:]
        if self.is_fixed():
            to = rule.size((64, 64))
        elif rule.ratio_scale:
            # As mmcv.rescale_size, whose int() would take the size for a constant.
            long, short = rule.ratio_scale
            factor = torch.sym_min(
                long / torch.sym_max(height, width),
                short / torch.sym_min(height, width),
            )
            size = [torch.sym_int(side * factor + 0.5) for side in (height, width)]
            return F.interpolate(sr, size, mode=rule.mode)
        else:
            to = rule.size((height, width))
        sr = F.interpolate(sr, to.size, mode=rule.mode)
        beside = self.image_space.loaded_to_image(fill_value(sr[0], to.fill))
        pads = (0, to.canvas[1] - to.size[1], 0, to.canvas[0] - to.size[0])
        return beside[None] + F.pad(sr - beside[None], pads) if any(pads) else sr

    def is_fixed(self) -> bool:
        """Return whether images of all sizes and shapes get one size in a test."""
        shapes = (64, 64), (64, 128), (128, 64)
        return len({self.rules[False].size(shape) for shape in shapes}) == 1

    def any_size(self) -> bool:
        """Return whether :meth:`image` holds for any size in a graph."""
        return self.is_fixed() or self.rules[False].ratio_scale is not None

    def loaded(self, image: Tensor, sample) -> tuple[Tensor, BaseDataElement]:
        """Resize one image that the preprocessor has not seen, for a test.

        Args:
            image: (C, H, W), 0 to 255, in the order of the channels of a loaded image.
            sample: Its data sample.

        Returns:
            tuple: The image and its data sample, whose labels stay as they are.
        """
        size = image_size(image)
        to = self.rules[False].size(size)
        image = resize_images(
            image[None], [size], [to.size], to.canvas, self.rules[False].mode
        )[0]
        fill_beside(image, to.size, fill_value(image, to.fill))
        return image, self.sample(sample, size, to, to.canvas, labels=False)

    def sample(
        self,
        sample,
        size: tuple[int, int],
        to: TaskSize,
        full: tuple[int, int],
        labels: bool,
    ) -> BaseDataElement:
        """Copy a data sample, as that of the resized image.

        Args:
            sample: Of one of the task libraries.
            size: (height, width) of its image, in pixels.
            to: What becomes of it.
            full: (height, width) of the batch that it will be in.
            labels: Whether boxes, masks, key points and maps follow.
        """
        factors = to.size[1] / size[1], to.size[0] / size[0]  # of width and height
        before = sample.metainfo.get('scale_factor', (1.0, 1.0))
        beside = (0, full[1] - to.size[1], 0, full[0] - to.size[0])
        sample = sample.new(
            metainfo=dict(
                sample.metainfo,
                img_shape=to.canvas,
                pad_shape=full,
                batch_input_shape=full,
                padding_size=beside,
                img_padding_size=beside,
                scale_factor=tuple(
                    float(old) * new for old, new in zip(before, factors, strict=True)
                ),
            )
        )
        if not labels:
            return sample
        seg_value = getattr(
            self.preprocessor,
            'seg_pad_val',
            getattr(self.preprocessor, 'seg_pad_value', 255),
        )
        masks_to = full if getattr(self.preprocessor, 'pad_mask', False) else None
        for name in sample.keys():
            value = sample.get(name)
            if name in _INSTANCES:
                value = resize_instances(value, size, to.size, factors, masks_to)
                sample.set_data({name: value})
            elif isinstance(value, PixelData):  # mmseg's has `data`, mmdet's `sem_seg`
                value = value.new()
                for key, maps in list(value.items()):
                    maps = nearest(maps[:, : size[0], : size[1]], to.size)
                    value.pop(key)  # a map of another size would be refused
                    value.set_data({key: F.pad(maps, beside, value=seg_value)})
                sample.set_data({name: value})
        return sample

    def _fill(self, image: Tensor, one: TaskSize, value: float) -> None:
        """Fill what stands beside an image (C, H, W), as without a task resize."""
        beside = self.image_space.loaded_to_image(fill_value(image, one.fill))
        fill_beside(image, one.size, self.image_space.normalise(beside[None])[0])
        fill_beside(image, one.canvas, value)


def batch_padding(
    preprocessor: BaseDataPreprocessor, training: bool
) -> tuple[int, tuple[int, int], float]:
    """Return what a task network's preprocessor pads a batch to.

    Returns:
        tuple: Height and width become multiples of the first and are at least the
        second (height, width), in pixels; the third is the value, normalised.
    """
    if hasattr(preprocessor, 'pad_size_divisor'):  # of mmdet and mmpretrain
        return preprocessor.pad_size_divisor, (1, 1), preprocessor.pad_value
    of = (
        dict(
            size=getattr(preprocessor, 'size', None),
            size_divisor=getattr(preprocessor, 'size_divisor', None),
        )
        if training
        else getattr(preprocessor, 'test_cfg', None) or {}
    )
    return (
        of.get('size_divisor') or 1,
        tuple(of.get('size') or (1, 1)),
        getattr(preprocessor, 'pad_val', 0),
    )
