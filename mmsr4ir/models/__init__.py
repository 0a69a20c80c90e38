"""The model, its losses, and the parts between HR image and task network."""
from .degradations import BicubicDownsample
from .losses import PixelLoss, TDPLoss
from .patch_mix import CrossQualityPatchMix, patch_mix
from .sr4ir import SR4IR
from .upsamplers import InterpolateUpsampler

__all__ = [
    'BicubicDownsample', 'CrossQualityPatchMix', 'InterpolateUpsampler', 'PixelLoss',
    'SR4IR', 'TDPLoss', 'patch_mix'
]
