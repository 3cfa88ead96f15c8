"""Scores and pictures of label maps: pure functions of arrays."""
