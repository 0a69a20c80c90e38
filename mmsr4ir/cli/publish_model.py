"""Make a checkpoint fit to be published: weights and meta alone, a hash in its name."""
import argparse
import hashlib
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import torch
from mmengine.config import Config

from mmsr4ir.deployment.convert import (
    ConvertError,
    find_weights,
    plain,
    read_checkpoint,
    read_config,
    select,
)
from mmsr4ir.utils.files import write_whole

from .arguments import add_weights_argument

_ABSOLUTE = re.compile(r'/|~[/\\]|\\\\|[A-Za-z]:[/\\]|file:')


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description='Make the checkpoint of a training fit to be published: only the '
        'weights and what is known about them (meta) stay; optimizers, schedules, logs '
        'and the second set of weights of EMAHook go. The name gets the first 8 digits '
        'of the file\'s SHA-256, by which MMEngine checks what it fetches.',
        epilog='The config in the checkpoint stays, but every absolute path in it is '
        'cut to its last part, since the folders of a machine are nobody else\'s '
        'business. Nothing in the file is run. For the SR or the task network alone, '
        'run split_sr4ir.py first.')
    parser.add_argument('checkpoint', type=Path, help='checkpoint of a training')
    parser.add_argument(
        'out', type=Path, metavar='OUT',
        help='name to write to: NAME.pth gives NAME-<8 digits>.pth')
    add_weights_argument(parser)
    return parser.parse_args(argv)


def without_folders(value):
    """Cut every absolute path in a nest of values to its last part."""
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(without_folders, value))
    if isinstance(value, str) and _ABSOLUTE.match(value):
        end = '/' if value[-1] in '/\\' else ''
        return PureWindowsPath(value).name + end  # which knows both separators
    return value


def clean_meta(meta: dict) -> dict:
    """What may be known of the training; without its config where that is code."""
    meta = {k: v for k, v in meta.items() if k not in ('hook_msgs', 'cfg')} | (
        _clean_config(meta['cfg']) if meta.get('cfg') else {})
    return without_folders(plain(meta))


def _clean_config(text: str) -> dict[str, str]:
    try:
        config = read_config(text)
    except ConvertError as error:
        print(f'warning: {error}; it is left out', file=sys.stderr)
        return {}
    config.pop('work_dir', None)
    return dict(cfg=Config(without_folders(config)).pretty_text)


def publish(args: argparse.Namespace) -> Path:
    """Write the file and say what is in it.

    Raises:
        ConvertError: There is nothing to publish, or the file is there already.
    """
    checkpoint = read_checkpoint(args.checkpoint)
    ends = re.search(r'-([0-9a-f]{8})\.pth$', args.checkpoint.name)
    if ends and digest(args.checkpoint.read_bytes()) == ends[1]:
        raise ConvertError('it is published already: its name ends with its hash')
    state_dict = select(find_weights(checkpoint, args.weights), '')
    kept = {'state_dict', 'meta', *state_dict}  # a file may hold the tensors alone
    dropped = sorted(map(str, set(checkpoint) - kept))
    content = io.BytesIO()  # a file's name would be in it, and so in its hash
    torch.save(dict(meta=clean_meta(checkpoint.get('meta') or {}),
                    state_dict=state_dict), content)
    data = content.getvalue()
    out = args.out.with_name(
        f'{args.out.name.removesuffix(".pth")}-{digest(data)}.pth')
    if out.exists():
        raise ConvertError(f'{out} exists already')
    write_whole(out, data)
    if 'optimizer' not in checkpoint:
        print('it has no optimizer; was it published before?')
    if 'ema_state_dict' in checkpoint:
        last = args.weights == 'last'
        print(f'weights: {"the last" if last else "the average"} of EMAHook')
    print(f'left out: {", ".join(dropped) or "nothing"}')
    print(f'{out}: {len(state_dict)} tensors, {len(data):,} bytes instead of '
          f'{args.checkpoint.stat().st_size:,}')
    return out


def digest(data: bytes) -> str:
    """The first 8 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:8]


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    try:
        publish(args)
    except (ConvertError, OSError) as error:
        sys.exit(f'error: {args.checkpoint}: {error}')
