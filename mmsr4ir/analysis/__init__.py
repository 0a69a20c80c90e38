"""Measure and look: speed, complexity, logs, curves, results, batches."""
