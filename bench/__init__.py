"""Benchmark of training methods for organ segmentation from partially labelled CT."""

__version__ = "0.1.0"
