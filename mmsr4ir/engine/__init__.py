"""Hooks and the optimizer constructor."""
from .alternate_training_hook import AlternateTrainingHook
from .checkpoint_match_hook import CheckpointMatchHook
from .non_finite_loss_hook import NonFiniteLossHook
from .optim_wrapper_constructor import PerNetworkOptimWrapperConstructor
from .picture_grid_hook import PictureGridHook
from .run_record_hook import RunRecordHook

__all__ = [
    'AlternateTrainingHook', 'CheckpointMatchHook', 'NonFiniteLossHook',
    'PerNetworkOptimWrapperConstructor', 'PictureGridHook', 'RunRecordHook'
]
