"""Which columns the rows of one group, split, condition, cell or run have in common."""

GROUP = ("dataset", "profile", "backbone")
"""The columns that are constant within one table of a report."""
SPLIT = ("dataset", "profile", "label_pct", "fold", "seed")
"""Who is tested and who is labelled, whichever network learns from it."""
CONDITION = (*GROUP, "label_pct", "seed", "fold")
"""All that a method is given: the network, and the columns of ``SPLIT``."""
CELL = (*GROUP, "method", "label_pct")
RUN = (*CELL, "seed", "fold")
CURVE = (*CELL, "round", "training", "name")
