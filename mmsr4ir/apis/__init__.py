"""What the command lines share, and :class:`SR4IRInferencer`."""
from .inferencer import SR4IRInferencer
from .process_memory import keep_freed_memory
from .resume import ResumeError, resume_point
from .runs import (
    ConfigOptions,
    add_run_arguments,
    build_runner,
    check_before_run,
    end_dist,
    load_config,
    merge_options,
    read_config,
    set_amp,
    start_dist,
    use_exact_loops,
)
from .tta import use_tta

__all__ = [
    'ConfigOptions', 'ResumeError', 'SR4IRInferencer', 'add_run_arguments',
    'build_runner', 'check_before_run', 'end_dist', 'keep_freed_memory', 'load_config',
    'merge_options', 'read_config', 'resume_point', 'set_amp', 'start_dist',
    'use_exact_loops', 'use_tta'
]
