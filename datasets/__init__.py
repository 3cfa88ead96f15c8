"""Data sets: one file each, the file name is the data set's name."""
