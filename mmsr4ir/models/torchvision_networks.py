"""Networks of torchvision as task networks: detectors, segmentors and classifiers.

They are torchvision's own, with the names of its state dicts, its normalisation and,
for detectors, its resize; around them is what :class:`SR4IR` asks of a task network.
The networks of the SR4IR paper are among them.
"""

import copy
import difflib
import os
from collections.abc import Mapping, Sequence
from types import ModuleType

import torch
import torchvision.models
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FrozenBatchNorm2d

from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError

from .weights import WeightsError, add_prefix, drop_prefix, mismatch

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's


class TorchvisionNetwork(BaseModel):
    """Hold what the three kinds of networks have in common.

    Args:
        arch: Name of the network in torchvision, as ``'resnet18'``.
        num_classes: Classes; for detectors without the background.
        weights_backbone: File or address (``'torchvision://resnet18'``) of a classifier
            of torchvision, from which the backbone starts in a training; a classifier
            starts from all of it but a last layer of other classes. ``init_cfg`` of
            the whole network, if there is one, comes after it.
        frozen: Names in the network, as ``'backbone.body.0'``, of what is not trained;
            its batch normalisation keeps its statistics.
        frozen_batch_norm: Whether the backbone's statistics and scales of batch
            normalisation stay as they are loaded (``FrozenBatchNorm2d``), as
            torchvision does for detectors that start from ImageNet.
        data_preprocessor: Instead of the library's with torchvision's normalisation.
        **options: Of torchvision's function of that name.

    Raises:
        ConfigError: If torchvision has no network ``arch``, the network has no part
            that ``frozen`` names, or its function does not take one of ``options``.
    """

    #: Module of torchvision, library whose data samples are taken, its preprocessor.
    family: ModuleType
    library: str
    preprocessor: dict

    def __init__(
        self,
        arch: str,
        num_classes: int,
        weights_backbone: str | None = None,
        frozen: Sequence[str] = (),
        frozen_batch_norm: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        **options,
    ) -> None:
        network = self._build(arch, num_classes, options)
        self.num_classes = num_classes
        #: Its config, which says what it does to the channels.
        # As of mmpretrain's networks, what is given need not name the class.
        self.preprocessor_cfg = dict(data_preprocessor or {})
        if 'type' not in self.preprocessor_cfg:
            self.preprocessor_cfg = dict(
                self._preprocessor_cfg(network), **self.preprocessor_cfg
            )
        super().__init__(copy.deepcopy(self.preprocessor_cfg), init_cfg)
        self.network = network
        self.weights_backbone = weights_backbone
        self.frozen = tuple(frozen)
        if frozen_batch_norm:
            freeze_batch_norm(self.backbone_body())
        for name in frozen:
            try:
                self.network.get_submodule(name).requires_grad_(False)
            except AttributeError as error:
                raise ConfigError(
                    f"model.task.frozen {name!r}: torchvision's {arch} has no such "
                    f'part ({error})'
                ) from error
        self.register_state_dict_post_hook(drop_prefix)
        self.register_load_state_dict_pre_hook(add_prefix)

    def _build(self, arch: str, num_classes: int, options: dict) -> nn.Module:
        known = torchvision.models.list_models(module=self.family)
        if arch not in known:
            close = difflib.get_close_matches(arch, known, 3) or known
            raise ConfigError(
                f'model.task.arch {arch!r}: {self.family.__name__} has no such '
                f'network; did you mean one of {", ".join(close)}?'
            )
        if self.family is not torchvision.models:
            options = dict(options, weights_backbone=None)
        try:
            return torchvision.models.get_model(
                arch, weights=None, num_classes=num_classes, **options
            )
        except TypeError as error:
            raise ConfigError(f"model.task: torchvision's {arch}: {error}") from error

    def _preprocessor_cfg(self, network: nn.Module) -> dict:
        return dict(
            self.preprocessor,
            mean=[255 * value for value in _MEAN],
            std=[255 * value for value in _STD],
        )

    def train(self, mode: bool = True) -> 'TorchvisionNetwork':
        """Set the mode of all but the frozen parts, which stay in eval mode."""
        super().train(mode)
        for name in self.frozen:
            self.network.get_submodule(name).eval()
        return self

    def init_weights(self) -> None:
        """Load the backbone's weights, if they are named.

        Raises:
            WeightsError: If the file of ``weights_backbone`` does not exist, or lacks a
                tensor of the backbone.
        """
        if self.weights_backbone is not None:
            self._load_backbone(self.weights_backbone)
        super().init_weights()

    def _load_backbone(self, path: str) -> None:
        if '://' not in path and not os.path.isfile(os.path.expanduser(path)):
            raise WeightsError(f'model.task.weights_backbone {path} does not exist')
        loaded = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        body = self.backbone_body()
        own = body.state_dict()
        # The body of a detector or segmentor has some stages of the classifier, without
        # the name of their parent.
        parent = '' if body is self.network else 'features.'
        loaded = {
            name.removeprefix(parent): value
            for name, value in loaded.items()
            if isinstance(value, Tensor)
        }

        def may_differ(name: str) -> bool:
            if name.endswith('num_batches_tracked'):  # not in FrozenBatchNorm2d
                return True
            if name not in own:
                return name.startswith(('fc.', 'classifier.'))
            return name in loaded and own[name].shape == (
                self.num_classes,
                *loaded[name].shape[1:],
            )

        found = mismatch(
            *(
                {name: value for name, value in tensors.items() if not may_differ(name)}
                for tensors in (own, loaded)
            )
        )
        if found:
            raise WeightsError(
                f'model.task.weights_backbone {path} holds another network: of the '
                f"backbone's tensors {found}. Give the file of torchvision's "
                'classifier with that backbone'
            )
        own.update(
            {
                name: value
                for name, value in loaded.items()
                if name in own and value.shape == own[name].shape
            }
        )
        body.load_state_dict(own)
        print_log(f'task: backbone loaded from {path}', 'current')

    def backbone_body(self) -> nn.Module:
        """Return the part that a classifier of torchvision has, too."""
        return self.network.get_submodule('backbone')

    def extract_feat(self, inputs: Tensor) -> Tensor | Mapping[str, Tensor]:
        """Compute the backbone's features.

        Args:
            inputs: (N, 3, H, W), normalised.

        Returns:
            Mapping[str, Tensor]: Each (N, C, h, w), by name. A classifier returns its
            logits.
        """
        return self.network.get_submodule('backbone')(inputs)

    def forward(
        self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = 'tensor'
    ) -> dict | list | Tensor:
        """Compute losses, predictions or the raw output.

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: Of the task library.
            mode: ``'loss'``, ``'predict'`` or ``'tensor'``.

        Returns:
            dict | list | Tensor: What the method of that name returns.
        """
        if mode == 'tensor':
            return self.tensor(inputs, data_samples)
        return dict(loss=self.loss, predict=self.predict)[mode](inputs, data_samples)


