"""Hooks of a training: stages, checks, pictures, records, faster forward passes."""

from .alternate_training_hook import AlternateTrainingHook
from .checkpoint_match_hook import CheckpointMatchHook
from .forward_hooks import ActivationCheckpointHook, CompileHook, SparseRoIAlignHook
from .non_finite_loss_hook import NonFiniteLossHook
from .nothing_found_hook import NothingFoundHook
from .picture_grid_hook import PictureGridHook
from .progress_bar_hook import ProgressBarHook
from .run_record_hook import RunRecordHook

__all__ = [
    'ActivationCheckpointHook',
    'AlternateTrainingHook',
    'CheckpointMatchHook',
    'CompileHook',
    'NonFiniteLossHook',
    'NothingFoundHook',
    'PictureGridHook',
    'ProgressBarHook',
    'RunRecordHook',
    'SparseRoIAlignHook',
]
