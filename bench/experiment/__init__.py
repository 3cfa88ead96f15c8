"""From the options of a command to stages, and from their results to tables."""
