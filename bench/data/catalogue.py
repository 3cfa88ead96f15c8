"""Data sets by name or folder, with options in brackets."""

from __future__ import annotations

import os
from pathlib import Path

from bench.data.dataset import Dataset
from bench.errors import BenchError, unknown_name
from bench.params import parse_brackets
from bench.plugins import registry


def default_data() -> Path | None:
    """Return the folder of data sets that the environment names, if any."""
    return Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else None


def parse_dataset(text: str, data_root: Path | None = None) -> Dataset:
    """Return one data set. A folder is read in the nnU-Net or Decathlon layout.

    A registered data set is looked for below ``data_root``, else ``$BENCH_DATA``, else ``data/``.
    """
    name, overrides = parse_brackets(text)
    if name not in registry.names("datasets") and (os.sep in name or Path(name).is_dir()):
        overrides = {"root": name} | overrides
        name = "folder"
    if name not in registry.names("datasets"):
        error = unknown_name("dataset", name, registry.names("datasets"))
        raise BenchError(f"{error}; and there is no folder {name}")
    plugin = registry.load("datasets", name, Dataset)  # type: ignore[type-abstract]
    if plugin.folders and "root" not in overrides:
        overrides["root"] = str(_locate(plugin, data_root))
    return plugin.from_overrides("data set", name, overrides, context=data_root)


def _locate(plugin: type[Dataset], data_root: Path | None) -> Path:
    root = data_root or default_data() or Path("data")
    for folder in plugin.folders:
        if (root / folder).is_dir():
            return root / folder
    return root
