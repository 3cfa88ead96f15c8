"""Launchers: one file each, the file name is the launcher's name."""
