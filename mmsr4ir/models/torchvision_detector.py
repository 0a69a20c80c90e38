"""Detectors of torchvision as task networks, see :mod:`.torchvision_networks`."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torchvision.models.detection
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from mmsr4ir.compat.torchvision_amp import keep_boxes
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError

from .batch import shown_size
from .image_space import image_size
from .task_resize import SizeRule, TaskSize
from .torchvision_networks import TorchvisionNetwork


@MODELS.register_module()
class TorchvisionDetector(TorchvisionNetwork):
    """A detector of ``torchvision.models.detection``, for data of mmdetection.

    Its resize (``min_size``, ``max_size``) comes after the SR network, as
    ``model.task_resize`` of the other task networks does.
    """

    family = torchvision.models.detection
    library = 'mmdet'
    preprocessor = dict(type='mmdet.DetDataPreprocessor', bgr_to_rgb=True)
    network: Any  # torchvision's detectors share parts, but no annotated class

    def __init__(self, arch: str, *args, **options) -> None:
        super().__init__(arch, *args, **options)
        if self.weights_backbone and not hasattr(self.network.backbone, 'body'):
            raise ConfigError(
                f'model.task.weights_backbone: {arch} has the tensors of '
                'its backbone under other names than any classifier'
            )
        keep_boxes(self.network)
        transform = self.network.transform
        self.task_resize = {
            training: TransformSize(copy.deepcopy(transform), training)
            for training in (True, False)
        }
        self.network.transform = _AsItIs(transform)

    def _build(self, arch: str, num_classes: int, options: dict) -> nn.Module:
        if 'trainable_backbone_layers' in options:  # only where it loads weights
            raise ConfigError(
                'model.task.trainable_backbone_layers has no effect here: '
                'name what is not trained in model.task.frozen'
            )
        if arch.startswith('keypointrcnn'):
            raise ConfigError(
                f'model.task.arch {arch!r}: data of mmdetection have no key points'
            )
        return super()._build(arch, num_classes + 1, options)  # 0 is the background

    def _preprocessor_cfg(self, network: nn.Module) -> dict:
        transform: GeneralizedRCNNTransform = network.transform
        return dict(
            self.preprocessor,
            mean=[255 * value for value in transform.image_mean],
            std=[255 * value for value in transform.image_std],
            pad_size_divisor=transform.size_divisible,
        )

    def backbone_body(self) -> nn.Module:
        """Return the part below the feature pyramid."""
        return getattr(self.network.backbone, 'body', self.network.backbone)

    def tensor(self, inputs: Tensor, data_samples: Sequence | None = None) -> tuple:
        """Detect in the images as they are.

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: Tell the size of each image without padding.

        Returns:
            tuple: Boxes (M, 4), x1, y1, x2, y2 in pixels of the input; scores (M, ) in
            [0, 1]; and labels (M, ); of all images, one after the other.
        """
        found = self._run(inputs, data_samples)
        return tuple(
            torch.cat([one[key] for one in found])
            for key in ('boxes', 'scores', 'labels')
        )

    def loss(self, inputs: Tensor, data_samples: Sequence) -> dict[str, Tensor]:
        """Compute torchvision's losses; also in eval mode, as of a frozen network.

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: N, with their boxes, labels and masks.

        Returns:
            dict[str, Tensor]: Scalars.
        """
        truths = [sample.gt_instances for sample in data_samples]
        # torchvision refuses boxes without an area, as a crop leaves them.
        has_area = [
            (truth.bboxes[:, 2:] > truth.bboxes[:, :2]).all(1) for truth in truths
        ]
        targets = []
        for truth in _choose(truths, has_area):
            target = dict(boxes=truth.bboxes, labels=truth.labels + 1)
            if 'masks' in truth:
                target['masks'] = truth.masks.to_tensor(torch.uint8, inputs.device)
            targets.append(target)
        with _loss_mode(self.network):
            losses = self._run(inputs, data_samples, targets)
        return {
            name if 'loss' in name else f'loss_{name}': value
            for name, value in losses.items()
        }

    def predict(self, inputs: Tensor, data_samples: Sequence) -> list:
        """Put boxes, in the pixels of the file, into the data samples.

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: N, changed in place.
        """
        sizes, files = (
            [sample.metainfo[key][:2] for sample in data_samples]
            for key in ('img_shape', 'ori_shape')
        )
        results = self.network.transform.postprocess_to(
            self._run(inputs, data_samples), sizes, files
        )
        found = []
        for one in results:
            instances = InstanceData(
                bboxes=one['boxes'], scores=one['scores'], labels=one['labels'] - 1
            )
            if 'masks' in one:
                instances.masks = one['masks'][:, 0] > 0.5
            found.append(instances)
        # RetinaNet and FCOS have an output for the background, too.
        found = _choose(found, [instances.labels >= 0 for instances in found])
        for sample, instances in zip(data_samples, found, strict=True):
            sample.pred_instances = instances
        return list(data_samples)

    def _run(
        self,
        inputs: Tensor,
        data_samples: Sequence | None,
        targets: list[dict] | None = None,
    ) -> Any:
        """Return the losses by name; without targets, what is found in each image."""
        full = image_size(inputs)
        sizes = (
            [shown_size(sample, full) for sample in data_samples]
            if data_samples
            else [full] * len(inputs)
        )
        self.network.transform.batch = ImageList(inputs, sizes)
        # Of these it only asks for the number.
        return self.network(list(inputs), targets)


class TransformSize(SizeRule):
    """The size that a detector's own transform gives an image.

    Args:
        transform: A ``GeneralizedRCNNTransform``.
        training: Whether it draws one of several sizes.
    """

    def __init__(self, transform: GeneralizedRCNNTransform, training: bool) -> None:
        super().__init__(None)
        self.transform = transform.train(training)
        self.draws = training and len(transform.min_size) > 1
        self.resizes = True

    def ask(self, image: tuple[int, int]) -> TaskSize:
        """Run the detector's transform on an image without content."""
        resized = image_size(self.transform.resize(torch.zeros(1, *image))[0])
        return TaskSize(resized, resized)


class _AsItIs(nn.Module):
    """In the place of a detector's transform: the images are ready for its backbone."""

    def __init__(self, transform: GeneralizedRCNNTransform) -> None:
        super().__init__()
        self.batch: ImageList | None = None
        self.postprocess_to = transform.eval().postprocess

    def forward(
        self, images: list[Tensor], targets: list[dict] | None = None
    ) -> tuple[ImageList, list[dict] | None]:
        batch, self.batch = self.batch, None
        return batch, targets

    def postprocess(
        self, result: list[dict], image_shapes: list, original_sizes: list
    ) -> list[dict]:
        return result


def _choose(batch: list[InstanceData], chosen: list[Tensor]) -> list[InstanceData]:
    """Return the chosen objects of each image.

    Indexing by a mask waits for a GPU, once for each field of each image. Nearly always
    all objects are chosen, and to ask for that is one wait.

    Args:
        batch: The objects of each image.
        chosen: (M, ) of each, bool.
    """
    if torch.cat(chosen).all():
        return batch
    return [one[mask] for one, mask in zip(batch, chosen, strict=True)]


@contextmanager
def _loss_mode(network: nn.Module) -> Iterator[None]:
    """Let a detector compute losses whatever mode its layers are in.

    It asks itself, its RPN and its heads for their mode, not their layers.
    """
    parts = [
        part
        for name, part in network.named_modules()
        if name in ('', 'rpn', 'roi_heads')
    ]
    modes = [part.training for part in parts]
    for part in parts:
        part.training = True
    try:
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
