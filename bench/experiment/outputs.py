"""What `bench predict` writes into a folder, and what it may replace there."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import SoftFileLease

from bench.engine.claim import lease
from bench.errors import BenchError
from bench.files import file_size, replacing, sha256, write_atomically
from bench.reporting.text import counted

RECORD = "organs-{key}.json"
"""Names the values of the label maps of one model, and lists the files that it wrote."""


LEASE = ".organs.lease"

MAX_RECORD = 2**26
"""Bytes."""

DATA_FOLDERS = ("imagesTr", "labelsTr")
"""Folders that data sets are read from."""


class Outputs:
    """The files of one model in a folder.

    A file is its own if the record of a model lists it and nobody has changed it since.
    """

    def __init__(
        self, folder: Path, key: str, organs: Sequence[str], *, by_views: bool = False
    ) -> None:
        self._folder = folder
        self._record = folder / RECORD.format(key=f"{key}-views" if by_views else key)
        self._about = {
            "model": key,
            "views": by_views,
            "values": {"background": 0} | {name: k for k, name in enumerate(organs, start=1)},
        }

    def check(
        self,
        targets: Iterable[Path],
        outdated: Collection[Path],
        inputs: Iterable[Path],
        sources: Iterable[Path],
        *,
        overwrite: bool,
    ) -> None:
        """Refuse to replace what may not be replaced, before anything is computed.

        Parameters
        ----------
        targets
            The files that would be written.
        outdated
            The files that would be removed, see :meth:`outdated`.
        inputs
            The scans: files, or folders of series.
        sources
            The folders in which they were found.
        overwrite
            Allow to replace or remove files that an earlier call wrote.

        Raises
        ------
        BenchError
            The folder is one of scans or of a data set, where label maps would be taken for scans
            or annotations; two scans would be written to one file; a target is a scan, or exists
            and is not an unchanged file of an earlier call, or is one without ``overwrite``.
        """
        scans = {os.path.realpath(path) for path in inputs}
        another = "name another folder with --out"
        self._refuse_mixing({os.path.realpath(path) for path in sources})
        known = written_into(self._folder)
        seen: set[str] = set()
        own: list[Path] = []
        for target in targets:
            if target.name.casefold() in seen:
                raise BenchError(f"{target}: two scans would be written to it; rename one")
            seen.add(target.name.casefold())
            if os.path.realpath(target) in scans:
                raise BenchError(f"{target}: is a scan to segment and would be replaced; {another}")
            if not target.exists() and not target.is_symlink():
                continue
            if target.is_symlink() or not target.is_file() or target.name not in known:
                raise BenchError(
                    f"{target}: exists and would be replaced, but no earlier call wrote it;"
                    f" {another}"
                )
            if not self._is_unchanged(target, known[target.name]):
                raise BenchError(
                    f"{target}: was changed since an earlier call wrote it, and would be replaced;"
                    f" {another}"
                )
            own.append(target)
        for path in outdated:
            if not self._is_unchanged(path, known[path.name]):
                raise BenchError(
                    f"{path}: was changed since an earlier call wrote it, and its label map would"
                    f" be replaced; {another}"
                )
            own.append(path)
        if own and not overwrite:
            more = f" (and {counted(len(own) - 1, 'more file')})" if len(own) > 1 else ""
            raise BenchError(
                f"{own[0]}{more}: written by an earlier call; --overwrite replaces it, or {another}"
            )

    @staticmethod
    def _is_unchanged(path: Path, digests: Collection[str]) -> bool:
        return path.is_file() and not path.is_symlink() and sha256(path) in digests

    def _refuse_mixing(self, sources: Collection[str]) -> None:
        """Raise if label maps would lie among scans, and be taken for such the next time."""
        name = self._folder.name.strip(".")
        better = self._folder.with_name(f"{name}-labels") if name else "labels"
        remedy = f"name a folder of their own, such as -o {better}"
        if os.path.realpath(self._folder) in sources:
            raise BenchError(
                f"{self._folder}: holds the scans; label maps among them would be taken for scans"
                f" later; {remedy}"
            )
        inside = ["dataset.json", *DATA_FOLDERS]
        if mark := next((one for one in inside if (self._folder / one).exists()), None):
            raise BenchError(
                f"{self._folder}: holds {mark}, so it is a data set, where label maps of a model"
                f" have no place; {remedy}"
            )
        if self._folder.name in DATA_FOLDERS:
            raise BenchError(
                f"{self._folder}: by its name a folder of a data set, where label maps of a model"
                f" would be taken for scans or annotations; {remedy}"
            )

    def start(self) -> None:
        """Create the folder, and the record if it is not there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            self._write(self._record, self._about | _read(self._record))

    def done(self, scans: Mapping[str, tuple[Collection[Path], str]]) -> set[str]:
        """Return the scans of which an earlier call made all files, and nobody changed one.

        Parameters
        ----------
        scans
            Name of a scan -> its files, and its state as :meth:`finish` was told. A file that an
            earlier call had no reason to write counts as made.
        """
        record = _read(self._record)

        def made(target: Path, digests: Mapping[str, str | None]) -> bool:
            if target.name not in digests:
                return False
            digest = digests[target.name]
            kept = record["files"].get(target.name) == digest
            return digest is None or (kept and self._is_unchanged(target, {digest}))

        return {
            name
            for name, (targets, state) in scans.items()
            if all(made(target, record["scans"].get(state, {})) for target in targets)
        }

    def finish(self, targets: Collection[Path], state: str) -> None:
        """Note that nothing is left to do for a scan in this state."""
        with self._alone():
            record = _read(self._record)
            names = [target.name for target in targets]
            made = record["scans"].setdefault(state, {})
            made.update({name: record["files"].get(name) for name in names})
            self._write(self._record, record)

    def outdated(self, states: Mapping[str, str]) -> list[Path]:
        """Return what calls wrote beside label maps of these names, of other scans or models.

        Parameters
        ----------
        states
            Name of a label map -> state of its scan as :meth:`finish` is told of it.
        """
        scans = _read(self._record)["scans"]
        return [
            self._folder / name
            for path in _records(self._folder)
            for record in [_read(path)]
            for name, digest in record["files"].items()
            if (state := states.get(record["beside"].get(name, ""))) is not None
            and os.path.lexists(self._folder / name)
            and not (path == self._record and scans.get(state, {}).get(name) == digest)
        ]

    def remove(self, paths: Collection[Path]) -> None:
        """Remove files that earlier calls wrote, and forget them."""
        with self._alone():
            for path in paths:
                path.unlink(missing_ok=True)
            self._forget({path.name for path in paths}, _records(self._folder))

    @contextmanager
    def writing(self, target: Path, labels: Path) -> Iterator[Path]:
        """Yield a file that replaces ``target`` at the end, and note that it is its own.

        Parameters
        ----------
        target
            A label map, or what is made with it.
        labels
            The label map.
        """
        with replacing(target) as unfinished:
            yield unfinished
            # Before the file gets its name: a kill in between leaves no file that nobody owns.
            self._note(target.name, sha256(unfinished), labels.name)

    def _note(self, name: str, digest: str, labels: str) -> None:
        with self._alone():
            self._forget({name}, [path for path in _records(self._folder) if path != self._record])
            record = _read(self._record)
            record["files"][name] = digest
            record["beside"].pop(name, None)
            if name != labels:
                record["beside"][name] = labels
            self._write(self._record, record)

    def _forget(self, names: Collection[str], records: Iterable[Path]) -> None:
        for path in records:
            record = _read(path)
            if record["files"].keys() & names:
                for what in ("files", "beside"):
                    record[what] = {k: v for k, v in record[what].items() if k not in names}
                self._write(path, record)

    def _alone(self) -> SoftFileLease:
        """Return the lease of whoever changes records: several calls may share the folder."""
        return lease(self._folder / LEASE)

    @staticmethod
    def _write(path: Path, record: dict[str, Any]) -> None:
        write_atomically(path, json.dumps(record, indent=1))


def written_into(folder: Path) -> dict[str, set[str]]:
    """Return the names of the files that earlier calls wrote into a folder, with checksums."""
    known: dict[str, set[str]] = {}
    for path in _records(folder):
        for name, digest in _read(path)["files"].items():
            known.setdefault(name, set()).add(digest)
    return known


def _records(folder: Path) -> list[Path]:
    return sorted(folder.glob(RECORD.format(key="*")))


def _read(path: Path) -> dict[str, Any]:
    """Return a record; an empty one for what is none."""
    nothing: dict[str, Any] = {"files": {}, "beside": {}, "scans": {}}
    try:
        if file_size(path) > MAX_RECORD:
            return nothing
        record = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): str(digest) for name, digest in record["files"].items()}
        beside = {str(name): str(labels) for name, labels in record.get("beside", {}).items()}
        scans = {str(state): dict(made) for state, made in record.get("scans", {}).items()}
    except (BenchError, OSError, ValueError, TypeError, KeyError, AttributeError):
        return nothing
    return {**record, "files": files, "beside": beside, "scans": scans}
