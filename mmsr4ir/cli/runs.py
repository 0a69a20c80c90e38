"""From a command line to a config that a Runner can take."""

import copy
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta

import torch
import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmsr4ir.compat.torch_parts import leave_group
from mmsr4ir.datasets.checks.images import Scanner
from mmsr4ir.datasets.checks.problem import in_one_line, stop_on_errors
from mmsr4ir.datasets.checks.reports import reports
from mmsr4ir.datasets.move_resize import move_resize
from mmsr4ir.engine.runner import SR4IRRunner
from mmsr4ir.engine.zoo_checks import check_zoo
from mmsr4ir.utils.configs import type_name
from mmsr4ir.utils.errors import ConfigError

_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


def _end_with_launcher() -> None:
    if 'TORCHELASTIC_RUN_ID' in os.environ and sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start_dist(cfg: Config) -> None:
    """Start distributed training; each network gets a wrapper of its own.

    From here on, each process ends when torchrun ends (on Linux). A torchrun that is
    killed does not end its processes, so they would continue to train unseen.

    With a GPU, MMEngine's Runner joins the processes. Without a GPU, the Runner would
    ask for a CUDA device, so this function joins them through gloo.
    """
    _end_with_launcher()
    if (
        cfg.launcher != 'none'
        and type_name(cfg.model) == 'SR4IR'
        and not cfg.get('model_wrapper_cfg')
    ):
        cfg.model_wrapper_cfg = dict(type='mmsr4ir.SeparateDistributedDataParallel')
    if cfg.launcher == 'pytorch' and not torch.cuda.is_available():
        env = cfg.get('env_cfg') or {}
        settings = dict(env.get('dist_cfg') or {}, backend='gloo')
        cfg.env_cfg = dict(env, dist_cfg=settings)
        # The Runner would hand out CUDA devices to the wrapper otherwise.
        cfg.model_wrapper_cfg = dict(
            cfg.get('model_wrapper_cfg') or dict(type='MMDistributedDataParallel'),
            device_ids=None,
        )
        if cfg.get('sync_bn'):
            print_log(
                f'sync_bn={cfg.sync_bn!r} needs a GPU and is left out',
                level=logging.WARNING,
            )
            cfg.sync_bn = None
        timeout = settings.get('timeout')  # seconds, as MMEngine has them
        torch.distributed.init_process_group(
            'gloo', timeout=timeout and timedelta(seconds=timeout)
        )


def build_runner(cfg: Config) -> Runner:
    """Build MMEngine's Runner, and with it data, networks and metrics.

    Raises:
        WeightsError: If a file of weights is missing or does not fit.
        ConfigError: If a package that the config asks for is missing, ``log_level`` is
            no level, or the seed is no integer.
    """
    check_settings(cfg)
    try:
        return SR4IRRunner.from_cfg(cfg)
    except ImportError as error:
        raise ConfigError(str(error)) from error


def end_dist(model: nn.Module) -> None:
    """Leave the other processes in order; the model cannot be trained afterwards.

    Otherwise gloo's threads would still run while Python exits, which sometimes aborts
    a process that has done all its work, and with it the job. The threads end when
    nothing holds their group any more, and the wrapper of each network holds the group.
    """
    if not torch.distributed.is_initialized():
        return
    # torch 2.6 sometimes waits forever if a group is destroyed while one of its threads
    # still frees a tensor. The barrier gives the threads the time to finish.
    torch.distributed.barrier()
    for wrapper in filter(is_model_wrapper, model.modules()):
        leave_group(wrapper)
    torch.distributed.destroy_process_group()


def set_amp(cfg: Config, dtype: str | None) -> None:
    """Switch every optimizer to mixed precision, with dynamic loss scaling.

    Args:
        cfg: The whole config.
        dtype: ``'float16'``, the default on a GPU, or ``'bfloat16'``.

    Raises:
        ConfigError: If ``dtype`` is None on a CPU.
    """
    if dtype is None and get_device() == 'cpu':
        raise ConfigError(
            '--amp on a CPU needs --amp-dtype: bfloat16, or float16, '
            'which is many times slower there'
        )
    dtype = dtype or 'float16'
    wrappers = [
        wrapper for name, wrapper in cfg.optim_wrapper.items() if name in ('sr', 'task')
    ]
    for wrapper in wrappers or [cfg.optim_wrapper]:
        wrapper.type = 'mmsr4ir.AmpOptimWrapper'
        wrapper.dtype = dtype
        wrapper.setdefault('loss_scale', 'dynamic')


def check_settings(cfg: Config) -> None:
    """Check ``log_level`` and the seed, which MMEngine does not name in its errors.

    Raises:
        ConfigError: If ``log_level`` is no level, or the seed no integer.
    """
    level, seed = cfg.get('log_level', 'INFO'), cfg.get('randomness', {}).get('seed')
    if isinstance(level, str) and not isinstance(logging.getLevelName(level), int):
        raise ConfigError(
            f"log_level {level!r}: use 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"
        )
    if seed is not None and not isinstance(seed, int):
        raise ConfigError(f'randomness.seed {seed!r}: use an integer, or None')


def is_first_process() -> bool:
    """Return whether this process is the first, before the processes are joined."""
    ranks = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return not int(next((os.environ[one] for one in ranks if one in os.environ), 0))


def check_before_run(cfg: Config, splits: Sequence[str]) -> None:
    """Check the data once, in the first process; log what is doubtful.

    Raises:
        ConfigError: If a package is missing that the data or networks need, or the
            task network takes no images with labels.
        DataError: If a data set cannot be used.
    """
    if not is_first_process():
        return
    check_zoo(cfg)
    # The checks see the pipelines that the Runner will have.
    for report in reports(
        move_resize(copy.deepcopy(cfg)), splits, Scanner(whole=False)
    ):
        stop_on_errors(report.problems)
        warnings = report.found('warning')
        if warnings:
            print_log(in_one_line(warnings), 'current', logging.WARNING)