@MODELS.register_module()
class TorchvisionClassifier(TorchvisionNetwork):
    """A classifier of ``torchvision.models``, for data of mmpretrain."""

    family = torchvision.models
    library = 'mmpretrain'
    preprocessor = dict(type='mmpretrain.ClsDataPreprocessor', to_rgb=True)

    def _preprocessor_cfg(self, network: nn.Module) -> dict:
        return dict(super()._preprocessor_cfg(network), num_classes=self.num_classes)

    def backbone_body(self) -> nn.Module:
        """Return the whole network."""
        return self.network

    def tensor(self, inputs: Tensor, data_samples: Sequence | None = None) -> Tensor:
        """Compute the logits (N, classes) of normalised images (N, 3, H, W)."""
        return self.network(inputs)

    def extract_feat(self, inputs: Tensor) -> Tensor:
        """Compute the logits (N, classes): all features are on the way to them."""
        return self.network(inputs)

    def loss(self, inputs: Tensor, data_samples: Sequence) -> dict[str, Tensor]:
        """Compute the cross entropy.

        That of the auxiliary outputs of GoogLeNet and Inception is added 0.3 times
        (Szegedy et al., CVPR 2015, section 5).

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: N, with their labels.

        Returns:
            dict[str, Tensor]: Scalars.
        """
        if 'gt_score' in data_samples[0]:  # of mixed images
            labels = torch.stack([sample.gt_score for sample in data_samples]).float()
        else:
            labels = torch.cat([sample.gt_label for sample in data_samples])
        outputs = self.network(inputs)
        logits, *auxiliary = (outputs,) if isinstance(outputs, Tensor) else outputs
        return dict(loss=F.cross_entropy(logits, labels)) | {
            f'loss_aux_{i}': 0.3 * F.cross_entropy(output, labels)
            for i, output in enumerate(auxiliary)
        }

    def predict(self, inputs: Tensor, data_samples: Sequence) -> list:
        """Put scores and the class with the highest one into the data samples.

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: N, changed in place.
        """
        for sample, scores in zip(
            data_samples, self.network(inputs).softmax(1), strict=True
        ):
            sample.set_pred_score(scores).set_pred_label(scores.argmax().detach())
        return list(data_samples)


