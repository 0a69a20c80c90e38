"""The methods of the paper and of later work on one data set, compared fairly."""

from .methods import METHODS, STARTS, Part, plan_parts
from .report import write_report
from .runner import run_parts

__all__ = ['METHODS', 'STARTS', 'Part', 'plan_parts', 'run_parts', 'write_report']
