"""What a run sets on a GPU beside MMEngine: TF32, and ``randomness.deterministic``."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from torch import Tensor

from mmsr4ir.utils.errors import ConfigError, SR4IRError

# What torch says of an operation that has no deterministic kernel.
_NOT_DETERMINISTIC = re.compile(r'(\S+) does not have a deterministic implementation')
_ROI_ALIGN = (
    "train with custom_hooks=[dict(type='mmsr4ir.SparseRoIAlignHook')], which avoids "
    'it, or '
)


class NotDeterministicError(SR4IRError, RuntimeError):
    """An operation has no deterministic kernel; the message names it and a setting."""


def set_tf32(tf32: bool | None) -> None:
    """Let convolutions and matrix products compute in TF32, or keep both from it.

    TF32 has the range of float32 and 10 bits of its 23. torch's own default (None) is
    TF32 in convolutions and float32 in matrix products.

    Raises:
        ConfigError: If ``tf32`` is neither True nor False nor None.
    """
    if tf32 not in (True, False, None):
        raise ConfigError(f'env_cfg.tf32 must be True or False, got {tf32!r}')
    if tf32 is not None:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.backends.cudnn.allow_tf32 = tf32


@contextmanager
def explain_not_deterministic() -> Iterator[None]:
    """Name the setting where torch refuses an operation that is not deterministic.

    Raises:
        NotDeterministicError: If an operation of the block has no deterministic kernel
            and ``randomness.deterministic=True``.
    """
    try:
        yield
    except RuntimeError as error:
        found = _NOT_DETERMINISTIC.search(str(error))
        if not found:
            raise
        raise NotDeterministicError(
            f'randomness.deterministic=True: {found[1]} has no deterministic '
            f'implementation on this device: '
            f'{_ROI_ALIGN if "roi_align" in found[1] else ""}'
            'set randomness.deterministic=False, with which two runs may differ in '
            'the last digits'
        ) from error


def count_on_cpu(evaluator: Evaluator) -> None:
    """Have mmseg's ``IoUMetric`` count pixels on the CPU.

    It counts them by ``torch.histc``, which has no deterministic kernel on a GPU. The
    counts are the same.
    """
    for metric in evaluator.metrics:
        count: Any = getattr(metric, 'intersect_and_union', None)
        if count is not None:
            vars(metric)['intersect_and_union'] = partial(_on_cpu, count)


def _on_cpu(count: Any, prediction: Tensor, label: Tensor, *args) -> Any:
    """Count the classes of two maps, both (H, W)."""
    return count(prediction.cpu(), label.cpu(), *args)
