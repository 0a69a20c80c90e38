"""Train and test: runner, loops, hooks, optimizers, schedules and the log."""

from mmsr4ir.datasets.move_resize import move_resize

from .amp import AmpOptimWrapper
from .exact_loops import ExactEpochLoop, ExactIterLoop
from .hooks.alternate_training_hook import AlternateTrainingHook
from .hooks.checkpoint_match_hook import CheckpointMatchHook
from .hooks.forward_hooks import (
    ActivationCheckpointHook,
    CompileHook,
    SparseRoIAlignHook,
)
from .hooks.non_finite_loss_hook import NonFiniteLossHook
from .hooks.nothing_found_hook import NothingFoundHook
from .hooks.picture_grid_hook import PictureGridHook
from .hooks.progress_bar_hook import ProgressBarHook
from .hooks.run_record_hook import RunRecordHook
from .log_processor import PhaseLogProcessor
from .lr_test_loop import LRTestLoop
from .optim_wrapper_constructor import PerNetworkOptimWrapperConstructor
from .published_schedule import RampCosineRestartLR
from .runner import SR4IRRunner

__all__ = [
    'ActivationCheckpointHook',
    'AlternateTrainingHook',
    'AmpOptimWrapper',
    'CheckpointMatchHook',
    'CompileHook',
    'ExactEpochLoop',
    'ExactIterLoop',
    'LRTestLoop',
    'NonFiniteLossHook',
    'NothingFoundHook',
    'PerNetworkOptimWrapperConstructor',
    'PhaseLogProcessor',
    'PictureGridHook',
    'ProgressBarHook',
    'RampCosineRestartLR',
    'RunRecordHook',
    'SR4IRRunner',
    'SparseRoIAlignHook',
    'move_resize',
]
