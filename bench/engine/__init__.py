"""Runs stages and keeps their results; knows nothing of images or networks."""
