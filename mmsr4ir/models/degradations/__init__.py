"""Make LR images: bicubic, in random steps, or read from files."""

from .degradation import BicubicDownsample, Degradation
from .paired_lr import PairedLR
from .steps import (
    GaussianNoise,
    JPEGCompression,
    OneOf,
    PoissonNoise,
    RandomBlur,
    RandomResize,
)

__all__ = [
    'BicubicDownsample',
    'Degradation',
    'GaussianNoise',
    'JPEGCompression',
    'OneOf',
    'PairedLR',
    'PoissonNoise',
    'RandomBlur',
    'RandomResize',
]
