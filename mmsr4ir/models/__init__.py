"""The model, its losses, and the parts between HR image and task network."""

from .degradations.degradation import BicubicDownsample, Degradation
from .degradations.paired_lr import PairedLR
from .degradations.steps import (
    GaussianNoise,
    JPEGCompression,
    OneOf,
    PoissonNoise,
    RandomBlur,
    RandomResize,
)
from .distributed import SeparateDistributedDataParallel
from .losses import PixelLoss, TDPLoss
from .patch_mix import CrossQualityPatchMix, patch_mix
from .spandrel_network import Spandrel
from .sr4ir import SR4IR
from .torchvision_detector import TorchvisionDetector
from .torchvision_networks import TorchvisionClassifier, TorchvisionSegmentor
from .upsamplers import InterpolateUpsampler

__all__ = [
    'BicubicDownsample',
    'CrossQualityPatchMix',
    'Degradation',
    'GaussianNoise',
    'InterpolateUpsampler',
    'JPEGCompression',
    'OneOf',
    'PairedLR',
    'PixelLoss',
    'PoissonNoise',
    'RandomBlur',
    'RandomResize',
    'SR4IR',
    'SeparateDistributedDataParallel',
    'Spandrel',
    'TDPLoss',
    'TorchvisionClassifier',
    'TorchvisionDetector',
    'TorchvisionSegmentor',
    'patch_mix',
]
