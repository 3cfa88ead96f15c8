"""Training: batches, augmentation, objectives, losses and the one training loop."""
