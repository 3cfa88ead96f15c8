"""The stages of an experiment: each computes one result that the store keeps."""
