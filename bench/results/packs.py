"""Packs: the results of a store in one file, to be passed on.

A pack is a zip archive of results tables, of the receipts and scores behind them, and of a manifest
with the size and the SHA-256 of each. A file in a pack is named like one in a folder,
``NAME.zip/NAME.parquet``, and is read in memory: nothing of a pack is ever written to the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from bench.errors import BenchError, neutral
from bench.files import replacing, sha256
from bench.machine import memory

SUFFIX = ".zip"
FORMAT = "bench.pack/1"
MANIFEST = "pack.json"
RECEIPTS = "receipts.json"
SCORES = "scores.json"
TABLE = ".parquet"
MAX_FILES = 10_000
"""Members of a pack."""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip archive can hold
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_END = 22  # bytes of the record that ends a zip archive without a comment
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


class Pack:
    """An open pack, whose header and manifest have been checked.

    Attributes
    ----------
    versions
        Of the program that wrote it, and of what that uses.

    Raises
    ------
    BenchError
        No pack, a damaged one, a member with a name that no table has, or more content than there
        is memory: told from the header, before any of it is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except _BROKEN as error:
            raise self._refused(f"is no zip archive, perhaps cut off ({error!s:.100})") from None
        try:
            self._sizes = self._checked_header()
            self._manifest, self.versions = self._checked_manifest()
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._archive.close()

    @property
    def names(self) -> list[str]:
        """The members without the manifest, sorted."""
        return sorted(self._manifest)

    def read(self, name: str) -> bytes:
        """Return a member after comparing it with its checksum."""
        content = self._read(name)
        if hashlib.sha256(content).hexdigest() != self._manifest[name].get("sha256"):
            raise self._refused(f"{name} does not match its checksum: it was edited or damaged")
        return content

    def json(self, name: str) -> dict[str, Any]:
        """Return a member that holds a JSON object; an empty one if there is no such member."""
        return self._parsed(name, self.read(name)) if name in self._manifest else {}

    def _refused(self, why: str) -> BenchError:
        return BenchError(f"{self.path}: {why}; ask for the pack again")

    def _checked_header(self) -> dict[str, int]:
        with self.path.open("rb") as file:
            file.seek(-_END, io.SEEK_END)
            ends = file.read(4) == b"PK\5\6"
        entries = self._archive.infolist()
        if not ends or min((entry.header_offset for entry in entries), default=0):
            raise self._refused("holds bytes before or after the archive")
        if len(entries) > MAX_FILES:
            raise self._refused(f"holds {len(entries)} files, more than {MAX_FILES}")
        sizes: dict[str, int] = {}
        for entry in entries:
            name = entry.filename
            if not _is_plain(name) or name in sizes:
                raise self._refused(f"member {name!r} is none of a pack of results")
            if entry.compress_type not in _METHODS or entry.flag_bits & 1:
                raise self._refused(f"member {name} is encrypted or compressed in another way")
            sizes[name] = entry.file_size
        if (total := sum(sizes.values())) > memory.available():
            raise self._refused(f"holds {total / 1e9:.1f} GB, more than the memory that is free")
        return sizes

    def _checked_manifest(self) -> tuple[dict[str, Any], dict[str, str]]:
        if MANIFEST not in self._sizes:
            raise self._refused(f"is no pack of results, it has no {MANIFEST}")
        manifest = self._parsed(MANIFEST, self._read(MANIFEST))
        if (found := manifest.get("format")) != FORMAT:
            raise BenchError(f"{self.path}: has the format {found}, this program reads {FORMAT}")
        files, versions = manifest.get("files"), manifest.get("versions")
        if not isinstance(files, dict) or not isinstance(versions, dict):
            raise self._refused(f"{MANIFEST} is not complete")
        if files.keys() != self._sizes.keys() - {MANIFEST}:
            odd = sorted(files.keys() ^ (self._sizes.keys() - {MANIFEST}))
            raise self._refused(f"{MANIFEST} does not list what is inside ({', '.join(odd)})")
        for name, facts in files.items():
            if not isinstance(facts, dict) or facts.get("bytes") != self._sizes[name]:
                raise self._refused(f"{name} has not the size that {MANIFEST} says")
        return files, versions

    def _read(self, name: str) -> bytes:
        size = self._sizes[name]
        try:
            with self._archive.open(name) as member:
                content = member.read(size + 1)  # however much a wrong header would unfold to
        except _BROKEN as error:
            raise self._refused(f"{name} is damaged ({error!s:.100})") from None
        if len(content) != size:
            raise self._refused(f"{name} has not the size that its header says")
        return content

    def _parsed(self, name: str, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self._refused(f"{name} is no JSON object")
        return found


def write(
    path: Path, tables: Mapping[str, Path], texts: Mapping[str, Any], versions: Mapping[str, str]
) -> None:
    """Write a pack: equal content gives equal bytes, whenever and wherever it is written.

    Parameters
    ----------
    tables
        Name in the pack -> file.
    texts
        Name in the pack -> what it holds as JSON.
    versions
        Of the program, and of what it uses.
    """
    encoded = {name: _encoded(content) for name, content in texts.items()}
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in encoded.items()
    } | {
        name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for name, file in tables.items()
    }
    encoded[MANIFEST] = _encoded({"format": FORMAT, "versions": versions, "files": files})
    with (
        replacing(path) as unfinished,
        zipfile.ZipFile(unfinished, "w", strict_timestamps=True) as archive,
    ):
        for name in sorted([*encoded, *tables]):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3  # as on Linux, so that the bytes are those of every system
            if name in encoded:
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, encoded[name])
            else:
                archive.writestr(entry, tables[name].read_bytes())  # compressed already


def is_pack(path: Path) -> bool:
    """Tell by its name whether a path is that of a pack."""
    return path.suffix == SUFFIX


def tables_in(pack: Path) -> list[Path]:
    """Return the tables of a pack as paths that :func:`opened` takes."""
    with Pack(pack) as found:
        return [pack / name for name in found.names if name.endswith(TABLE)]


def is_file(path: Path) -> bool:
    """Tell whether there is such a file, in a folder or in a pack."""
    if not _is_packed(path):
        return path.is_file()
    with Pack(path.parent) as pack:
        return path.name in pack.names


def size(path: Path) -> int:
    """Return the bytes of a file; of one in a pack those of the pack."""
    return (path.parent if _is_packed(path) else path).stat().st_size


def modified_ns(path: Path) -> int:
    """Return when a file, or the pack that holds it, was written."""
    return (path.parent if _is_packed(path) else path).stat().st_mtime_ns


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Path | io.BytesIO]:
    """Yield what a library reads a file from: its path, or its content if it is in a pack."""
    if not _is_packed(path):
        yield path
        return
    with Pack(path.parent) as pack:
        content = pack.read(path.name)
    yield io.BytesIO(content)


def _is_packed(path: Path) -> bool:
    return is_pack(path.parent) and path.parent.is_file()


def _is_plain(name: str) -> bool:
    """Tell whether a name is one that :func:`write` gives: of a file, in no folder."""
    known = name.endswith(TABLE) or name in (MANIFEST, RECEIPTS, SCORES)
    return (
        known
        and not name.startswith(".")
        and not set(name) & set("/\\:")
        and (neutral(name) == name)
    )


def _encoded(content: Any) -> bytes:
    return json.dumps(content, indent=0, sort_keys=True).encode()
