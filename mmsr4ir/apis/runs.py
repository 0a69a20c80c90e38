"""From a command line to a config that a Runner can take."""
import argparse
import ctypes
import difflib
import inspect
import logging
import os
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta

import torch
import torch.distributed
from mmengine.config import Config, DictAction
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmsr4ir.config_values import type_name
from mmsr4ir.datasets.check import DataError, check_data, datasets_of
from mmsr4ir.datasets.check_pairs import check_pairs
from mmsr4ir.engine.runner import SR4IRRunner, move_resize
from mmsr4ir.models.weights import WeightsError

_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h
#: What is taken from a config without being an argument of MMEngine's Runner.
_READ_FROM_CONFIG = (
    'activation_checkpointing', 'benchmark', 'compile', 'custom_imports',
    'efficient_conv_bn_eval', 'find_unused_parameters', 'model_wrapper_cfg', 'sync_bn')


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that training and testing share, named as in mmdet."""
    parser.add_argument('config', help='config file, such as configs/sr4ir/...py')
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints '
        '(default: the config\'s work_dir, else work_dirs/<config name>)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE',
        help='override settings of the config, as in train_cfg.max_epochs=3 '
        'model.recipe.sr.losses.pixel=0.5 or key="[a,b]"')
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none',
        help='how the processes were started (tools/dist_train.sh says pytorch)')
    parser.add_argument(
        '--no-data-check', action='store_true',
        help='do not look at annotation files and images before the start')
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config and put the command line's settings into it.

    Exits with a message where there is no such file, or ``--launcher`` is missing.
    """
    if args.launcher == 'none' and int(os.environ.get('WORLD_SIZE', 1)) > 1 and (
            'TORCHELASTIC_RUN_ID' in os.environ):
        sys.exit('error: torch has started several processes, and each would train '
                 'alone: add --launcher pytorch, as tools/dist_train.sh does')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    merge_options(cfg, args.cfg_options)
    warn_of_unread(cfg)
    move_resize(cfg)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = os.path.splitext(os.path.basename(args.config))[0]
        cfg.work_dir = os.path.join('work_dirs', name)
    return cfg


