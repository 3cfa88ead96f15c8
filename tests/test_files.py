"""Atomic writes: old content or new, and nothing left behind for ever."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.files import (
    check_folder,
    replacing,
    sweep,
    unfinished_files,
    write_atomically,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from bench.files import replacing
with replacing(Path(sys.argv[1])) as unfinished:
    unfinished.write_text("new, but")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_write_keeps_the_old_file_and_is_swept_when_old(tmp_path: Path) -> None:
    path = tmp_path / "stage.json"
    write_atomically(path, "old")
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert path.read_text() == "old"
    (left,) = set(tmp_path.iterdir()) - {path}
    assert unfinished_files(tmp_path, older_than=60) == []  # somebody may still be writing it
    hour_ago = time.time() - 3600
    os.utime(left, (hour_ago, hour_ago))
    assert unfinished_files(tmp_path, older_than=60) == [left]
    sweep(tmp_path, older_than=60)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_the_place_of_a_file_is_moved_where_only_this_program_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "digests.json"
    (path / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError), replacing(path) as unfinished:
        unfinished.write_text("a user's folder stays")
    write_atomically(path, "new", ours=True)
    assert path.read_text() == "new"
    (aside,) = set(tmp_path.iterdir()) - {path}
    assert (aside / "inside").is_dir()
    assert capsys.readouterr().err == f"{path} is no file; it is moved to {aside.name}\n"


def test_only_temporary_files_of_our_own_are_swept(tmp_path: Path) -> None:
    (tmp_path / f".folder.{'0' * 16}").mkdir()
    for name in (".hidden", "DONE", ".DONE.0123", f"DONE.{'a' * 16}", f".DONE.{'a' * 16}.txt"):
        (tmp_path / name).touch()
    os.symlink(tmp_path / "DONE", tmp_path / f".link.{'0' * 16}")
    before = set(tmp_path.iterdir())
    sweep(tmp_path, older_than=-1)
    assert set(tmp_path.iterdir()) == before
    for nothing in ("gone", "DONE"):
        assert unfinished_files(tmp_path / nothing, older_than=0) == []


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=f"too large: '{path}'"):  # not the temporary name
            write_atomically(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_a_file_and_its_name_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr("bench.files.sync", synced.append)
    write_atomically(tmp_path / "DONE", "text")
    unfinished, folder = synced
    assert unfinished.parent == folder == tmp_path


def test_a_folder_is_checked_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_folder(tmp_path / "new" / "folder")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(PermissionError, match="folder"):
        check_folder(tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
