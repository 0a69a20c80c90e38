"""SR4IR: super-resolution for image recognition (Kim et al., CVPR 2024).

One class for every task. The task network is any detector, segmentor or classifier of
mmdet, mmsegmentation or mmpretrain; it keeps its own preprocessor, losses and
predictions, and only the images are exchanged. What is trained when is a recipe
(:mod:`mmsr4ir.models.recipes`).
"""
import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from mmsr4ir.registry import MODELS

from .batch import Batch, correct_sizes, warn_of_enlarged
from .degradations.degradation import ImageByImage
from .distributed import drop_wrappers, unwrap
from .features import FeatureTap, frozen
from .image_space import ImageSpace, extend_edges
from .networks import (
    build_network,
    check_batched,
    check_scale,
    check_tdp,
    check_updates,
    set_num_classes,
)
from .prediction.hr_input import predict_hr
from .prediction.lr_input import LRInput, predict_lr
from .recipes import NETWORKS, LossTerm, Phase, parse_recipe
from .task_resize import TaskResize, task_rules
from .updates import backward, copy_buffers, finite_everywhere, no_sync, step
from .weights import load_weights, take_init_cfg


@MODELS.register_module()
class SR4IR(BaseModel):
    """An SR network and a task network that are trained together.

    Args:
        sr: Config of the SR network, which turns (N, 3, h, w) into
            (N, 3, h * scale, w * scale): any mmagic generator,
            :class:`~mmsr4ir.models.Spandrel`, or ``mmsr4ir.InterpolateUpsampler``. With
            ``init_cfg=dict(type='Pretrained', checkpoint=...)`` it starts from the
            file of another run, see :func:`~mmsr4ir.models.weights.load_weights`.
        task: Config of the task network, a whole model of mmdet, mmsegmentation or
            mmpretrain with its preprocessor. ``init_cfg`` as for ``sr``.
        recipe: What is trained when, see :mod:`mmsr4ir.models.recipes`.
        degradation: Config of the module that makes LR images: one of
            :mod:`mmsr4ir.models.degradations`; :class:`PairedLR`, which reads them;
            or any that has a ``scale`` and turns (N, 3, H, W), RGB in [0, 1], into
            (N, 3, H / scale, W / scale).
        pixel_loss: Config of the ``pixel`` loss.
        tdp: Config of the ``tdp`` loss (:class:`TDPLoss`); needed if the recipe has it.
        patch_mix: Config of :class:`CrossQualityPatchMix`; makes the image ``mix``.
        num_classes: If given, every ``num_classes`` in ``task`` is set to it, so that
            own data needs no knowledge of where a network keeps it.
        sr_range: The images are multiplied by this before the SR network and divided
            after it: 255 for networks, as the published EDSR, that work on [0, 255].
        test_on: The image that predictions are made on: ``'sr'``, ``'hr'`` or ``'lr'``
            (enlarged bilinearly).
        task_resize: The task network's own resize, after the SR network: a transform
            of its library's pipelines, see :class:`~.task_resize.TaskResize`;
            ``'pipeline'`` in a config moves that of its pipelines here.
        count_padding: Whether what stands beside smaller images of a batch counts in
            the pixel and the TDP loss, with the image mirrored there: as in the
            published detection trainer. Else the losses leave it out.
        channels_last: Whether networks and images have torch's memory format of that
            name. The same sums in another order: faster on most GPUs and CPUs, and
            other numbers by float rounding.
        data_preprocessor: The task's preprocessor, where its config does not hold it
            (mmpretrain keeps it beside the model; the Runner passes it here).

    Raises:
        ValueError: The scales of ``sr`` and ``degradation`` differ, the recipe cannot
            work, or the task network lacks what ``tdp`` names.
        KeyError: A network's ``type`` is unknown.
    """

    def __init__(self, sr: dict, task: dict, recipe: dict,
                 degradation: dict | None = None, pixel_loss: dict | None = None,
                 tdp: dict | None = None, patch_mix: dict | None = None,
                 num_classes: int | None = None, sr_range: float = 1.0,
                 test_on: str = 'sr', task_resize: dict | list | None = None,
                 count_padding: bool = False, channels_last: bool = False,
                 data_preprocessor: dict | None = None,
                 init_cfg: dict | None = None) -> None:
        task = set_num_classes(task, num_classes)
        if data_preprocessor is not None:
            task.setdefault('data_preprocessor', data_preprocessor)
        task, task_init = take_init_cfg(task)
        sr, sr_init = take_init_cfg(sr)
        network = build_network('task', task)
        super().__init__(network.data_preprocessor, init_cfg)
        self.data_preprocessor.register_forward_pre_hook(correct_sizes)
        self.task = network
        self.sr = build_network('sr', sr)
        self.weights = dict(sr=sr_init, task=task_init)
        self.degradation = MODELS.build(
            degradation or dict(type='mmsr4ir.BicubicDownsample'))
        self.pixel_loss = MODELS.build(pixel_loss or dict(type='mmsr4ir.PixelLoss'))
        self.tdp = MODELS.build(tdp) if tdp else None
        self.patch_mix = MODELS.build(patch_mix) if patch_mix else None
        self.recipe = parse_recipe(
            recipe, ('hr', 'sr', 'mix') if patch_mix else ('hr', 'sr'))
        if test_on not in ('sr', 'hr', 'lr'):
            raise ValueError(f"test_on must be 'sr', 'hr' or 'lr', got {test_on!r}")
        self.test_on = test_on
        self.count_padding = count_padding
        self.sr_range = sr_range
        self.looked_at_sizes = False
        self.stage = 'main'  # AlternateTrainingHook sets it
        self.lr_input: LRInput | None = None  # LRTestLoop sets it
        self.skip_non_finite = False  # NonFiniteLossHook sets it
        self.image_space = ImageSpace(
            self.data_preprocessor, getattr(network, 'preprocessor_cfg', None)
            or task.get('data_preprocessor') or {})
        rules = task_rules(task_resize, network)
        self.task_resize = TaskResize(
            rules, self.data_preprocessor, self.image_space) if rules else None
        judge = network
        if tdp and self.tdp.teacher:
            self.teacher = judge = build_network('task', task).eval()
            self.teacher.requires_grad_(False)
            self.weights['teacher'] = self.tdp.teacher
        self.features = FeatureTap(judge, self.tdp.layer) if tdp else None
        self._register_state_dict_hook(drop_wrappers)
        self.memory_format = torch.contiguous_format
        if channels_last:
            self.memory_format = torch.channels_last
            self.to(memory_format=self.memory_format)
        check_updates(self.recipe, dict(sr=self.sr, task=self.task))
        check_batched(self.recipe, self.task)
        check_scale(self.sr, self.degradation, sr_range)
        check_tdp(self.recipe, self.tdp, self.features)

    def __getattr__(self, name: str):
        """What is not the model's own is the task network's.

        Hooks of the three libraries set or call parts of the network that they train,
        such as ``bbox_head`` (``YOLOXModeSwitchHook``) or ``set_epoch``.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            task = self.__dict__.get('_modules', {}).get('task')
            if task is None or not hasattr(unwrap(task), name):
                raise
            return getattr(unwrap(task), name)

    def init_weights(self) -> None:
        """Initialise both networks; then load those that have a file of their own.

        The same seed gives the same weights in every memory format.

        Raises:
            WeightsError: A file is missing or holds another network.
        """
        self.to(memory_format=torch.contiguous_format)  # drawn in the order of memory
        super().init_weights()
        self.to(memory_format=self.memory_format)
        for name, init_cfg in self.weights.items():
            if init_cfg:
                part = 'task' if name == 'teacher' else name
                load_weights(part, self._modules[name], init_cfg)

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict
                   ) -> dict[str, Tensor]:
        """One iteration: every active phase of the recipe in order.

        Args:
            data: A batch of the task's own dataloader.
            optim_wrapper: One optimizer for each network, with the keys ``sr`` and
                ``task``.

        Returns:
            dict[str, Tensor]: The losses, weighted, as ``<phase>/<loss>``.
        """
        if not isinstance(optim_wrapper, OptimWrapperDict):
            raise TypeError(
                "each network needs an optimizer of its own: optim_wrapper=dict("
                "constructor='mmsr4ir.PerNetworkOptimWrapperConstructor', sr=..., "
                'task=...)')
        logs = {}
        data = self.data_preprocessor(data, training=True)
        batch = self.prepare(data['inputs'], data['data_samples'])
        for phase in self.recipe:
            if phase.during in ('all', self.stage):
                logs.update(self.train_phase(phase, batch, optim_wrapper))
            if 'skipped' in logs:
                break
        return logs

    @torch.no_grad()
    def prepare(self, inputs: Tensor, samples: Sequence | None) -> Batch:
        """Make HR and LR images from the task network's input."""
        if not self.looked_at_sizes:
            self.looked_at_sizes = True
            warn_of_enlarged(samples or ())
        inputs = inputs.contiguous(memory_format=self.memory_format)
        full = tuple(inputs.shape[-2:])
        sizes = [tuple(s.metainfo.get('img_shape', full)[:2])
                 for s in samples] if samples else [full] * len(inputs)
        hr = self.image_space.to_image(inputs)
        if self.task_resize:  # T's own padding is added after its resize
            hr = hr[..., :max(h for h, _ in sizes), :max(w for _, w in sizes)]
        extended = extend_edges(
            hr, sizes, self.degradation.scale, mirror=self.count_padding)
        if self.task_resize:
            full = tuple(extended.shape[-2:])
        more = (sizes, samples or ()) if isinstance(
            self.degradation, ImageByImage) else ()
        lr = self.degradation(extended, *more)
        hr, lr = (image.contiguous(memory_format=self.memory_format) for image in (
            extended[..., :full[0], :full[1]], lr))
        batch = Batch(inputs, samples, sizes, hr, lr)
        return self.task_resize(batch, self.training) if self.task_resize else batch

    def train_phase(self, phase: Phase, batch: Batch, optim_wrapper: OptimWrapperDict
                    ) -> dict[str, Tensor]:
        """Update a phase's networks while the others are frozen; return its losses.

        With ``skip_non_finite``, a loss that is NaN or infinite on any process updates
        nothing on all of them, and ``skipped`` is among what is returned.
        """
        buffers = copy_buffers(self) if self.skip_non_finite else None
        with ExitStack() as rest:
            for name in set(NETWORKS) - set(phase.update):
                rest.enter_context(frozen(
                    unwrap(self._modules[name]),
                    keep_mode=name == 'sr' and phase.sr_in_train_mode))
            loss, logs = self.phase_losses(phase, batch, optim_wrapper)
            if self.skip_non_finite and not finite_everywhere(loss):
                for buffer, before in buffers:
                    buffer.copy_(before)
                return logs | dict(skipped=torch.ones(()))
            step([optim_wrapper[name] for name in phase.update], loss)
        return logs

    def phase_losses(self, phase: Phase, batch: Batch, optim_wrapper: OptimWrapperDict
                     ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute a phase's losses.

        Returns:
            tuple: Their sum, whose backward pass is to come, and each of them for the
            log. With ``separate``, all but the last have had theirs.
        """
        logs = {}
        total = 0
        with ExitStack() as contexts:
            for name in phase.update:
                contexts.enter_context(
                    optim_wrapper[name].optim_context(self._modules[name]))
            terms = phase.active_losses(self.stage)
            sr = None
            if phase.reuse_sr:
                sr = batch.sr
            elif any(term.images != ('hr', ) for term in terms):
                with torch.set_grad_enabled('sr' in phase.update):
                    sr = self.super_resolve(batch)
                batch.sr = sr.detach()
            for term in terms:
                if phase.separate and term is not terms[-1]:
                    with no_sync(self._modules['task']):
                        loss = backward(optim_wrapper['task'], self.term_loss(
                            phase, term, batch, sr, logs))
                else:
                    loss = self.term_loss(phase, term, batch, sr, logs)
                total = total + loss
        logs[f'{phase.name}/loss'] = total.detach()
        return total, logs

    def term_loss(self, phase: Phase, term: LossTerm, batch: Batch, sr: Tensor | None,
                  logs: dict[str, Tensor]) -> Tensor:
        """Compute one loss, weighted, and put its parts into the log."""
        total = 0
        for name, value in self.term_losses(term, batch, sr):
            if 'loss' in name:  # the rest, as accuracies, is only logged
                value = term.weight * value
                total = total + value
            logs[f'{phase.name}/{name}'] = value.detach()
        return total

    def term_losses(self, term: LossTerm, batch: Batch, sr: Tensor | None
                    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the parts of one loss, unweighted, by the names they get in the log."""
        if term.name == 'pixel':
            yield 'loss_pixel', self.compare_pixels(sr, batch)
        elif term.name == 'tdp':
            with frozen(self.features.task):
                with torch.no_grad():
                    hr_features = self.features(batch.inputs)
                sr_features = self.features(self.to_input(sr, batch))
            yield 'loss_tdp', self.compare_features(sr_features, hr_features, batch)
        else:
            inputs, samples = self.task_batch(term.images, batch, sr)
            losses = self.network('task')(inputs, samples, mode='loss')
            for part, value in self.parse_losses(losses)[1].items():
                if part != 'loss' or part in losses:  # else it is the others' sum
                    yield f'{"+".join(term.images)}/{part}', value

    def compare_pixels(self, sr: Tensor, batch: Batch) -> Tensor:
        """Compute the pixel loss, without padding or with it (``count_padding``)."""
        return self.pixel_loss(
            sr, batch.hr, None if self.count_padding else batch.mask)

    def compare_features(self, sr_features: Sequence[Tensor],
                         hr_features: Sequence[Tensor], batch: Batch) -> Tensor:
        """Compute the TDP loss of features of SR and HR, as :meth:`compare_pixels`."""
        sizes = () if self.count_padding else batch.task_sizes or batch.sizes
        return self.tdp(sr_features, hr_features, sizes, batch.task_full)

    def task_batch(self, images: Sequence[str], batch: Batch, sr: Tensor | None
                   ) -> tuple[Tensor, Sequence]:
        """The task network's inputs for several images, one after the other."""
        # Copies, since some task networks change their samples, and what those hold.
        return torch.cat([self.task_inputs(image, batch, sr) for image in images]), [
            copy.deepcopy(sample) for _ in images for sample in batch.samples]

    def task_inputs(self, image: str, batch: Batch, sr: Tensor | None) -> Tensor:
        """The task network's input (N, 3, H, W) for ``'hr'``, ``'sr'`` or ``'mix'``."""
        if image == 'hr':
            return batch.inputs
        if image == 'mix':
            sr = self.patch_mix.mix(sr, batch.hr)
        return self.to_input(sr, batch)

    def to_input(self, image: Tensor, batch: Batch) -> Tensor:
        """Normalise and resize an image; its padding becomes that of the HR input."""
        inputs = self.image_space.to_input(image)
        if batch.task_sizes is not None:
            inputs = self.task_resize.images(inputs, batch, self.training)
        mask = batch.task_mask
        return inputs if mask is None else torch.where(
            mask.bool(), inputs, batch.inputs)

    def super_resolve(self, batch: Batch) -> Tensor:
        """Run the SR network: (N, 3, H, W), RGB, [0, 1] but for overshoots."""
        height, width = batch.full
        return self.restore(batch.lr)[..., :height, :width]

    def restore(self, lr: Tensor) -> Tensor:
        """Run the SR network on images of any size.

        Args:
            lr: (N, 3, h, w), RGB, [0, 1].

        Returns:
            Tensor: (N, 3, h * scale, w * scale), RGB, [0, 1] but for overshoots.
        """
        height, width = (length * self.degradation.scale for length in lr.shape[-2:])
        # SwinIR and its like mirror an image up to whole windows, which one that is
        # smaller than a window does not have enough pixels for.
        lr = extend_edges(lr, least=self.window)
        # Under mixed precision S ends in half precision, whose steps are wider than
        # those of 8 bits; nothing after it shall add to that.
        sr = self.network('sr')(lr * self.sr_range).to(lr.dtype) / self.sr_range
        return sr[..., :height, :width]

    @property
    def window(self) -> int:
        """The edge of the SR network's windows of attention, in pixels; 1 without."""
        return getattr(unwrap(self.sr), 'window_size', 1)

    def network(self, name: str) -> nn.Module:
        """A network, with its wrapper only where gradients are to be synchronised.

        The wrapper of distributed training waits for the gradients of every forward
        pass with gradients that it sees; a frozen network has none to give.
        """
        network = self._modules[name]
        bare = unwrap(network)
        learns = torch.is_grad_enabled() and any(
            parameter.requires_grad for parameter in bare.parameters())
        return network if learns else bare

    def forward(self, inputs: Tensor, data_samples: Sequence | None = None,
                mode: str = 'predict') -> list | Tensor:
        """Predict on the restored images.

        Args:
            inputs: (N, 3, H, W), normalised HR images; LR images if ``lr_input`` is
                set, which are then restored as they are, see
                :func:`~mmsr4ir.models.prediction.lr_input.predict_lr`.
            data_samples: The task's data samples.
            mode: ``'predict'``; or ``'tensor'`` for the SR image itself. The losses
                belong to :meth:`train_step`, which also updates.

        Returns:
            list: The data samples with predictions. Each also gets ``images``, a dict
            of uint8 tensors ``hr``, ``lr`` and ``sr`` (what the prediction was made
            on), (3, height, width), RGB, without padding.

        Raises:
            ValueError: Another mode.
        """
        if mode == 'tensor':
            return self.super_resolve(self.prepare(inputs, data_samples))
        if mode != 'predict':
            raise ValueError(
                f"mode {mode!r}: use 'predict' or 'tensor'; train_step gives losses")
        if self.lr_input is not None:
            return predict_lr(self, inputs, data_samples, self.lr_input)
        return predict_hr(self, inputs, data_samples)
