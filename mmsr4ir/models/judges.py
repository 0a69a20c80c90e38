"""The judges: networks whose features say how near an image is to its HR image."""

from collections.abc import Sequence
from logging import ERROR

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmsr4ir.utils.errors import ConfigError

from .batch import Batch
from .features import FeatureTap, NotReachedError, frozen
from .image_space import image_channels
from .losses import TDPLoss
from .recipes import Phase

# Divisible by the windows and strides that networks ask for. The smallest image that a
# task network takes is the first of the sizes that it does not refuse.
_PROBE = [(size, size) for size in (64, 224, 384, 512)]


class Judges:
    """The task network in training, and the teacher, if there is one.

    Both look at the images as the task network takes them, normalised and resized, at
    the same layer.

    Args:
        distance: What compares features.
        task: The task network.
        teacher: A frozen network in eval mode, or None.
        count_padding: Whether padding counts.

    Raises:
        ConfigError: If the task network or the teacher has no layer of the name that
            ``distance`` has.
    """

    def __init__(
        self,
        distance: TDPLoss,
        task: BaseModel,
        teacher: BaseModel | None,
        count_padding: bool,
    ) -> None:
        self.distance = distance
        self.task_tap = distance.tap(task)
        self.teacher_tap = (
            None if teacher is None else FeatureTap(teacher, distance.layer)
        )
        self.count_padding = count_padding

    def ask_task(self, sr_inputs: Tensor, batch: Batch) -> Tensor:
        """Compute the TDP loss, a scalar (SR4IR, section 3.1).

        The task network is frozen in eval mode meanwhile.

        Args:
            sr_inputs: (N, C, H', W'), SR as the task network takes it, normalised;
                the loss has gradients to it.
            batch: The batch; its HR is looked at without gradients.

        Returns:
            Tensor: A scalar, 0 or more.
        """
        with frozen(self.task_tap.task):
            with torch.no_grad():
                hr_features = self.task_tap(batch.inputs)
            sr_features = self.task_tap(sr_inputs)
        return self.compare(sr_features, hr_features, batch)

    def ask_teacher(self, sr_inputs: Tensor, batch: Batch) -> Tensor:
        """Compute the TDP loss with the teacher's features.

        Args:
            sr_inputs: (N, C, H', W'), SR as the task network takes it, normalised.
            batch: The batch, which keeps the teacher's features of HR.

        Returns:
            Tensor: A scalar, 0 or more.
        """
        assert self.teacher_tap  # see check_features
        return self.compare(self.teacher_tap(sr_inputs), self.teacher_hr(batch), batch)

    def match(self, seen: Sequence[Sequence[Tensor]], batch: Batch) -> Tensor:
        """Compare the task network's features with the teacher's of the same HR images.

        Args:
            seen: What :meth:`FeatureTap.watch` gave, after a pass on (M * N, C, H',
                W'), M images of the batch one after the other.
            batch: The batch of N images.

        Returns:
            Tensor: A scalar, with gradients to whatever the pass had them for.

        Raises:
            NotReachedError: If the pass did not come through the layer.
        """
        if not seen:
            raise self.task_tap.not_reached('loss')
        return self.compare(seen[0], self.teacher_hr(batch), batch)

    def teacher_hr(self, batch: Batch) -> Sequence[Tensor]:
        """Return the teacher's features of HR, computed once for each whole batch.

        Returns:
            Sequence[Tensor]: Each level (N, C, h, w) or (N, C), without gradients.
        """
        whole = batch.whole or batch
        if whole.teacher_hr is None:
            assert self.teacher_tap  # see check_features
            with torch.no_grad():
                whole.teacher_hr = self.teacher_tap(whole.inputs)
        return [level[: len(batch.inputs)] for level in whole.teacher_hr]

    def compare(
        self, features: Sequence[Tensor], hr_features: Sequence[Tensor], batch: Batch
    ) -> Tensor:
        """Compare features with those of HR.

        Args:
            features: Each level (M * N, C, h, w) or (M * N, C).
            hr_features: Each level (N, C, h, w) or (N, C), without gradients.
            batch: The batch of N images, whose padding does not count.

        Returns:
            Tensor: A scalar.
        """
        times = len(features[self.distance.levels[0]]) // len(batch.inputs)
        sizes = () if self.count_padding else batch.task_sizes or batch.sizes
        if times > 1:
            hr_features = [torch.cat([level] * times) for level in hr_features]
        return self.distance(features, hr_features, [*sizes] * times, batch.task_full)