@MODELS.register_module()
class TorchvisionSegmentor(TorchvisionNetwork):
    """A segmentor of ``torchvision.models.segmentation``, for data of mmsegmentation.

    The loss is the cross entropy of its output, plus half that of its auxiliary head
    (``aux_loss=True``), as in torchvision's reference training. Labels of
    ``ignore_index`` do not count.
    """

    family = torchvision.models.segmentation
    library = 'mmseg'
    preprocessor = dict(
        type='mmseg.SegDataPreProcessor',
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size_divisor=1,
    )
    align_corners = False  # read by mmseg, as num_classes under its other name

    def __init__(self, *args, ignore_index: int = 255, **options) -> None:
        super().__init__(*args, **options)
        self.ignore_index = ignore_index
        self.out_channels = self.num_classes

    def _build(self, arch: str, num_classes: int, options: dict) -> nn.Module:
        if unknown := set(options) - {'aux_loss'}:  # torchvision ignores others
            raise ConfigError(
                f'model.task: segmentors of torchvision have the option '
                f'aux_loss, but not {", ".join(sorted(unknown))}'
            )
        return super()._build(arch, num_classes, options)

    def tensor(self, inputs: Tensor, data_samples: Sequence | None = None) -> Tensor:
        """Compute the logits (N, classes, H, W) of normalised images (N, 3, H, W)."""
        return self.network(inputs)['out']

    def loss(self, inputs: Tensor, data_samples: Sequence) -> dict[str, Tensor]:
        """Compute the cross entropy of the output, and half of the auxiliary head's.

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: N, with their label maps (1, H, W).

        Returns:
            dict[str, Tensor]: Scalars.
        """
        maps = torch.cat([sample.gt_sem_seg.data for sample in data_samples])
        outputs, losses = self.network(inputs), {}
        # The mean over the pixels that count; 0 where all are ignored.
        counted = (maps != self.ignore_index).sum().clamp(min=1)
        for name, weight in (('out', 1.0), ('aux', 0.5)):
            if name in outputs:
                # CUDA has no deterministic kernel that adds up the pixels by itself.
                pixels = F.cross_entropy(
                    outputs[name],
                    maps.long(),
                    ignore_index=self.ignore_index,
                    reduction='none',
                )
                losses[f'loss_{name}'] = weight * pixels.sum() / counted
        return losses

    def predict(self, inputs: Tensor, data_samples: Sequence) -> list:
        """Put logits and classes, in the size of the file, into the data samples.

        Args:
            inputs: (N, 3, H, W), normalised.
            data_samples: N, changed in place.
        """
        from mmseg.models import BaseSegmentor

        return BaseSegmentor.postprocess_result(
            self, self.network(inputs)['out'], data_samples
        )


def freeze_batch_norm(module: nn.Module) -> None:
    """Put ``FrozenBatchNorm2d`` in the place of every ``BatchNorm2d`` in a module."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                frozen = FrozenBatchNorm2d(child.num_features, child.eps)
                frozen.load_state_dict(child.state_dict())
                setattr(parent, name, frozen)
