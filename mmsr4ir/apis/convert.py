"""What the command lines in ``tools/model_converters/`` share."""
import argparse
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmsr4ir.files import whole_file
from mmsr4ir.models.weights import mismatch
from mmsr4ir.registry import MODELS


class ConvertError(ValueError):
    """A file cannot be converted; the message says why, and names the mend."""


def read_checkpoint(path: Path) -> dict:
    """Load a local checkpoint without running any code that is hidden in it.

    Raises:
        ConvertError: The file is missing, damaged, holds a class that could run code,
            or is no dict.
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
            'state_dict of the network alone')
    return checkpoint


def find_state_dict(checkpoint: Mapping, keys: tuple[str, ...]
                    ) -> tuple[str | None, dict[str, Tensor]]:
    """Find the tensors in a checkpoint.

    Args:
        checkpoint: What the file holds.
        keys: Where the tensors may be, the best first; the checkpoint itself, where
            it has none of these keys.

    Returns:
        tuple: The key or None, and the tensors by name.

    Raises:
        ConvertError: There is something else than tensors.
    """
    key = next((key for key in keys if key in checkpoint), None)
    state_dict = checkpoint if key is None else checkpoint[key]
    if not isinstance(state_dict, Mapping) or not state_dict or not all(
            isinstance(value, Tensor) for value in state_dict.values()):
        raise ConvertError(
            f'no tensors by name under {key!r}' if key else
            f'no tensors by name; the file holds {sorted(map(str, checkpoint))[:6]}')
    return key, state_dict


def shape(state_dict: Mapping[str, Tensor], name: str, dims: int = 4
          ) -> tuple[int, ...]:
    """The shape of a tensor of the network that the file should hold.

    Raises:
        ConvertError: It is not there, or has not so many dimensions.
    """
    if name not in state_dict or state_dict[name].ndim != dims:
        what = f'{name} with {dims} dimensions'
        raise ConvertError(
            f'another network: it has no {what}; its names are '
            f'{", ".join(list(state_dict)[:3])}, ... ({len(state_dict)} in all)')
    return tuple(state_dict[name].shape)


def count(state_dict: Mapping[str, Tensor], pattern: str) -> int:
    """The number of names that match a regular expression as a whole."""
    return sum(bool(re.fullmatch(pattern, name)) for name in state_dict)


def rename(state_dict: Mapping[str, Tensor], network: dict,
           original_name: Callable[[str], str]) -> dict[str, Tensor]:
    """Give the tensors the names that a network of mmagic has for them.

    Args:
        state_dict: The tensors by their original names.
        network: Config of the network.
        original_name: From the network's name of a tensor to the original one.

    Raises:
        ConvertError: A tensor is missing, of another shape, or of no use.
    """
    own = MODELS.build(network).state_dict()
    found = mismatch({original_name(name): own[name] for name in own}, state_dict)
    if found:
        raise ConvertError(f'another network than {network}: tensors {found}')
    return {name: state_dict[original_name(name)] for name in own}


def save_checkpoint(checkpoint: dict, path: Path) -> None:
    """Save, whole or not at all."""
    with whole_file(path) as unfinished:
        torch.save(checkpoint, unfinished)


def sr_parser(**texts: str) -> argparse.ArgumentParser:
    """The options of a converter of SR networks."""
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter, **texts)
    parser.add_argument('source', type=Path, metavar='IN', help='the original file')
    parser.add_argument('out', type=Path, metavar='OUT', help='file to write (.pth)')
    parser.add_argument(
        '--prefix', default='', help='put this before every name: "generator." for '
        'the models of mmagic\'s own configs (default: the network alone, as for '
        'init_cfg of model.sr)')
    return parser


def convert_sr(args: argparse.Namespace, keys: tuple[str, ...],
               describe: Callable[[dict], tuple[dict, dict]],
               original_name: Callable[[str, dict], str]) -> None:
    """Convert a file, print what it holds and the config to use it with.

    Exits with a message where the file cannot be converted.

    Args:
        args: The command line, see :func:`sr_parser`.
        keys: As for :func:`find_state_dict`.
        describe: From the original tensors to the network's config and to further
            settings of :class:`~mmsr4ir.models.sr4ir.SR4IR`; takes out tensors that
            mmagic's network has as settings.
        original_name: From mmagic's name and the network's config to the original
            name.
    """
    try:
        key, state_dict = find_state_dict(read_checkpoint(args.source), keys)
        state_dict = dict(state_dict)
        network, settings = describe(state_dict)
        converted = rename(
            state_dict, network, lambda name: original_name(name, network))
        if args.out.exists() and args.out.samefile(args.source):
            raise ConvertError('it would be overwritten: give OUT another name')
        save_checkpoint(
            dict(meta=dict(converted_from=args.source.name), state_dict={
                f'{args.prefix}{name}': value for name, value in converted.items()
            }), args.out)
    except (ConvertError, OSError) as error:
        sys.exit(f'error: {args.source}: {error}')
    numbers = sum(value.numel() for value in converted.values())
    where = f' under {key!r}' if key else ''
    print(f'{args.source}{where}: {len(converted)} tensors, {numbers:,} numbers')
    print(f'{args.out} written. In the config of an SR4IR:')
    init_cfg = dict(type='Pretrained', checkpoint=str(args.out))
    if args.prefix:
        init_cfg['prefix'] = args.prefix
    print(f'model = {as_text(dict(sr=dict(network, init_cfg=init_cfg), **settings))}')


def as_text(value, indent: str = '') -> str:
    """Write a config as Python, a line for each key."""
    if not isinstance(value, dict):
        return repr(value)
    inner = indent + '    '
    lines = (f'{inner}{k}={as_text(v, inner)}' for k, v in value.items())
    return 'dict(\n' + ',\n'.join(lines) + ')'
