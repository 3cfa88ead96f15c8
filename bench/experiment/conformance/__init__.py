"""Conformance: what every method must guarantee, found out by small experiments on it.

A method that learns nothing from unlabelled scans, sees hidden labels, or changes when it is
resumed makes a benchmark worthless, and none of it shows in a leaderboard.
"""
