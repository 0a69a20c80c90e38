"""SR networks of the package ``spandrel``, from the files that people share."""

import inspect
import math
import os
from collections.abc import Mapping
from importlib import import_module
from logging import WARNING
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmsr4ir.compat.spandrel_call import call_function
from mmsr4ir.registry import MODELS
from mmsr4ir.utils.errors import ConfigError

from .weights import WeightsError, add_prefix, drop_prefix


@MODELS.register_module()
class Spandrel(nn.Module):
    """An SR network of spandrel: HAT, DAT, SwinIR, RCAN, SPAN, ESRGAN and more.

    Give either a file, which tells the architecture and its settings, or an
    architecture with its settings, which begins with random weights. What spandrel
    knows of the network gives the scale, the range of its images, and the sizes that it
    takes; an image of another size is mirrored at its right and bottom edge, and the
    result is cropped.

    The state dict has the names of the shared file (without ``network.``), so that a
    trained network can be loaded by every program that reads such files.

    Args:
        checkpoint: A ``.safetensors`` file; a ``.pth``, ``.pt`` or ``.ckpt`` file,
            which is read without running code that it may hold; or the checkpoint of a
            training of :class:`SR4IR` with such a network.
        arch: Name of one of spandrel's classes, such as ``'HAT'``.
        **settings: Of that class, as ``upscale=4, embed_dim=60``.

    Attributes:
        scale: How much larger an edge of the output is.
        channels: Of its images.
        window_size: Tiles of an image start at multiples of so many LR pixels; 1 for a
            network without windows.

    Raises:
        ImportError: If spandrel is not installed.
        ConfigError: If neither or both of ``checkpoint`` and ``arch`` are given, if
            spandrel has no such class or the class no such setting, or if the network
            does not enlarge images, or gives other channels than it takes.
        WeightsError: If the file does not exist, cannot be read, holds code, or holds
            no network that spandrel knows.
    """

    def __init__(
        self, checkpoint: str | None = None, arch: str | None = None, **settings: Any
    ) -> None:
        super().__init__()
        if checkpoint is not None and arch is None and not settings:
            described = _read(checkpoint)
            self.network = described.model
        elif arch is not None and checkpoint is None:
            self.network, described = _build(arch, settings)
        else:
            raise ConfigError(
                'mmsr4ir.Spandrel takes a file, or an architecture with its settings: '
                "give checkpoint='hat.safetensors', or arch='HAT', upscale=4, ..."
            )
        name = described.architecture.id
        channels = (described.input_channels, described.output_channels)
        if getattr(described, 'purpose', '') != 'SR' or len(set(channels)) > 1:
            raise ConfigError(
                f'mmsr4ir.Spandrel: {checkpoint or arch} is no SR network for '
                f'images: {name} is for {described.purpose}, x{described.scale}, with '
                f'{channels[0]} channels in and {channels[1]} out'
            )
        self.call = call_function(described)
        self.scale, self.channels = described.scale, channels[0]
        self.least = described.size_requirements.minimum
        self.multiple = described.size_requirements.multiple_of
        window = getattr(self.network, 'window_size', 1)
        self.window_size = math.lcm(
            self.multiple, window if isinstance(window, int) else 1
        )
        self.register_state_dict_post_hook(drop_prefix)
        self.register_load_state_dict_pre_hook(add_prefix)
        if checkpoint:
            count = sum(value.numel() for value in self.network.parameters())
            print_log(
                f'{checkpoint}: {name}, x{self.scale}, {count:,} parameters', 'current'
            )
        elif not self._equals(described.model):
            print_log(
                f'{arch} with {settings}: a file of its weights does not tell all of '
                'these settings. Build it by `arch` in tests and inference, too; other '
                'programs that read the file get another network',
                'current',
                WARNING,
            )

    def forward(self, lr: Tensor) -> Tensor:
        """Enlarge images.

        Args:
            lr: (N, C, h, w), [0, 1], RGB if C is 3.

        Returns:
            Tensor: (N, C, h * scale, w * scale), [0, 1] except for overshoots.
        """
        height, width = lr.shape[-2:]
        bottom, right = (
            math.ceil(max(length, self.least) / self.multiple) * self.multiple - length
            for length in (height, width)
        )
        lr = lr.clone()  # RCAN changes its input in place
        if bottom or right:
            # As spandrel does it: a mirror has one pixel less than the image.
            mirrored = (0, min(right, width - 1), 0, min(bottom, height - 1))
            lr = F.pad(lr, mirrored, 'reflect')
            lr = F.pad(
                lr, (0, right - mirrored[1], 0, bottom - mirrored[3]), 'replicate'
            )
        sr = self.call(self.network, lr)
        if bottom or right:
            sr = sr[..., : height * self.scale, : width * self.scale]
        return sr

    @torch.no_grad()
    def _equals(self, other: nn.Module) -> bool:
        """Return whether a network with the same weights gives the same image."""
        own, was_training = self.network, self.network.training
        results = []
        with torch.random.fork_rng(devices=[]):
            lr = torch.rand(1, self.channels, *[max(32, self.least)] * 2)
            for self.network in (other.eval(), own.eval()):
                results.append(self(lr))
        own.train(was_training)
        theirs, ours = results
        return theirs.shape == ours.shape and torch.allclose(
            theirs, ours, rtol=1e-3, atol=1e-3
        )


