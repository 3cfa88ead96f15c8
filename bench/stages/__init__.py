"""The content-addressed stages of an experiment."""
