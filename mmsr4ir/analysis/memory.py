"""The memory that a training needs on a GPU, counted without one.

The train step runs on tensors that have shapes and no values, and the bytes of all
tensors that are alive are added up: parameters, gradients, states of the optimizers,
images, and what is kept for a backward pass.
"""

import copy
import logging
import math
import random
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from torch import Tensor, nn

from mmsr4ir.apis.predictions import sample_class
from mmsr4ir.compat.fake_tensors import TorchDispatchMode, fake_tensors, tree_leaves
from mmsr4ir.compat.mmengine_parts import accumulative_counts
from mmsr4ir.engine.amp import AmpOptimWrapper
from mmsr4ir.engine.build import build_model, first_batch
from mmsr4ir.models.batch import Batch
from mmsr4ir.models.image_space import image_channels
from mmsr4ir.models.recipes import Phase
from mmsr4ir.models.sr4ir import SR4IR
from mmsr4ir.registry import HOOKS
from mmsr4ir.utils.configs import type_name
from mmsr4ir.utils.errors import ConfigError

GIB = 2**30
_BLOCK = 512  # bytes; torch's allocator for GPUs rounds up to it
#: Objects in each image of a detector.
OBJECTS = 8
# What changes the memory of an iteration.
_HOOKS = ('ActivationCheckpointHook', 'SparseRoIAlignHook')

#: What networks raise that ask a fake tensor for values: torch's own errors are
#: RuntimeErrors, the others come of what was computed with a value that is none.
NO_VALUES = (
    RuntimeError,
    TypeError,
    ValueError,
    AssertionError,
    LookupError,
    AttributeError,
)


@dataclass(frozen=True)
class Memory:
    """What an iteration needs.

    Attributes:
        parameters: Bytes of the parameters and buffers of all networks.
        optimizers: Bytes of the states of the optimizers.
        phases: The largest number of bytes in each phase of the recipe, by its name,
            with these two.
        is_whole: Whether the train step ran to its end; else the last phase needs more.
    """

    parameters: int
    optimizers: int
    phases: dict[str, int]
    is_whole: bool = True

    @property
    def peak(self) -> int:
        """The bytes of the largest phase."""
        return max(self.phases.values(), default=self.parameters + self.optimizers)


