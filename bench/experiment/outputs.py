"""What `bench predict` writes into a folder, and what it may replace there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.files import file_size, replacing, sha256, write_atomically
from bench.reporting.text import counted

RECORD = "organs-{key}.json"
"""Names the values of the label maps of one model, and lists the files that it wrote."""


MAX_RECORD = 2**26
"""Bytes."""


class Outputs:
    """The files of one model in a folder.

    A file is its own if the record of a model lists it and nobody has changed it since.
    """

    def __init__(self, folder: Path, key: str, organs: Sequence[str]) -> None:
        self._folder = folder
        self._record = folder / RECORD.format(key=key)
        self._about = {
            "model": key,
            "values": {"background": 0} | {name: k for k, name in enumerate(organs, start=1)},
        }

    def check(self, targets: Iterable[Path], inputs: Iterable[Path], *, overwrite: bool) -> None:
        """Refuse to replace what may not be replaced, before anything is computed.

        Parameters
        ----------
        targets
            The files that would be written.
        inputs
            The scans: files, or folders of series.
        overwrite
            Allow to replace files that an earlier call wrote.

        Raises
        ------
        BenchError
            Two scans would be written to one file; a target is a scan, lies in the folder of a
            series, or exists and is not an unchanged file of an earlier call, or is one without
            ``overwrite``.
        """
        scans = {path.resolve() for path in inputs}
        another = "name another folder with --out"
        if self._folder.resolve() in scans:
            raise BenchError(f"{self._folder}: is the folder of a series to segment; {another}")
        known = self._known()
        seen: set[str] = set()
        own: list[Path] = []
        for target in targets:
            if target.name.casefold() in seen:
                raise BenchError(f"{target}: two scans would be written to it; rename one")
            seen.add(target.name.casefold())
            if target.resolve() in scans:
                raise BenchError(f"{target}: is a scan to segment and would be replaced; {another}")
            if not target.exists() and not target.is_symlink():
                continue
            if target.is_symlink() or not target.is_file() or target.name not in known:
                raise BenchError(
                    f"{target}: exists and would be replaced, but no earlier call wrote it;"
                    f" {another}"
                )
            if sha256(target) not in known[target.name]:
                raise BenchError(
                    f"{target}: was changed since an earlier call wrote it, and would be replaced;"
                    f" {another}"
                )
            own.append(target)
        if own and not overwrite:
            more = f" (and {counted(len(own) - 1, 'more file')})" if len(own) > 1 else ""
            raise BenchError(
                f"{own[0]}{more}: written by an earlier call; --overwrite replaces it, or {another}"
            )

    def start(self) -> None:
        """Create the folder, and the record if it is not there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._write(self._record, self._about | {"files": self._read(self._record)["files"]})

    @contextmanager
    def writing(self, target: Path) -> Iterator[Path]:
        """Yield a file that replaces ``target`` at the end, and note that it is its own."""
        with replacing(target) as unfinished:
            yield unfinished
            # Before the file gets its name: a kill in between leaves no file that nobody owns.
            self._note(target.name, sha256(unfinished))

    def _note(self, name: str, digest: str) -> None:
        for path in self._records():
            record = self._read(path)
            if path == self._record:
                record["files"][name] = digest
            elif record["files"].pop(name, None) is None:
                continue
            self._write(path, record)

    def _known(self) -> dict[str, set[str]]:
        known: dict[str, set[str]] = {}
        for path in self._records():
            for name, digest in self._read(path)["files"].items():
                known.setdefault(name, set()).add(digest)
        return known

    def _records(self) -> list[Path]:
        return sorted(self._folder.glob(RECORD.format(key="*")))

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        """Return a record; one without files for what is none."""
        try:
            if file_size(path) > MAX_RECORD:
                return {"files": {}}
            record = json.loads(path.read_text(encoding="utf-8"))
            files = {str(name): str(digest) for name, digest in record["files"].items()}
        except (BenchError, OSError, ValueError, TypeError, KeyError, AttributeError):
            return {"files": {}}
        return {**record, "files": files}

    @staticmethod
    def _write(path: Path, record: dict[str, Any]) -> None:
        write_atomically(path, json.dumps(record, indent=1))
