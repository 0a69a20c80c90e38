"""What the command lines in ``tools/`` share."""
from .resume import ResumeError, resume_point
from .runs import (
    add_run_arguments,
    check_before_run,
    load_config,
    read_config,
    set_amp,
    start_dist,
    use_exact_loops,
)

__all__ = [
    'ResumeError', 'add_run_arguments', 'check_before_run', 'load_config',
    'read_config', 'resume_point', 'set_amp', 'start_dist', 'use_exact_loops'
]
