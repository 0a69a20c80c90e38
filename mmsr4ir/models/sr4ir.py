"""SR4IR: super-resolution for image recognition (Kim et al., CVPR 2024).

One class for every task. The task network is any detector, segmentor or classifier of
mmdet, mmsegmentation, mmpretrain or torchvision; it keeps its own preprocessor, losses
and predictions, and only the images are exchanged. What is trained when is a recipe
(:mod:`mmsr4ir.models.recipes`).

Images are (N, C, H, W), and C = 3 is RGB unless a config says otherwise.
"""

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError

from .batch import Batch, complete_meta, make_batch
from .distributed import drop_wrappers, unwrap
from .image_space import ImageSpace, extend_edges, image_channels
from .judges import Judges, check_features
from .networks import build_network, check_batched, check_updates, set_num_classes
from .prediction.hr_input import predict_hr
from .prediction.lr_input import LRInput, predict_lr
from .recipes import LossTerm, Phase, active_phases, parse_recipe
from .sr_checks import check_scale
from .task_resize import TaskResize, task_rules
from .teacher import build_teacher
from .updates import PhaseUpdate, on_cpu
from .weights import load_weights, take_init_cfg

# What hooks and test-time augmentation of the task libraries ask their network for.
_PASSED_ON = ('out_channels', 'set_epoch')


