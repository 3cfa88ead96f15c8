"""Data: data-set protocol, NIfTI reading, training grid, slice caches, label simulation."""
