"""Train and test: runner, loops, hooks, optimizers, schedules and the log."""

from .amp import AmpOptimWrapper
from .exact_loops import ExactEpochLoop, ExactIterLoop
from .hooks import (
    ActivationCheckpointHook,
    AlternateTrainingHook,
    CheckpointMatchHook,
    CompileHook,
    NonFiniteLossHook,
    NothingFoundHook,
    PictureGridHook,
    ProgressBarHook,
    RunRecordHook,
    SparseRoIAlignHook,
)
from .log_processor import PhaseLogProcessor
from .lr_test_loop import LRTestLoop
from .optim_wrapper_constructor import PerNetworkOptimWrapperConstructor
from .published_schedule import RampCosineRestartLR
from .runner import SR4IRRunner, move_resize

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
