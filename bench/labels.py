"""Values of label maps that stand for no organ."""

VOID = 254
"""Nobody says what this voxel is: neither learned from nor measured. It is not an organ that is not
annotated, which is a flag of the case."""

MAX_ORGANS = VOID - 1
"""Organs have the values 1 to K; 255 marks relabelled background in pseudo-labels."""
