"""Hooks of a training: stages, checks, pictures, records, faster forward passes."""
