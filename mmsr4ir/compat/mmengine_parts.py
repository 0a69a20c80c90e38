"""State of MMEngine's objects that has no public name.

MMEngine 0.10 and onedl-mmengine 0.10 tell neither whether a Runner resumes and from
which file, nor what a config's ``randomness`` or ``accumulative_counts`` became.
:class:`~mmengine.optim.AmpOptimWrapper` refuses a CPU in its constructor, although all
that the constructor sets works there. A value of the log cannot be taken back, nor can
a data set be told classes that it found in its files.
"""

from collections.abc import Iterable, Sequence

import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import MessageHub
from mmengine.model import BaseDataPreprocessor
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import BaseLoop, Runner
from torch import nn


def is_resumed(runner: Runner) -> bool:
    """Return whether a Runner resumes a training, and not just its weights."""
    return runner._resume


def loaded_from(runner: Runner) -> str | None:
    """Return the checkpoint that a Runner starts from; None if there is none."""
    return runner._load_from


def differs_by_rank(runner: Runner) -> bool:
    """Return whether each process has a seed of its own."""
    return runner._randomness_cfg.get('diff_rank_seed', False)


def is_training(runner: Runner) -> bool:
    """Return whether a Runner has begun a training.

    ``runner.train_loop`` builds the loop, and with it the training data, if there is
    none yet.
    """
    return isinstance(runner._train_loop, BaseLoop)


def leave_out_of_log(hub: MessageHub, losses: Iterable[str]) -> None:
    """Take the last value of these losses out of what is smoothed for the log.

    Otherwise the value would affect every line until its window is over. The entry
    stays, with the weight 0, so that all processes have equally many entries.
    """
    for name in losses:
        # These are the arrays that the HistoryBuffer itself goes on with, no copies.
        values, counts = hub.get_scalar(f'train/{name}').data
        values[-1] = counts[-1] = 0


def set_classes(dataset: BaseDataset, names: Sequence[str]) -> None:
    """Set the classes of a data set that exists already."""
    dataset._metainfo['classes'] = tuple(names)


def accumulative_counts(wrapper: OptimWrapper) -> int:
    """Return over how many iterations an optimizer accumulates gradients."""
    return wrapper._accumulative_counts


def set_inner_count(wrapper: OptimWrapper, count: int) -> None:
    """Set from how many iterations the gradients of an optimizer are.

    ``initialize_count_status`` sets the length of the training, too.
    """
    wrapper._inner_count = count


def init_amp_on_cpu(
    wrapper: AmpOptimWrapper,
    scaler: torch.amp.GradScaler,
    dtype: torch.dtype,
    fixed_scale: float | None,
    **kwargs,
) -> None:
    """Do what the constructor of ``AmpOptimWrapper`` does, which refuses a CPU.

    Args:
        wrapper: What is constructed.
        scaler: Of the CPU.
        dtype: In which the networks compute.
        fixed_scale: The factor on the losses, if it never changes.
        kwargs: Those of MMEngine's ``OptimWrapper``.
    """
    OptimWrapper.__init__(wrapper, **kwargs)
    wrapper.loss_scaler = scaler
    wrapper.cast_dtype = dtype
    wrapper._scale_update_param = fixed_scale


def copy_without_waiting(network: nn.Module) -> None:
    """Have the preprocessor of a network copy batches to a GPU without waiting for it.

    mmsegmentation's does not pass MMEngine's argument ``non_blocking`` on. A GPU copies
    and computes in the order of the calls, so that nothing else changes.
    """
    preprocessor = getattr(network, 'data_preprocessor', None)
    if isinstance(preprocessor, BaseDataPreprocessor):
        preprocessor._non_blocking = True


def set_statistics(
    preprocessor: BaseDataPreprocessor, mean: Sequence[float], std: Sequence[float]
) -> None:
    """Have a preprocessor normalise by any number of means, each for one channel.

    ``ImgDataPreprocessor`` refuses other numbers than 1 and 3 in its constructor,
    although nothing else in it depends on them.

    Args:
        preprocessor: Of one of the task libraries, built without mean and std.
        mean: Of values from 0 to 255.
        std: As many, or one for all channels.
    """
    for name, values in (('mean', mean), ('std', std)):
        buffer = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
        preprocessor.register_buffer(name, buffer, persistent=False)
    preprocessor._enable_normalize = True
