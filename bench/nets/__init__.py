"""Segmentation networks and the confidence head."""
