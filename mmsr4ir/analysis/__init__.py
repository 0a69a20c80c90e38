"""Measure and look: speed, complexity, logs, results, batches, LR images on disk."""
