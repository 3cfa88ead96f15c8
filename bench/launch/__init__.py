"""Launchers: how the stages of a plan are brought to run."""