def _spandrel() -> Any:
    try:
        return import_module('spandrel')
    except ModuleNotFoundError as error:
        raise ImportError(
            f"mmsr4ir.Spandrel: {error}: pip install 'mmsr4ir[spandrel]'"
        ) from error


def _read(path: str) -> Any:
    """Read a file into spandrel's description of the network, weights included."""
    spandrel = _spandrel()
    if '://' not in path and not os.path.isfile(os.path.expanduser(path)):
        raise WeightsError(
            f'model.sr.checkpoint {path} does not exist. It tells the architecture; '
            'any file with the same network does, as a checkpoint of its training here'
        )
    try:
        content = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        inner = content.get('state_dict') if isinstance(content, Mapping) else None
        own = (
            {
                name.removeprefix('sr.'): value
                for name, value in inner.items()
                if name.startswith('sr.')
            }
            if isinstance(inner, Mapping)
            else {}
        )
        return spandrel.MAIN_REGISTRY.load(own or content)
    # Its readers of the architectures raise nearly anything on what is none.
    except Exception as error:
        reason = str(error) or f'spandrel {spandrel.__version__} knows no such network'
        raise WeightsError(f'model.sr.checkpoint {path}: {reason}') from error


def _build(arch: str, settings: dict) -> tuple[nn.Module, Any]:
    """Build a class of spandrel; describe what was built by its state dict."""
    classes: dict[str, tuple[Any, Any]] = {}
    for support in _spandrel().MAIN_REGISTRY:
        module = import_module(type(support.architecture).__module__)
        classes |= {
            name: (getattr(module, name), support.architecture)
            for name in module.__all__
            if not name.endswith('Arch')
        }
    if arch not in classes:
        raise ConfigError(
            f'mmsr4ir.Spandrel: arch={arch!r}: use one of {", ".join(sorted(classes))}'
        )
    network, architecture = classes[arch]
    known = inspect.signature(network.__init__).parameters.keys() - {'self'}
    unknown = sorted(settings.keys() - known)
    if unknown:
        raise ConfigError(
            f'mmsr4ir.Spandrel: {arch} has no {unknown}; it has '
            f'{", ".join(sorted(known))}'
        )
    try:
        built = network(**settings)
        with torch.random.fork_rng(devices=[]):  # the description is a second network
            return built, architecture.load(dict(built.state_dict()))
    except (AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f'mmsr4ir.Spandrel: {arch} with {settings}: {error}'
        ) from error
