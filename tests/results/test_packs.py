"""Packs hold what was packed, and refuse what was changed, leads elsewhere or has no end."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tables import curves_table, result_table

from bench.errors import BenchError
from bench.results import packs
from bench.results.files import Tables
from bench.results.sources import tables_of
from bench.results.tables import CURVES, RESULTS


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Return a pack of results with curves beside them."""
    RESULTS.save(result_table(methods=["naive"]), tmp_path / "a.parquet")
    CURVES.save(curves_table(), tmp_path / "a.curves.parquet")
    return packed(tmp_path / "p.zip", tmp_path / "a.parquet", tmp_path / "a.curves.parquet")


def packed(out: Path, *tables: Path) -> Path:
    named = {path.name: path for path in tables}
    packs.write(out, named, {packs.RECEIPTS: {}, packs.SCORES: {}}, {"bench": "1"})
    return out


def rewritten(pack: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """Return a copy of a pack with other members, as a zip program would write it."""
    with zipfile.ZipFile(pack) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    copy = pack.with_name("copy.zip")
    with zipfile.ZipFile(copy, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return copy


def refusal(path: Path) -> str:
    with pytest.raises(BenchError) as caught:
        Tables.read(tables_of(path)).results  # noqa: B018 - it is read when it is asked for
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_pack_holds_its_tables_and_gives_equal_bytes(pack: Path, tmp_path: Path) -> None:
    tables = Tables.read(tables_of(pack))
    pd.testing.assert_frame_equal(tables.results, result_table(methods=["naive"]))
    assert len(tables.curves) == len(curves_table())
    again = packed(tmp_path / "q.zip", tmp_path / "a.curves.parquet", tmp_path / "a.parquet")
    assert again.read_bytes() == pack.read_bytes()
    unchanged = rewritten(pack, lambda members: None)
    assert len(Tables.read(tables_of(unchanged)).results) == len(tables.results)


def test_a_changed_member_is_refused(pack: Path) -> None:
    def change(members: dict[str, bytes]) -> None:
        members["a.parquet"] = members["a.parquet"][:-1] + b"\0"

    assert "a.parquet does not match its checksum" in refusal(rewritten(pack, change))


@pytest.mark.parametrize(
    "name", ["../a.parquet", "/a.parquet", "b/a.parquet", "x.py", "C:a.parquet"]
)
def test_names_that_lead_elsewhere_are_refused(name: str, pack: Path) -> None:
    said = refusal(rewritten(pack, lambda members: members.update({name: b""})))
    assert "is none of a pack of results" in said


def test_a_missing_or_further_member_is_refused(pack: Path) -> None:
    for change in (
        lambda members: members.pop("a.parquet"),
        lambda members: members.update({"b.parquet": b""}),
    ):
        assert "does not list what is inside" in refusal(rewritten(pack, change))


def test_more_than_there_is_memory_is_refused_from_the_header(
    pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = rewritten(pack, lambda members: members.update({"b.parquet": bytes(10**7)}))
    assert bomb.stat().st_size < 10**6
    monkeypatch.setattr("bench.machine.memory.available", lambda: 10**6)
    monkeypatch.setattr(packs.Pack, "_read", lambda *_: pytest.fail("it was unfolded"))
    assert "more than the memory that is free" in refusal(bomb)


def test_other_archives_and_other_formats_are_refused(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("no zip")
    assert "is no zip archive" in refusal(tmp_path / "text.zip")
    assert "has no pack.json" in refusal(rewritten(pack, lambda members: members.pop("pack.json")))

    def later(members: dict[str, bytes]) -> None:
        manifest = json.loads(members["pack.json"]) | {"format": "bench.pack/9"}
        members["pack.json"] = json.dumps(manifest).encode()

    assert "has the format bench.pack/9" in refusal(rewritten(pack, later))


def test_bytes_before_or_after_the_archive_are_refused(pack: Path, tmp_path: Path) -> None:
    content, changed = pack.read_bytes(), tmp_path / "changed.zip"
    for other in (content + b"\n", content + bytes(100), b"x" + content):
        changed.write_bytes(other)
        assert "holds bytes before or after the archive" in refusal(changed)