class LiveBytes(TorchDispatchMode):
    """Add up the bytes of all tensors that are made in the block and still alive.

    Attributes:
        now: Bytes of the tensors that are alive.
        peak: The largest value of ``now`` so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref] = {}

    def restart(self) -> None:
        """Forget the peak."""
        self.peak = self.now

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Run one operation, and add what it made."""
        made = func(*args, **(kwargs or {}))
        self.add(made)
        return made

    def add(self, tensors: Any) -> None:
        """Add what was made before, in nested lists, tuples and dicts."""
        for one in tree_leaves(tensors):
            if isinstance(one, Tensor):
                self._add(one.untyped_storage())

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key in self._alive:
            return
        size = -(-storage.nbytes() // _BLOCK) * _BLOCK

        def gone(_: weakref.ref) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def estimate_memory(
    cfg: Config, images: int, shape: tuple[int, int], stage: str = 'main'
) -> Memory:
    """Count the memory of an iteration, of any network.

    A network whose shapes follow from values, as in a detector that proposes boxes, is
    run on real tensors on the CPU instead, with one and with two images; each further
    image needs as much as the second.

    Args:
        cfg: The whole config.
        images: Images in a batch, at least 1.
        shape: (height, width) of each HR image, in pixels.
        stage: Stage of the recipe, ``'warmup'`` or ``'main'``.

    Returns:
        Memory: In float32, unless the config asks for mixed precision.

    Raises:
        ConfigError: If the model of the config is no SR4IR or cannot be built.
    """
    memory = count_memory(cfg, images, shape, stage)
    if memory.is_whole:
        return memory
    few = [
        count_memory(cfg, count, shape, stage, fake=False)
        for count in range(1, min(images, 2) + 1)
    ]
    first, last = few[0], few[-1]
    more = max(images - 2, 0)
    return Memory(
        first.parameters,
        first.optimizers,
        {
            name: last.phases[name] + more * (last.phases[name] - first.phases[name])
            for name in last.phases
        },
    )


def training_shape(cfg: Config) -> tuple[int, int]:
    """Return (height, width) of the first training image, in pixels.

    Raises:
        ConfigError: If the training data cannot be read.
    """
    data = first_batch(cfg, 'train')
    height, width = data['inputs'][0].shape[-2:]
    return height, width


def count_memory(
    cfg: Config,
    images: int,
    shape: tuple[int, int],
    stage: str = 'main',
    fake: bool = True,
) -> Memory:
    """Count the memory of an iteration, after one that made the optimizers' states.

    Args:
        cfg: The whole config.
        images: Images in a batch.
        shape: (height, width) of each HR image, in pixels.
        stage: Stage of the recipe, ``'warmup'`` or ``'main'``.
        fake: Whether the tensors have no values. A network whose shapes follow from
            values stops the step then (:attr:`Memory.is_whole`).

    Raises:
        ConfigError: If the model of the config is no SR4IR or cannot be built, or if
            its task network is of none of the task libraries.
    """
    cfg, watch = copy.deepcopy(cfg), _PhaseWatch()
    with _aside():
        # Where processes are joined, SyncBN refuses the CPU.
        model = revert_sync_batchnorm(build_model(cfg)).train()
        kind = sample_class(model.task)
        # Sizes of padding and resize follow from numbers in tensors.
        data = model.data_preprocessor(_images(model, kind, images, shape), True)
        real = model, model.prepare(data['inputs'], data['data_samples'])
        # Masks of a detector choose boxes, of which it has many more than objects.
        full_masks = OBJECTS if kind.__name__ == 'DetDataSample' else math.inf
        tensors = fake_tensors(real, full_masks) if fake else nullcontext(real)
        with tensors as (model, batch), watch.live:
            watch.live.add([*model.parameters(), *model.buffers()])
            parameters = watch.live.now
            wrappers = _optimizers(cfg, model)
            optimizers = watch.live.now - parameters
            watch.live.add([batch.inputs, batch.hr, batch.lr])
            _install_hooks(cfg, model)
            is_whole = watch.run(model, batch, wrappers, stage, stops=fake)
    return Memory(parameters, optimizers, watch.peaks, is_whole)


class _PhaseWatch:
    """Run a train step, and note the peak of each phase."""

    def __init__(self) -> None:
        self.live = LiveBytes()
        self.peaks: dict[str, int] = {}
        self.name: str | None = None

    def run(
        self,
        model: SR4IR,
        batch: Batch,
        wrappers: OptimWrapperDict,
        stage: str,
        stops: bool,
    ) -> bool:
        """Run the train step on a batch that is prepared.

        Args:
            model: The model.
            batch: The batch.
            wrappers: Its optimizers.
            stage: Stage of the recipe.
            stops: Whether an error is expected, and ends the step.

        Returns:
            bool: Whether the step ran to its end.
        """
        phase_sr = model.phase_sr

        def begin(phase: Phase, batch: Batch) -> Tensor | None:
            self.end()
            self.name = phase.name
            self.live.restart()
            return phase_sr(phase, batch)

        model.stage = stage
        model.data_preprocessor = _Ready()
        model.prepare = lambda *_: batch  # type: ignore[method-assign]
        model.phase_sr = begin  # type: ignore[method-assign]
        try:
            model.train_step(dict(inputs=None, data_samples=None), wrappers)
        except NO_VALUES as error:
            if not stops:
                raise ConfigError(
                    'the networks cannot be run on images that are made up, with boxes '
                    f'and labels but no masks or the like: {type(error).__name__}: '
                    f'{error}'
                ) from error
            return False
        finally:
            self.end()
        return True

    def end(self) -> None:
        """End the phase that runs, if one does."""
        if self.name is not None:
            self.peaks[self.name] = self.live.peak


class _Ready(nn.Module):
    """In the place of a preprocessor: the batch has passed it."""

    def forward(self, data: dict, training: bool = False) -> dict:
        return data


@contextmanager
def _aside() -> Iterator[None]:
    """Leave random numbers as they are, and the console without a line."""
    before = logging.root.manager.disable
    states = random.getstate(), np.random.get_state()
    logging.disable(logging.WARNING)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        logging.disable(before)
        random.setstate(states[0])
        np.random.set_state(states[1])


def _optimizers(cfg: Config, model: SR4IR) -> OptimWrapperDict:
    """Build the optimizers, with the states that the first step makes.

    Gradients stay where they are accumulated over iterations.

    Raises:
        ConfigError: If there is one optimizer for both networks.
    """
    wrappers = build_optim_wrapper(model, cfg.optim_wrapper)
    if not isinstance(wrappers, OptimWrapperDict):
        raise ConfigError(
            'optim_wrapper has one optimizer for both networks: give it '
            "constructor='mmsr4ir.PerNetworkOptimWrapperConstructor', sr=..., task=..."
        )
    for wrapper in wrappers.values():
        wrapper.clip_grad_kwargs = None  # it would log the norm
        if isinstance(wrapper, AmpOptimWrapper):  # the tensors are on the CPU
            wrapper.on_cpu = True
            wrapper.loss_scaler = torch.amp.GradScaler('cpu', enabled=False)
        _make_states(wrapper)
    return wrappers


def _make_states(wrapper: OptimWrapper) -> None:
    parameters = [
        parameter
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
        if parameter.requires_grad
    ]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    wrapper.optimizer.step()
    if accumulative_counts(wrapper) == 1:
        wrapper.zero_grad()


def _install_hooks(cfg: Config, model: SR4IR) -> None:
    """Have the config's hooks change the networks as they do before a training."""
    entries = [
        *(cfg.get('default_hooks') or {}).values(),
        *(cfg.get('custom_hooks') or []),
    ]
    for entry in entries:
        if entry and type_name(entry) in _HOOKS:
            HOOKS.build(entry).before_train(SimpleNamespace(model=model))


def _images(model: SR4IR, kind: type, images: int, shape: tuple[int, int]) -> dict:
    """Make a batch as a dataloader gives it: random images with labels."""
    channels = image_channels(model.data_preprocessor, model.task)
    return dict(
        inputs=[
            torch.randint(0, 256, (channels, *shape), dtype=torch.uint8)
            for _ in range(images)
        ],
        data_samples=[_sample(kind, shape) for _ in range(images)],
    )


def _sample(kind: type, shape: tuple[int, int]) -> BaseDataElement:
    """Make the data sample of an image, of a library's class; all labels are 0."""
    height, width = shape
    size = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, scale_factor=(1, 1))
    sample = kind(metainfo=size)
    if kind.__name__ == 'SegDataSample':
        sample.gt_sem_seg = PixelData(data=torch.zeros(1, *shape, dtype=torch.long))
    elif kind.__name__ == 'DataSample':
        sample.set_gt_label(torch.zeros(1, dtype=torch.long))
    else:
        corner = torch.rand(OBJECTS, 2) * 0.5
        boxes = torch.cat([corner, corner + 0.1 + torch.rand(OBJECTS, 2) * 0.4], 1)
        sample.gt_instances = InstanceData(
            bboxes=boxes * torch.tensor([width, height, width, height]),
            labels=torch.zeros(OBJECTS, dtype=torch.long),
        )
    return sample
