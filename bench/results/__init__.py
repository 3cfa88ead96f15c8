"""The tables of a set of runs: columns, checks, means, files."""
