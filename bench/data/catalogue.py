"""Data sets by name or folder, with options in brackets."""

from __future__ import annotations

import os
from pathlib import Path

from bench.data.dataset import Dataset
from bench.errors import BenchError, unknown_name
from bench.params import (
    format_brackets,
    parse_brackets,
    quoted,
    split_alias,
    split_outside_brackets,
)
from bench.plugins import registry


def default_data() -> Path | None:
    """Return the folder of data sets that the environment names, if any."""
    return Path(os.environ["BENCH_DATA"]) if os.environ.get("BENCH_DATA") else None


def parse_dataset(text: str, data_root: Path | None = None) -> Dataset:
    """Return one data set. A folder is read in the nnU-Net or Decathlon layout.

    A registered data set is looked for below ``data_root``, else ``$BENCH_DATA``, else ``data/``.
    Text that as it stands is the path of an existing folder is that folder, unless a data set is
    registered under it.
    """
    name, overrides = _split(text)
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


def split_datasets(text: str, folder: Path = Path()) -> list[str]:
    """Return the data sets in a list with commas; a folder whose name holds some is one.

    Relative paths are taken from ``folder``.
    """
    return [text.strip()] if _is_folder(text, folder) else split_outside_brackets(text)


def anchored(text: str, folder: Path) -> str:
    """Return a data set with every relative path in its notation taken from ``folder``."""
    name, options = _split(text, folder)
    if name in registry.names("datasets"):
        plugin = registry.load("datasets", name, Dataset)  # type: ignore[type-abstract]
        for option in plugin.nested:
            if option in options:
                sources = split_outside_brackets(options[option], ":")
                options[option] = ":".join(_anchored_source(source, folder) for source in sources)
    elif os.sep in name or os.path.isdir(folder / name):
        name = str(folder / name)
    return format_brackets(quoted(name), options)


def _anchored_source(text: str, folder: Path) -> str:
    alias, source = split_alias(text)
    return (f"{alias}=" if alias else "") + anchored(source, folder)


def _split(text: str, folder: Path = Path()) -> tuple[str, dict[str, str]]:
    return (text.strip(), {}) if _is_folder(text, folder) else parse_brackets(text)


def _is_folder(text: str, folder: Path) -> bool:
    name = text.strip()
    known = not name or name in registry.names("datasets")
    return not known and os.path.isdir(folder / name)  # no error for a long text


def _locate(plugin: type[Dataset], data_root: Path | None) -> Path:
    root = data_root or default_data() or Path("data")
    for folder in plugin.folders:
        if (root / folder).is_dir():
            return root / folder
    return root
