"""Carry networks elsewhere: exported graphs, and checkpoints of other packages."""
