"""Hooks, the test loop, the log processor and the optimizer constructor."""
from .alternate_training_hook import AlternateTrainingHook
from .checkpoint_match_hook import CheckpointMatchHook
from .exact_loops import ExactEpochLoop, ExactIterLoop
from .log_processor import PhaseLogProcessor
from .lr_test_loop import LRTestLoop
from .non_finite_loss_hook import NonFiniteLossHook
from .optim_wrapper_constructor import PerNetworkOptimWrapperConstructor
from .picture_grid_hook import PictureGridHook
from .progress_bar_hook import ProgressBarHook
from .run_record_hook import RunRecordHook

__all__ = [
    'AlternateTrainingHook', 'CheckpointMatchHook', 'ExactEpochLoop', 'ExactIterLoop',
    'LRTestLoop', 'NonFiniteLossHook', 'PerNetworkOptimWrapperConstructor',
    'PhaseLogProcessor', 'PictureGridHook', 'ProgressBarHook', 'RunRecordHook'
]
