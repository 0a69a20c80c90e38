"""Checkpoints for release: weights and meta alone, a hash in the name."""

import hashlib
import io
import re
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

import torch
from mmengine.config import Config

from mmsr4ir.utils.configs import config_values
from mmsr4ir.utils.files import load_json, write_whole

from .convert import ConvertError, find_weights, plain_values, read_checkpoint, select
from .model_card import model_card

_ABSOLUTE = re.compile(r'/|~[/\\]|\\\\|[A-Za-z]:[/\\]|file:')


def publish(
    source: Path,
    out: Path,
    weights: str | None = None,
    card: Sequence[Path] | None = None,
) -> list[str]:
    """Write weights and meta alone to ``NAME-<8 digits of the SHA-256>.pth``.

    Args:
        source: Checkpoint of a training.
        out: ``NAME.pth`` or ``NAME``.
        weights: ``'average'``, ``'last'`` or None, see :func:`.find_weights`.
        card: Files with the metrics of tests. Unless None, the config and a model card
            with these metrics are written beside, as ``.py`` and ``.md``.

    Returns:
        list[str]: What is in the file and what was left out, in lines.

    Raises:
        ConvertError: If the checkpoint cannot be read or is published already, or if
            the file exists. With ``card`` also if the checkpoint holds no config with
            ``model.sr`` and ``model.task``, or if a file of ``card`` is missing or
            holds no metrics.
        OSError: If the file cannot be written.
    """
    checkpoint = read_checkpoint(source)
    ends = re.search(r'-([0-9a-f]{8})\.pth$', source.name)
    if ends and file_digest(source.read_bytes()) == ends[1]:
        raise ConvertError('it is published already: its name ends with its hash')
    state_dict = select(find_weights(checkpoint, weights), '')
    kept = {'state_dict', 'meta', *state_dict}  # a file may hold the tensors alone
    dropped = sorted(map(str, set(checkpoint) - kept))
    meta, report = clean_meta(checkpoint.get('meta') or {})
    content = io.BytesIO()  # a file's name would be in it, and so in its hash
    torch.save(dict(meta=meta, state_dict=state_dict), content)
    data = content.getvalue()
    out = out.with_name(f'{out.name.removesuffix(".pth")}-{file_digest(data)}.pth')
    if out.exists():
        raise ConvertError(f'{out} exists already')
    beside = {}
    if card is not None:
        text = meta.get('cfg')
        cfg = config_values(text) if text else {}
        if not {'sr', 'task'} <= set(cfg.get('model') or ()):
            raise ConvertError(
                'it holds no config with model.sr and model.task, so there can be no '
                'model card'
            )
        tests = read_metrics(card)
        beside['.py'] = str(text)
        beside['.md'] = model_card(out.stem, cfg, meta, state_dict, tests)
    write_whole(out, data)
    for suffix, one in beside.items():
        write_whole(out.with_suffix(suffix), one)
    if 'optimizer' not in checkpoint:
        report.append('it has no optimizer; was it published before?')
    if 'ema_state_dict' in checkpoint:
        kind = 'the last' if weights == 'last' else 'the average'
        report.append(f'weights: {kind} of EMAHook')
    return [
        *report,
        f'left out: {", ".join(dropped) or "nothing"}',
        f'{out}: {len(state_dict)} tensors, {len(data):,} bytes instead of '
        f'{source.stat().st_size:,}',
    ]


def read_metrics(paths: Sequence[Path]) -> list[dict[str, float]]:
    """Read the JSON files that tests write.

    Raises:
        ConvertError: If a file is missing or holds no numbers by name.
    """
    found = []
    for path in paths:
        try:
            metrics = load_json(path)
        except (OSError, ValueError) as error:
            raise ConvertError(f'{path} cannot be read: {error}') from error
        if not isinstance(metrics, dict) or not all(
            isinstance(value, int | float) for value in metrics.values()
        ):
            raise ConvertError(
                f'{path} holds no metrics by name: give the JSON that tools/test.py '
                'writes to its work directory'
            )
        found.append(metrics)
    return found


def clean_meta(meta: dict) -> tuple[dict, list[str]]:
    """Return what may be known of the training, and a warning if its config is code.

    Args:
        meta: Of the checkpoint, which is left as it is.
    """
    kept = {k: v for k, v in meta.items() if k not in ('hook_msgs', 'cfg')}
    warnings = []
    if meta.get('cfg'):
        try:
            config = config_values(meta['cfg'])
        except ValueError as error:
            warnings.append(f'warning: {error}; it is left out')
        else:
            config.pop('work_dir', None)
            kept['cfg'] = Config(without_folders(config)).pretty_text
    return without_folders(plain_values(kept)), warnings


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


def file_digest(data: bytes) -> str:
    """Return the first 8 hexadecimal digits of the SHA-256."""
    return hashlib.sha256(data).hexdigest()[:8]
