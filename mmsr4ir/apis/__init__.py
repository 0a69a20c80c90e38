"""What the command lines in ``tools/`` share."""
from .runs import add_run_arguments, check_before_run, load_config, set_amp, start_dist

__all__ = [
    'add_run_arguments', 'check_before_run', 'load_config', 'set_amp', 'start_dist'
]