@MODELS.register_module()
class SR4IR(BaseModel):
    """An SR network and a task network that are trained together.

    Args:
        sr: Config of the SR network, which turns (N, C, h, w) into
            (N, C, h * scale, w * scale): a generator of mmagic,
            :class:`~mmsr4ir.models.Spandrel` or ``mmsr4ir.InterpolateUpsampler``. With
            ``init_cfg=dict(type='Pretrained', checkpoint=...)`` it starts from a file,
            see :func:`~mmsr4ir.models.weights.load_weights`.
        task: Config of the task network, a whole model of mmdet, mmsegmentation or
            mmpretrain with its preprocessor, or one of this package's
            ``mmsr4ir.Torchvision...``. ``init_cfg`` as for ``sr``.
        recipe: What is trained when, see :mod:`mmsr4ir.models.recipes`.
        degradation: Config of the module that makes LR images, one of
            :mod:`mmsr4ir.models.degradations`, or any that has a ``scale`` and turns
            (N, C, H, W), RGB in [0, 1], into (N, C, H / scale, W / scale).
        pixel_loss: Config of the ``pixel`` loss.
        tdp: Config of the distance of features (:class:`TDPLoss`), if the recipe
            compares any.
        teacher: The frozen network of ``tdp_teacher`` and ``match``, if the recipe has
            them, see :func:`~mmsr4ir.models.teacher.build_teacher`.
        patch_mix: Config of :class:`CrossQualityPatchMix`; makes the image ``mix``.
        num_classes: Set as every ``num_classes`` in ``task``, if given.
        sr_range: Factor on images before the SR network, divided out after it: 255 for
            networks, such as the published EDSR, that work on [0, 255].
        test_on: Predict on ``'sr'``, ``'hr'`` or ``'lr'`` (enlarged bilinearly).
        task_resize: The task network's own resize, after the SR network, see
            :class:`~.task_resize.TaskResize`; ``'pipeline'`` in a config moves that of
            its pipelines here.
        count_padding: Whether padding counts in the pixel and the TDP loss, with the
            image mirrored there, as in the published detection trainer.
        channels_last: Whether networks and images have torch's memory format of that
            name: faster on most devices; other numbers by float rounding.
        data_preprocessor: The task's preprocessor, if its config does not hold it
            (mmpretrain keeps it beside the model; the Runner passes it here).

    Attributes:
        stage (str): The stage of the recipe, ``'warmup'`` or ``'main'``;
            :class:`~mmsr4ir.engine.AlternateTrainingHook` sets it.
        skip_non_finite (bool): Whether a phase whose loss is NaN or infinite is left
            out; :class:`~mmsr4ir.engine.NonFiniteLossHook` sets it.
        lr_input (LRInput | None): How to predict on images that are LR already; None if
            they are HR. :class:`~mmsr4ir.engine.LRTestLoop` sets it for its test.

    Raises:
        ConfigError: If the ``type`` of a network is unknown, the scales of ``sr`` and
            ``degradation`` differ, the recipe cannot work, the task network lacks what
            ``tdp`` names, or the teacher does not fit it.
    """

    def __init__(
        self,
        sr: dict,
        task: dict,
        recipe: dict,
        degradation: dict | None = None,
        pixel_loss: dict | None = None,
        tdp: dict | None = None,
        teacher: dict | None = None,
        patch_mix: dict | None = None,
        num_classes: int | None = None,
        sr_range: float = 1.0,
        test_on: str = 'sr',
        task_resize: dict | list | None = None,
        count_padding: bool = False,
        channels_last: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        task = set_num_classes(task, num_classes)
        if data_preprocessor is not None:
            task.setdefault('data_preprocessor', data_preprocessor)
        task, task_init = take_init_cfg(task)
        sr, sr_init = take_init_cfg(sr)
        network = build_network('task', task)
        super().__init__(network.data_preprocessor, init_cfg)
        self.data_preprocessor.register_forward_pre_hook(complete_meta)
        self.task = network
        self.sr = build_network('sr', sr)
        self.init_cfgs = dict(sr=sr_init, task=task_init)
        self.degradation = MODELS.build(
            degradation or dict(type='mmsr4ir.BicubicDownsample')
        )
        self.pixel_loss = MODELS.build(pixel_loss or dict(type='mmsr4ir.PixelLoss'))
        self.tdp = MODELS.build(tdp) if tdp else None
        self.patch_mix = MODELS.build(patch_mix) if patch_mix else None
        self.recipe = parse_recipe(
            recipe, ('hr', 'sr', 'mix') if patch_mix else ('hr', 'sr')
        )
        if test_on not in ('sr', 'hr', 'lr'):
            raise ConfigError(f"test_on must be 'sr', 'hr' or 'lr', got {test_on!r}")
        self.test_on = test_on
        self.count_padding = count_padding
        self.sr_range = sr_range
        # What changes in a run: hooks and LRTestLoop set it, make_batch checked_sizes.
        self.stage = 'main'
        self.skip_non_finite = False
        self.lr_input: LRInput | None = None
        self.checked_sizes = False
        self.image_space = ImageSpace(
            self.data_preprocessor,
            getattr(network, 'preprocessor_cfg', None)
            or task.get('data_preprocessor')
            or {},
        )
        rules = task_rules(task_resize, network)
        self.task_resize = (
            TaskResize(rules, self.data_preprocessor, self.image_space)
            if rules
            else None
        )
        self.teacher = None
        if teacher:
            self.teacher, self.init_cfgs['teacher'] = build_teacher(
                teacher, task, self.image_space
            )
        self.judges = (
            Judges(self.tdp, network, self.teacher, count_padding) if self.tdp else None
        )
        self.register_state_dict_post_hook(drop_wrappers)
        self.memory_format = torch.contiguous_format
        if channels_last:
            self.memory_format = torch.channels_last
            self.to(memory_format=self.memory_format)
        channels = image_channels(self.data_preprocessor, network)
        check_updates(self.recipe, dict(sr=self.sr, task=network))
        check_batched(self.recipe, network)
        check_scale(self.sr, self.degradation.scale, sr_range, channels)
        check_features(self.recipe, self.judges, self.teacher)

    def __getattr__(self, name: str):
        """Return a part of the task network, such as ``bbox_head``, as if it were ours.

        Hooks of the task libraries reach for parts of the network that they train
        (``YOLOXModeSwitchHook``) and for what :data:`_PASSED_ON` lists. Nothing else is
        passed on: a method that the model lacks is not that of the task network.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            task = self.__dict__.get('_modules', {}).get('task')
            if task is None:
                raise
            task = unwrap(task)
            if name in dict(task.named_children()) or (
                name in _PASSED_ON and hasattr(task, name)
            ):
                return getattr(task, name)
            raise

    def init_weights(self) -> None:
        """Initialise both networks; then load those that have a file of their own.

        The same seed gives the same weights in every memory format.

        Raises:
            WeightsError: If a file is missing or holds another network.
        """
        # Random numbers fill a weight in the order in which it lies in memory.
        self.to(memory_format=torch.contiguous_format)
        super().init_weights()
        self.to(memory_format=self.memory_format)
        for name, init_cfg in self.init_cfgs.items():
            if init_cfg:
                load_weights(name, self._modules[name], init_cfg)

    def train(self, mode: bool = True) -> 'SR4IR':
        """Set the mode of the networks; the teacher stays in eval mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def train_step(
        self, data: dict, optim_wrapper: OptimWrapperDict
    ) -> dict[str, Tensor]:
        """Train on one batch: run the active phases of the recipe in their order.

        In the paper's recipe, phase ``sr`` freezes the task network and updates the SR
        network on pixel and TDP loss (no TDP in the warm-up); phase ``task`` freezes
        the SR network and updates the task network on SR, HR and mix.

        Args:
            data: A batch of the task's own dataloader: ``data_samples``, and as
                ``inputs`` images (C, H, W), uint8, BGR or RGB as the task expects.
            optim_wrapper: One optimizer for each network, ``sr`` and ``task``;
                :class:`~mmsr4ir.engine.AlternateTrainingHook` checks that they are.

        Returns:
            dict[str, Tensor]: The losses, scalars on the CPU, weighted, as
            ``<phase>/<loss>``; and ``loss``, the sum over the phases. If one is NaN or
            infinite, :class:`NonFiniteLossHook` ends the training after the iteration;
            with :attr:`skip_non_finite` the phase makes no step and has the loss NaN,
            and the phases after it do not run.
        """
        data = self.data_preprocessor(data, training=True)
        batch = self.prepare(data['inputs'], data['data_samples'])
        networks = dict(sr=self.sr, task=self.task)
        logs: dict[str, Tensor] = {}
        logged = batch.hr.new_zeros(())  # only for the log
        for phase in active_phases(self.recipe, self.stage):
            seen = batch.first(phase.share)
            update = PhaseUpdate(phase, networks, optim_wrapper, self.skip_non_finite)
            with update:  # the network that the phase does not update is frozen
                seen.sr = self.phase_sr(phase, seen)
                for term in update.each(phase.active_losses(self.stage)):
                    update.add(self.term_losses(term, seen))
                update.step()
            batch.sr = seen.sr  # for a later phase with reuse_sr
            logs |= update.logs
            logged = logged + update.logs[f'{phase.name}/loss']
            if update.skipped:
                break
        # Hooks of the task libraries, such as CheckInvalidLossHook, ask for one loss.
        return on_cpu(logs | dict(loss=logged))

    @torch.no_grad()
    def prepare(self, inputs: Tensor, samples: Sequence | None) -> Batch:
        """Make HR and LR images of the task network's input, see :func:`make_batch`.

        Args:
            inputs: (N, C, H', W'), normalised as the task network expects, padded.
            samples: N data samples of the task.

        Returns:
            Batch: ``hr`` (N, C, H, W) and ``lr`` (N, C, ceil(H / scale),
            ceil(W / scale)), both in [0, 1].
        """
        return make_batch(self, inputs, samples)

    def phase_sr(self, phase: Phase, batch: Batch) -> Tensor | None:
        """Make the SR images that a phase's losses look at.

        Args:
            phase: The phase; its networks alone have gradients now.
            batch: The batch; ``batch.sr`` is what the phase before made.

        Returns:
            Tensor | None: (N, C, H, W), RGB, [0, 1] except for overshoots, with
            gradients if the phase updates S; ``batch.sr`` if no loss needs others.
        """
        needed = any(term.needs_sr for term in phase.active_losses(self.stage))
        if phase.reuse_sr or not needed:
            return None if batch.sr is None else batch.sr.detach()
        with torch.set_grad_enabled('sr' in phase.update):
            return self.super_resolve_batch(batch)

    def term_losses(self, term: LossTerm, batch: Batch) -> dict[str, Tensor]:
        """Compute one loss of the recipe.

        Args:
            term: The loss.
            batch: The batch; ``batch.sr`` (N, C, H, W) is there unless the loss looks
                at HR images alone.

        Returns:
            dict[str, Tensor]: Its parts, scalars, weighted, by their names in the log.
            What has no "loss" in its name, such as an accuracy, is only logged.
        """
        if term.is_task:
            return self.task_losses(term, batch)
        if term.name == 'pixel':
            return dict(loss_pixel=term.weight * self.compare_pixels(batch))
        assert self.judges and batch.sr is not None  # see check_features
        inputs = self.to_input(batch.sr, batch)
        if term.name == 'tdp':
            return dict(loss_tdp=term.weight * self.judges.ask_task(inputs, batch))
        loss = self.judges.ask_teacher(inputs, batch)
        return dict(loss_tdp_teacher=term.weight * loss)

    def task_losses(self, term: LossTerm, batch: Batch) -> dict[str, Tensor]:
        """Compute the task network's own loss on a term's images, and feature matching.

        Args:
            term: The loss.
            batch: The batch of N images; ``batch.sr`` (N, C, H, W) is there unless the
                loss looks at HR images alone.

        Returns:
            dict[str, Tensor]: As from :meth:`term_losses`; ``loss_match`` compares the
            task network's features in this pass with the teacher's of HR.
        """
        inputs, samples = self.task_batch(term, batch)
        judges = self.judges if term.match else None  # see check_features
        with ExitStack() as stack:
            features = stack.enter_context(judges.task_tap.watch()) if judges else []
            losses = self.network('task')(inputs, samples, mode='loss')
        parts = {
            part: term.weight * value if 'loss' in part else value
            for part, value in self.parse_losses(losses)[1].items()
            # parse_losses adds the sum of all losses as 'loss', unless the network
            # itself has a loss of that name, as mmpretrain's have.
            if part != 'loss' or part in losses
        }
        if judges:
            parts['loss_match'] = term.match * judges.match(features, batch)
        return {f'{term.image}/{part}': value for part, value in parts.items()}

    def compare_pixels(self, batch: Batch) -> Tensor:
        """Compute the pixel loss, a scalar, of SR and HR, (N, C, H, W), RGB, [0, 1]."""
        return self.pixel_loss(
            batch.sr, batch.hr, None if self.count_padding else batch.mask
        )

    def task_batch(self, term: LossTerm, batch: Batch) -> tuple[Tensor, list]:
        """Collect the task network's inputs for the images of a loss.

        Args:
            term: A task loss on M images.
            batch: The batch of N images.

        Returns:
            tuple: Inputs (M * N, C, H', W'), one image after the other, or (N, C, H',
            W'), an M-th of each, normalised; and their data samples.
        """
        times = len(term.images)
        parts = batch.split(times) if term.is_divided else [batch] * times
        inputs = [
            self.input_of(image, part)
            for image, part in zip(term.images, parts, strict=True)
        ]
        # Copies, since some task networks change their samples, and what those hold.
        return torch.cat(inputs), [
            copy.deepcopy(sample) for part in parts for sample in part.samples or ()
        ]

    def input_of(self, image: str, batch: Batch) -> Tensor:
        """Return the task network's input (N, C, H', W') for one image, normalised."""
        if image == 'hr':
            return batch.inputs
        assert batch.sr is not None  # phase_sr has made it
        if image == 'mix':
            assert self.patch_mix is not None  # parse_recipe refuses 'mix' without it
            return self.to_input(self.patch_mix.mix(batch.sr, batch.hr), batch)
        return self.to_input(batch.sr, batch)

    def to_input(self, image: Tensor, batch: Batch) -> Tensor:
        """Turn images into the task network's input.

        Args:
            image: (N, C, H, W), RGB, [0, 1] except for overshoots.
            batch: The batch that it belongs to.

        Returns:
            Tensor: (N, C, H', W'), normalised, resized as ``task_resize`` says; its
            padding is that of the HR input.
        """
        inputs = self.image_space.normalise(image)
        if self.task_resize is not None:
            inputs = self.task_resize.images(inputs, batch, self.training)
        mask = batch.task_mask
        return (
            inputs if mask is None else torch.where(mask.bool(), inputs, batch.inputs)
        )

    def super_resolve_batch(self, batch: Batch) -> Tensor:
        """Run the SR network on ``batch.lr``, cut to the size of ``batch.hr``.

        Returns:
            Tensor: (N, C, H, W), RGB, [0, 1] except for overshoots.
        """
        height, width = batch.full
        return self.super_resolve(batch.lr)[..., :height, :width]

    def super_resolve(self, lr: Tensor) -> Tensor:
        """Run the SR network on images of any size.

        Args:
            lr: (N, C, h, w), RGB, [0, 1].

        Returns:
            Tensor: (N, C, h * scale, w * scale), RGB, [0, 1] except for overshoots.
        """
        height, width = (length * self.degradation.scale for length in lr.shape[-2:])
        # SwinIR and similar networks mirror an image up to whole windows. An image that
        # is smaller than a window does not have enough pixels for that.
        lr = extend_edges(lr, least=self.window)
        # In mixed precision the SR network ends in half precision, whose steps are
        # wider than those of 8 bits. Convert its output first, so that nothing adds to
        # that.
        sr = self.network('sr')(lr * self.sr_range).to(lr.dtype) / self.sr_range
        return sr[..., :height, :width]

    @property
    def window(self) -> int:
        """The edge of the SR network's windows of attention, in pixels; 1 without."""
        return getattr(unwrap(self.sr), 'window_size', 1)

    def network(self, name: str) -> nn.Module:
        """Return a network, in its wrapper only where gradients are synchronised.

        The wrapper of distributed training waits for the gradients of every forward
        pass with gradients that it sees; a frozen network has none to give.
        """
        network = self._modules[name]
        bare = unwrap(network)
        learns = torch.is_grad_enabled() and any(
            parameter.requires_grad for parameter in bare.parameters()
        )
        return network if learns else bare

    def forward(
        self, inputs: Tensor, data_samples: Sequence | None = None, mode: str = 'tensor'
    ) -> Any:
        """Run both networks: predict on the restored images, or give the raw outputs.

        Args:
            inputs: (N, C, H, W), normalised HR images; LR images if ``lr_input`` is
                set, which are then restored as they are, see
                :func:`~mmsr4ir.models.prediction.lr_input.predict_lr`.
            data_samples: The task's data samples.
            mode: ``'predict'``; or ``'tensor'``, as in all models of OpenMMLab by
                default, for the task network's outputs on HR images that were made
                LR and restored, without post-processing.

        Returns:
            list: The data samples with predictions. Each also gets ``images``, a dict
            of uint8 tensors ``hr``, ``lr`` and ``sr`` (what the prediction was made
            on), (C, height, width), RGB, without padding.

        Raises:
            ConfigError: If ``mode`` is neither ``'predict'`` nor ``'tensor'``.
        """
        if mode == 'tensor':
            restored, samples = self.restored_input(inputs, data_samples)
            return self.network('task')(restored, samples, mode='tensor')
        if mode != 'predict':
            raise ConfigError(
                f"mode {mode!r}: use 'predict' or 'tensor'; train_step gives losses"
            )
        if self.lr_input is not None:
            assert data_samples is not None  # LRTestLoop and the inferencer give them
            return predict_lr(self, inputs, data_samples, self.lr_input)
        return predict_hr(self, inputs, data_samples)

    def extract_feat(self, inputs: Tensor, data_samples: Sequence | None = None) -> Any:
        """Compute the task network's features of restored images.

        Tools of OpenMMLab ask for it, such as mmpretrain's ``get_flops.py``.

        Args:
            inputs: (N, C, H, W), normalised HR images, which are made LR and restored.
            data_samples: The task's data samples.

        Returns:
            What the task network's own ``extract_feat`` returns.
        """
        restored, _ = self.restored_input(inputs, data_samples)
        return unwrap(self.task).extract_feat(restored)

    def restored_input(
        self, inputs: Tensor, data_samples: Sequence | None
    ) -> tuple[Tensor, Sequence | None]:
        """Make HR images LR, restore them, and turn them into the task network's input.

        Args:
            inputs: (N, C, H, W), normalised HR images.
            data_samples: The task's data samples.

        Returns:
            tuple: The input (N, C, H', W'), normalised, and its data samples.
        """
        batch = self.prepare(inputs, data_samples)
        return self.to_input(self.super_resolve_batch(batch), batch), batch.samples
