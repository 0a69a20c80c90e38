"""Predict on degraded HR images or on genuine LR images, tile by tile if need be."""