@torch.no_grad()
def check_features(
    recipe: tuple[Phase, ...], judges: Judges | None, teacher: nn.Module | None
) -> None:
    """Check that the judges that a recipe asks have the features that it compares.

    Args:
        recipe: The phases.
        judges: Who compares features, if the model has ``tdp``.
        teacher: The teacher, if the model has one.

    Raises:
        ConfigError: If the recipe compares features and the model has no ``tdp``; if it
            needs a teacher and the model has none, or the other way round; if a level
            does not exist; or if the teacher's features have other shapes.
    """
    terms = [(phase.name, term) for phase in recipe for term in phase.losses]
    asked = [
        f'recipe phase {phase!r} has the loss {term.name!r}'
        + (' with match' if term.match else '')
        for phase, term in terms
        if term.needs_teacher
    ]
    if asked and teacher is None:
        raise ConfigError(
            f"{asked[0]}: give the model teacher=dict(init_cfg=dict(type='Pretrained', "
            'checkpoint=...)), the checkpoint of a run of H->T'
        )
    if teacher is not None and not asked:
        raise ConfigError(
            'model.teacher: no loss of the recipe asks it; give the recipe the loss '
            "'tdp_teacher', or a task loss match=..., or take the teacher out"
        )
    if judges is None:
        for phase, term in terms:
            if term.compares_features:
                raise ConfigError(
                    f'recipe phase {phase!r}, loss {term.name!r} compares features: '
                    "give the model tdp=dict(type='mmsr4ir.TDPLoss', layer=..., "
                    'levels=...)'
                )
        return
    image, outputs = probe(judges.task_tap)
    judges.distance.check_levels(outputs)
    if judges.teacher_tap is None:
        return
    own, others = (
        [tuple(features[level].shape[1:]) for level in judges.distance.levels]
        for features in (outputs, judges.teacher_tap(image))
    )
    if own != others:
        raise ConfigError(
            f'model.teacher: its {judges.distance.layer!r} makes features of the '
            f'shapes {others}, that of model.task {own}: take a teacher with the same'
        )


def probe(features: FeatureTap) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Find an image that a network takes, and compute its features.

    Returns:
        tuple: The image, (1, C, h, w) of zeros, and the outputs, level by level.

    Raises:
        NotReachedError: If the network does not call the module of the features.
        Exception: If it takes no image; whatever the network raises.
    """
    task = features.task
    channels = image_channels(task.data_preprocessor, task)
    device = next(task.parameters()).device
    sizes = [*_PROBE, *_own_sizes(task)]
    with frozen(task):
        for size in sizes:
            image = torch.zeros(1, channels, *size, device=device)
            try:
                return image, features(image)
            except NotReachedError:
                raise
            # The image is smaller than a window of the network, or the network takes
            # images of one size only. Any other error is the same for all sizes.
            except (AssertionError, ValueError, RuntimeError):
                if size == sizes[-1]:
                    print_log(
                        f'{type(task).__name__} takes no image of {channels} channels '
                        f'and {" or ".join(f"{h} x {w}" for h, w in sizes)} pixels for '
                        'the features of model.tdp, for the reason below. Some '
                        'networks cannot have model.channels_last',
                        'current',
                        ERROR,
                    )
                    raise
    raise AssertionError('there are sizes')


def _own_sizes(task: nn.Module) -> list[tuple[int, int]]:
    """Return (height, width), in pixels, that parts of a network are made for."""
    found = (getattr(module, 'img_size', None) for module in task.modules())
    sizes = {
        (size, size) if isinstance(size, int) else tuple(size)
        for size in found
        if isinstance(size, int | list | tuple)
    }
    return sorted(size for size in sizes - {*_PROBE} if len(size) == 2)
