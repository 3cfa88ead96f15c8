"""Reports: one file each, the file name is the report's name."""