class ConfigOptions(DictAction):
    """MMEngine's reader of ``--cfg-options``; no ``=`` is a wrong argument here."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: list[str], option_string: str | None = None) -> None:
        for value in values:
            if '=' not in value:
                parser.error(f'{option_string}: {value!r} is no KEY=VALUE')
        super().__call__(parser, namespace, values, option_string)


def merge_options(cfg: Config, options: Mapping | None, source: str = '--cfg-options'
                  ) -> None:
    """Put the settings of ``--cfg-options`` into a config.

    Exits with a message where nothing would ever look at one, because its first name
    is misspelt.

    Args:
        cfg: The whole config; it is changed.
        options: The settings.
        source: Where they come from, for the message.
    """
    known = {*cfg, *inspect.signature(Runner).parameters, *_READ_FROM_CONFIG}
    for key in options or ():
        name = key.partition('.')[0]
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            sys.exit(f'error: {source} {key}: nothing reads {name!r}'
                     + (f'; did you mean {close[0]!r}?' if close else ''))
    try:
        cfg.merge_from_dict(dict(options or {}))
    except (KeyError, TypeError) as error:
        sys.exit(f'error: {source}: {error.args[0]}')


def read_config(path: str) -> Config:
    """Read a config file; exits with a message where it is none on this machine.

    Nothing is fetched: a base by address is no file either.
    """
    if '://' in path:
        sys.exit(f'error: config {path} is an address. A config is Python code that '
                 'is run: fetch it, read it, and give the file')
    if not os.path.isfile(path):
        sys.exit(f'error: config {path} does not exist')
    try:
        return Config.fromfile(path)
    except (OSError, SyntaxError, ValueError) as error:
        sys.exit(f'error: config {path} cannot be read: {error}')


def _end_with_launcher() -> None:
    if 'TORCHELASTIC_RUN_ID' in os.environ and sys.platform == 'linux':
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def start_dist(cfg: Config) -> None:
    """Start distributed training; each network gets a wrapper of its own.

    A process of torchrun ends, from here on, with torchrun (on Linux): one that was
    killed ends no process itself, and they would train on unseen.

    With a GPU, MMEngine's Runner does it. Without, the Runner would ask for a CUDA
    device, so the processes are joined here, through gloo.
    """
    _end_with_launcher()
    if cfg.launcher != 'none' and type_name(cfg.model) == 'SR4IR' and not cfg.get(
            'model_wrapper_cfg'):
        cfg.model_wrapper_cfg = dict(type='mmsr4ir.SeparateDistributedDataParallel')
    if cfg.launcher == 'pytorch' and not torch.cuda.is_available():
        env = cfg.get('env_cfg') or {}
        settings = dict(env.get('dist_cfg') or {}, backend='gloo')
        cfg.env_cfg = dict(env, dist_cfg=settings)
        # The Runner would hand out CUDA devices to the wrapper otherwise.
        cfg.model_wrapper_cfg = dict(
            cfg.get('model_wrapper_cfg') or dict(type='MMDistributedDataParallel'),
            device_ids=None)
        if cfg.get('sync_bn'):
            print_log(f'sync_bn={cfg.sync_bn!r} needs a GPU and is left out',
                      level=logging.WARNING)
            cfg.sync_bn = None
        timeout = settings.get('timeout')  # seconds, as MMEngine has them
        torch.distributed.init_process_group(
            'gloo', timeout=timeout and timedelta(seconds=timeout))


def build_runner(cfg: Config) -> Runner:
    """Build MMEngine's Runner, and with it data, networks and metrics.

    Exits with a message where a file of weights or a package that the config asks for
    is missing.
    """
    try:
        return SR4IRRunner.from_cfg(cfg)
    except (WeightsError, ImportError) as error:
        sys.exit(f'error: {error}')


def end_dist(model: nn.Module) -> None:
    """Leave the other processes in order; the model cannot be trained afterwards.

    Gloo's threads would else run on while Python ends, which now and then aborts a
    process that has done all its work, and with it the job. They end with the last
    thing that holds their group, and the wrapper of each network holds it.
    """
    if not torch.distributed.is_initialized():
        return
    # torch 2.6 now and then waits for ever when a group goes while one of its threads
    # still frees a tensor. After a barrier they have had the time to.
    torch.distributed.barrier()
    for wrapper in filter(is_model_wrapper, model.modules()):
        for name in ('process_group', 'reducer', 'logger'):
            wrapper.__dict__.pop(name, None)
    torch.distributed.destroy_process_group()


def use_exact_loops(cfg: Config) -> None:
    """Put the loops that resume exactly in the place of MMEngine's two.

    A loop of another type stays, so that a config can still choose its own.
    """
    loop = cfg.train_cfg
    kinds = dict(EpochBasedTrainLoop='mmsr4ir.ExactEpochLoop',
                 IterBasedTrainLoop='mmsr4ir.ExactIterLoop')
    if 'by_epoch' in loop:  # MMEngine's short way to say it
        loop.type = ('EpochBasedTrainLoop' if loop.pop('by_epoch') else
                     'IterBasedTrainLoop')
    loop.type = kinds.get(loop.type.removeprefix('mmengine.'), loop.type)
    if cfg.get('default_hooks', {}).get('checkpoint', {}).get('max_keep_ckpts') == 1:
        sys.exit('error: with default_hooks.checkpoint.max_keep_ckpts=1 MMEngine '
                 'removes the only checkpoint before it writes the next; a run that '
                 'dies between loses everything. Set it to 2 or more')


def warn_of_unread(cfg: Config) -> None:
    """Warn of the model's settings at a config's top level, where nothing reads them.

    A variable there that the model is given is no such thing.
    """
    for name in ('degradation', 'patch_mix', 'recipe', 'tdp'):
        if name in cfg and cfg[name] != cfg.get('model', {}).get(name):
            print_log(f'the config sets {name} at its top level, where nothing reads '
                      f'it: the setting of the model is model.{name}',
                      level=logging.WARNING)


def warn_of_padding(cfg: Config, splits: tuple[str, ...]) -> None:
    """Warn of pipelines that pad: to all that comes after them that is image."""
    if type_name(cfg.model) != 'SR4IR':
        return
    for split in splits:
        loader = cfg.get(f'{split}_dataloader') or {}
        names = {type_name(transform) for dataset, _ in datasets_of(
            loader.get('dataset')) for transform in dataset.get('pipeline') or ()}
        padding = sorted(name for name in names if name.endswith('Pad'))
        if padding:
            print_log(
                f'the pipeline of {split}_dataloader has {padding}: pixels that it '
                'adds count as image in the pixel and the TDP loss and in PSNR and '
                'SSIM. Take it out and let the preprocessor pad (pad_size_divisor of '
                'model.task.data_preprocessor; in mmseg size_divisor)',
                logger='current', level=logging.WARNING)


def set_amp(cfg: Config, dtype: str | None) -> None:
    """Switch every optimizer to mixed precision, with dynamic loss scaling.

    Exits with a message on a CPU where no ``dtype`` is given.

    Args:
        cfg: The whole config.
        dtype: ``'float16'``, the default on a GPU, or ``'bfloat16'``.
    """
    if dtype is None and get_device() == 'cpu':
        sys.exit('error: --amp on a CPU needs --amp-dtype: bfloat16, or float16, which '
                 'is many times slower there')
    dtype = dtype or 'float16'
    wrappers = [
        wrapper for name, wrapper in cfg.optim_wrapper.items() if name in ('sr', 'task')
    ]
    for wrapper in wrappers or [cfg.optim_wrapper]:
        wrapper.type = 'mmsr4ir.AmpOptimWrapper'
        wrapper.dtype = dtype
        wrapper.setdefault('loss_scale', 'dynamic')


def check_before_run(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check the data once, in the first process; exit with a message if it is bad."""
    if int(os.environ.get('RANK', os.environ.get('SLURM_PROCID', 0))):
        return
    num_classes = cfg.model.get('num_classes')
    if num_classes is not None:
        from mmsr4ir.models.networks import set_num_classes
        cfg = Config(dict(cfg, model=dict(
            cfg.model, task=set_num_classes(cfg.model.task, num_classes))))
    warn_of_padding(cfg, splits)
    try:
        check_data(cfg, splits)
        check_pairs(cfg, splits)
    except DataError as error:
        sys.exit(f'error: {error}')
