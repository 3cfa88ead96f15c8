"""Look after a store: compare outputs with their receipts, compute them again, free space."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

from filelock import Timeout

from bench.engine.reading import UnreadableStageError
from bench.engine.store import Store
from bench.engine.worker import run_stage
from bench.errors import BenchError
from bench.files import unfinished_files, with_folders
from bench.stage import Named, Stage

Waste = Literal[
    "temporary", "damaged", "superseded", "failed", "intermediate", "unreadable", "orphaned"
]
WASTE: dict[Waste, str] = {
    "temporary": "what killed processes left of files they were writing",
    "damaged": "outputs that were moved away because they did not match their checksums",
    "superseded": "stages of another version of the code",
    "failed": "stages that failed: their logs and unfinished states",
    "intermediate": "large files of results that a later round went on from",
    "unreadable": "stages whose stage.json, or that of an input, is missing or wrong",
    "orphaned": "stages whose input is missing",
}
"""Kinds of what can be freed, and what they are."""
OLD_SECONDS = 3600.0
"""Age from which a temporary file is one that nobody writes any more."""
_AGAIN = ".recompute."


class Finding(NamedTuple):
    """A stage whose output is not as its receipt says."""

    stage: Named
    damage: str


class Free(NamedTuple):
    """Something that can be freed."""

    kind: Waste
    path: Path
    size: int
    """Bytes."""
    stage: Named | None
    """The stage it belongs to, whose lease is taken before it is removed."""


def verify(
    store: Store,
    stages: Iterable[Named],
    *,
    full: bool,
    cores: int,
    as_input: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> Iterator[Finding]:
    """Yield the damaged ones of some stages.

    Parameters
    ----------
    full
        Compare the checksums of all files; else all sizes, and the checksums of small files.
    cores
        Stages compared side by side: hashing releases the interpreter lock.
    as_input
        Files that `bench gc` freed are missed, too.
    progress
        Called after each stage.
    """
    listed = list(stages)

    def damage(stage: Named) -> str | None:
        return store.damage(stage, thorough=full, as_input=as_input)

    with ThreadPoolExecutor(cores) as pool:
        for stage, found in zip(listed, pool.map(damage, listed), strict=True):
            progress()
            if found is not None:
                yield Finding(stage, found)


def recompute(store: Store, stage: Stage) -> list[str]:
    """Compute a finished stage again and return the files that come out differently.

    The log of events is left out, it holds times.

    Raises
    ------
    BenchError
        The stage is not done, an input is missing, or it cannot be computed.
    """
    for needed in (stage, *stage.inputs()):
        is_input = needed is not stage
        if (damage := store.damage(needed, thorough=True, as_input=is_input)) is not None:
            raise BenchError(
                f"{needed.key}: {damage}; `bench verify --repair {needed.key}` first mends it"
            )
        if not store.is_done(needed):
            raise BenchError(f"{needed.key}: is not done; run the experiment first")
    with tempfile.TemporaryDirectory(prefix=_AGAIN, dir=store.root) as folder:
        again = Store(Path(folder))
        again.register([*stage.inputs(), stage])
        for parent in stage.inputs():
            again.out(parent).symlink_to(store.out(parent), target_is_directory=True)
        outcome, message = run_stage(again, stage)
        if outcome != "done":
            raise BenchError(f"{stage.key}: {outcome} when computed again: {message}")
        before, after = (one.receipt(stage)["sha256"] for one in (store, again))
    names = sorted({*before, *after} - {"events.jsonl"})
    return [name for name in names if before.get(name) != after.get(name)]


def waste(store: Store) -> Iterator[Free]:
    """Yield what can be freed, all kinds."""
    seen: dict[str, Stage] = {}
    for folder in store.folders():
        try:
            stage = store.rebuilt(folder, seen)
        except UnreadableStageError as error:
            if (kind := error.unread.cause.kind) != "plug-in":
                yield Free(kind, folder, _size(folder), error.unread)
            continue
        yield from _temporary([folder, *with_folders(folder / "scratch")], stage)
        if store.state(stage) == "failed":
            yield Free("failed", folder, _size(folder), stage)
    yield from _temporary(with_folders(store.root), None)
    yield from _intermediate(store, seen.values())
    if (aside := store.root / "damaged").is_dir():
        yield from (Free("damaged", path, _size(path), None) for path in sorted(aside.iterdir()))


def free(store: Store, found: Iterable[Free]) -> int:
    """Remove what was found and return the bytes; what a process is using is left."""
    freed = 0
    for item in found:
        if item.stage is None:
            _remove(item.path)
            freed += item.size
            continue
        try:
            with store.lease(item.stage).acquire(blocking=False):
                if item.kind == "intermediate":
                    store.note_freed(item.stage, item.path)
                elif item.kind == "failed" and store.is_done(item.stage):
                    continue
                _remove(item.path)
                freed += item.size
        except Timeout:
            continue
    return freed


def _temporary(folders: Sequence[Path], stage: Stage | None) -> Iterator[Free]:
    """Yield what killed processes left: files, outputs of a stage, and stages computed again."""
    for folder in folders:
        if folder.name.startswith(("out.", _AGAIN)):
            continue  # found whole in the folder above
        outputs = folder.glob("out.*") if folder.name == "scratch" else folder.glob(f"{_AGAIN}*")
        for path in (*unfinished_files(folder, OLD_SECONDS), *outputs):
            with contextlib.suppress(FileNotFoundError):  # another process is done with it
                if time.time() - _written(path) > OLD_SECONDS:
                    yield Free("temporary", path, _size(path), stage)


def _intermediate(store: Store, stages: Iterable[Stage]) -> Iterator[Free]:
    """Yield large files that a finished stage of the same kind read, and no unfinished one."""
    consumers: dict[str, list[Stage]] = defaultdict(list)
    for stage in (listed := list(stages)):
        for parent in stage.inputs():
            consumers[parent.key].append(stage)
    for stage in listed:
        readers = consumers[stage.key]
        if (
            stage.large_files is not None
            and any(type(reader) is type(stage) for reader in readers)
            and all(map(store.is_done, (stage, *readers)))
        ):
            for path in sorted(store.out(stage).glob(stage.large_files)):
                yield Free("intermediate", path, path.stat().st_size, stage)


def _size(path: Path) -> int:
    return sum(found.st_size for found in _files(path))


def _written(path: Path) -> float:
    """Return when a file, or the latest one in a folder, was written."""
    return max(found.st_mtime for found in (*_files(path), path.lstat()))


def _files(path: Path) -> Iterator[os.stat_result]:
    """Yield the state of a file, or of those in a folder; what goes meanwhile is left out."""
    if not path.is_dir() or path.is_symlink():
        yield path.lstat()
        return
    for below in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISDIR((found := below.lstat()).st_mode):
                yield found


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
