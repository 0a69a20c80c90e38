"""Find what is wrong with data before a training does."""

from .problem import Problem
from .reports import check

__all__ = ['Problem', 'check']
