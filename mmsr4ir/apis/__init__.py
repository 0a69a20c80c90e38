"""What a Python user calls: restore and recognise images with trained networks."""

from .inferencer import SR4IRInferencer

__all__ = ['SR4IRInferencer']
