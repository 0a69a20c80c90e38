"""What the command lines share, and :class:`SR4IRInferencer`."""
from .inferencer import SR4IRInferencer
from .runs import add_run_arguments, check_before_run, load_config, set_amp, start_dist

__all__ = [
    'SR4IRInferencer', 'add_run_arguments', 'check_before_run', 'load_config',
    'set_amp', 'start_dist'
]
