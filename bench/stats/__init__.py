"""Statistics of paired comparisons: pure functions of numbers, from scipy."""
