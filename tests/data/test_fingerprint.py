"""The content of a data set stands in for its path."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import trees

from bench.data.catalogue import parse_dataset
from bench.data.dataset import Dataset
from bench.data.fingerprint import fingerprint
from bench.errors import BenchError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return trees.nnunet(tmp_path / "data", 3, shape=(16, 14, 4))


def content(root: Path, memory: Path) -> str:
    dataset: Dataset = parse_dataset(str(root))
    return fingerprint(dataset, dataset.cases(), memory)


def test_a_moved_data_set_is_the_same(root: Path, tmp_path: Path) -> None:
    before = content(root, tmp_path / "memory.json")
    moved = tmp_path / "elsewhere" / "data"
    moved.parent.mkdir()
    shutil.move(root, moved)
    assert content(moved, tmp_path / "memory.json") == before


@pytest.mark.parametrize("part", ["imagesTr/case_001_0000.nii.gz", "labelsTr/case_001.nii.gz"])
def test_a_changed_file_is_noticed_even_at_the_same_size(
    part: str, root: Path, tmp_path: Path
) -> None:
    memory = tmp_path / "memory.json"
    before = content(root, memory)
    path = root / part
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    assert content(root, memory) != before
    data[-5] ^= 1
    path.write_bytes(data)
    assert content(root, memory) == before


def test_changed_flags_and_cases_are_noticed(root: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory.json"
    found = {content(root, memory)}
    table = root / "annotations.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines[:-1], lines[-1][:-1] + "0"]))
    found.add(content(root, memory))
    table.write_text("\n".join(lines[:-1]))
    for path in root.rglob("case_002*"):
        path.unlink()
    found.add(content(root, memory))
    assert len(found) == 3


def test_files_are_read_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = tmp_path / "memory.json"
    before = content(root, memory)
    assert len(json.loads(memory.read_text())["files"]) == 6

    def refuse(*_: object) -> None:
        raise AssertionError("an unchanged file is read again")

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    assert content(root, memory) == before
    os.utime(root / "labelsTr/case_000.nii.gz", ns=(0, 0))
    with pytest.raises(AssertionError, match="read again"):
        content(root, memory)


def test_generated_data_are_their_parameters(tmp_path: Path) -> None:
    dataset = parse_dataset("phantom[n_cases=3,scale=0.25]")
    assert fingerprint(dataset, dataset.cases(), tmp_path / "m") == fingerprint(
        dataset, dataset.cases(), tmp_path / "m"
    )
    assert not (tmp_path / "m").exists()


def test_a_file_that_vanished_is_named(root: Path, tmp_path: Path) -> None:
    dataset = parse_dataset(str(root))
    cases = dataset.cases()
    (root / "labelsTr/case_001.nii.gz").unlink()
    with pytest.raises(BenchError, match=r"case_001.nii.gz: file not found"):
        fingerprint(dataset, cases, tmp_path / "memory.json")
