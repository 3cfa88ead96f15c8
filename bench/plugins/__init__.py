"""Plug-ins by name: methods, data sets, reports and more, of the package or of the user."""
