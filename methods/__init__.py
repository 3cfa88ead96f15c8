"""Training methods: one file each, the file name is the method's name."""

from bench.plugins.registry import plugin_folders

# Methods outside the package: importable in every worker process.
__path__ += plugin_folders()
