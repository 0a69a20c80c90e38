"""What the converters of checkpoints share: reading, renaming, saving."""

import io
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmsr4ir.compat.torch_parts import module_versions, set_module_versions
from mmsr4ir.models.weights import mismatch
from mmsr4ir.utils.errors import SR4IRError
from mmsr4ir.utils.files import write_whole


class ConvertError(SR4IRError, ValueError):
    """A file cannot be converted; the message says why, and names the fix."""


@contextmanager
def about(what: str | Path) -> Iterator[None]:
    """Put what an error is about before its message.

    Raises:
        ConvertError: If the block raises a ValueError or an OSError.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        raise ConvertError(f'{what}: {error}') from error


def read_checkpoint(path: Path) -> Mapping:
    """Load a local checkpoint without running any code that is hidden in it.

    Raises:
        ConvertError: If the file is missing, damaged, holds a class that could run
            code, or is no dict.
    """
    if not path.is_file():
        raise ConvertError('there is no such file')
    try:
        checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    except RuntimeError as error:
        raise ConvertError(str(error).removeprefix(f'{path} ')) from error
    if not isinstance(checkpoint, Mapping):
        raise ConvertError(
            f'it holds a {type(checkpoint).__name__}, not tensors by name: save the '
            'state_dict of the network alone'
        )
    return checkpoint


def find_state_dict(
    checkpoint: Mapping, keys: tuple[str, ...]
) -> tuple[str | None, Mapping[str, Tensor]]:
    """Find the tensors in a checkpoint.

    Args:
        checkpoint: What the file holds.
        keys: Where the tensors may be, the best first; the checkpoint itself, where
            it has none of these keys.

    Returns:
        tuple: The key or None, and the tensors by name.

    Raises:
        ConvertError: If the checkpoint holds no tensors by name there, or anything
            else beside them.
    """
    key = next((key for key in keys if key in checkpoint), None)
    state_dict = checkpoint if key is None else checkpoint[key]
    if (
        not isinstance(state_dict, Mapping)
        or not state_dict
        or not all(isinstance(value, Tensor) for value in state_dict.values())
    ):
        raise ConvertError(
            f'no tensors by name under {key!r}'
            if key
            else 'no tensors by name; the file holds '
            f'{sorted(map(str, checkpoint))[:6]}'
        )
    return key, state_dict


def find_weights(checkpoint: Mapping, which: str | None) -> Mapping[str, Tensor]:
    """Return the tensors of the checkpoint of a training.

    Args:
        checkpoint: What the file holds.
        which: ``'average'``, ``'last'`` or None, see ``--weights``.

    Raises:
        ConvertError: If the file has no tensors, or not those that are asked for.
    """
    if which and 'ema_state_dict' not in checkpoint:
        raise ConvertError(
            f'--weights {which}: no ema_state_dict in it, so that there is no choice; '
            'it was trained without EMAHook. Leave --weights out'
        )
    # EMAHook swaps the two when it saves.
    key = 'ema_state_dict' if which == 'last' else 'state_dict'
    state_dict = find_state_dict(checkpoint, (key,))[1]
    if which == 'last':
        state_dict = select(state_dict, 'module.')
    return state_dict


def select(
    state_dict: Mapping[str, Tensor], prefix: str, new: str = ''
) -> 'OrderedDict[str, Tensor]':
    """Return the tensors whose names have a prefix, with another one in its place.

    The versions of the modules, by which some networks read old files, go along.
    """
    part = OrderedDict(
        (new + name.removeprefix(prefix), value)
        for name, value in state_dict.items()
        if name.startswith(prefix)
    )
    set_module_versions(
        part,
        {
            (new + f'{name}.'.removeprefix(prefix))[:-1]: version
            for name, version in module_versions(state_dict).items()
            if f'{name}.'.startswith(prefix)
        },
    )
    return part


def shape(
    state_dict: Mapping[str, Tensor], name: str, dims: int = 4
) -> tuple[int, ...]:
    """Return the shape of a tensor of the network that the file should hold.

    Raises:
        ConvertError: If the tensor is missing or has another number of dimensions.
    """
    if name not in state_dict or state_dict[name].ndim != dims:
        what = f'{name} with {dims} dimensions'
        raise ConvertError(
            f'another network: it has no {what}; its names are '
            f'{", ".join(list(state_dict)[:3])}, ... ({len(state_dict)} in all)'
        )
    return tuple(state_dict[name].shape)


def count_names(state_dict: Mapping[str, Tensor], pattern: str) -> int:
    """Count the names that match a regular expression as a whole."""
    return sum(bool(re.fullmatch(pattern, name)) for name in state_dict)


def rename(
    state_dict: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    original_name: Callable[[str], str],
    network: object,
) -> dict[str, Tensor]:
    """Give the tensors the names that a network has for them.

    Args:
        state_dict: The tensors by their original names.
        own: The state dict of the network.
        original_name: From the network's name of a tensor to the original one.
        network: What the network is, for the message.

    Raises:
        ConvertError: If a tensor is missing, has another shape, or has no place in the
            network.
    """
    found = mismatch({original_name(name): own[name] for name in own}, state_dict)
    if found:
        raise ConvertError(f'another network than {network}: tensors {found}')
    return {name: state_dict[original_name(name)] for name in own}


def plain_values(value):
    """Turn NumPy's values into Python's, so that every safe loader takes the file."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Mapping):
        return {plain_values(k): plain_values(v) for k, v in value.items()}
    return (
        type(value)(map(plain_values, value))
        if isinstance(value, list | tuple)
        else value
    )


def check_out(out: Path, source: Path) -> None:
    """Check that a file which was read is not the one to be written.

    Raises:
        ConvertError: If ``source`` would be overwritten.
    """
    if out.exists() and out.samefile(source):
        raise ConvertError('it would be overwritten: give the output another name')


def save_checkpoint(checkpoint: dict, path: Path) -> None:
    """Save, whole or not at all.

    Raises:
        OSError: If the file cannot be written.
    """
    # To a file that it opens itself, torch tells a full disk as an error of its own.
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_whole(path, content.getvalue())


def as_text(value, indent: str = '') -> str:
    """Write a config as Python, a line for each key."""
    if not isinstance(value, dict):
        return repr(value)
    inner = indent + '    '
    lines = (f'{inner}{k}={as_text(v, inner)}' for k, v in value.items())
    return 'dict(\n' + ',\n'.join(lines) + ')'
