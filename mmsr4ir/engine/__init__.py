"""Hooks, loops, the log processor and what is around the optimizers."""
from .alternate_training_hook import AlternateTrainingHook
from .amp import AmpOptimWrapper
from .checkpoint_match_hook import CheckpointMatchHook
from .exact_loops import ExactEpochLoop, ExactIterLoop
from .forward_hooks import (
    ActivationCheckpointHook,
    CompileHook,
    SparseRoIAlignHook,
)
from .log_processor import PhaseLogProcessor
from .lr_test_loop import LRTestLoop
from .non_finite_loss_hook import NonFiniteLossHook
from .nothing_found_hook import NothingFoundHook
from .optim_wrapper_constructor import PerNetworkOptimWrapperConstructor
from .picture_grid_hook import PictureGridHook
from .progress_bar_hook import ProgressBarHook
from .published_schedule import RampCosineRestartLR
from .run_record_hook import RunRecordHook
from .runner import SR4IRRunner, move_resize

__all__ = [
    'ActivationCheckpointHook', 'AlternateTrainingHook', 'AmpOptimWrapper',
    'CheckpointMatchHook', 'CompileHook', 'ExactEpochLoop', 'ExactIterLoop',
    'LRTestLoop', 'NonFiniteLossHook', 'NothingFoundHook',
    'PerNetworkOptimWrapperConstructor', 'PhaseLogProcessor', 'PictureGridHook',
    'ProgressBarHook', 'RampCosineRestartLR', 'RunRecordHook', 'SR4IRRunner',
    'SparseRoIAlignHook', 'move_resize'
]
