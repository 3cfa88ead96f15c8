from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.results.repeats import BLOCK, shared


def _read(path: Path, **texts: list[str] | list[str | None]) -> pa.Table:
    columns = {name: pa.array(values, pa.string()) for name, values in texts.items()}
    pq.write_table(pa.table(columns), path, row_group_size=700)
    return pq.read_table(path, read_dictionary=list(texts))


@pytest.mark.parametrize(
    "texts",
    [
        ["same"] * 5000,
        ["a"] * 3000 + ["", "ü"] * 3 + ["a"] * (2 * BLOCK),
        [f"case {row}" for row in range(2000)],
        ["a", "b"] * 1000,
        ["only"],
        [],
    ],
)
def test_texts_read_as_they_were(tmp_path: Path, texts: list[str]) -> None:
    column = shared(_read(tmp_path / "t.parquet", text=texts))["text"]
    assert column.type == pa.large_string()
    assert column.to_pylist() == texts
    frame = pa.table({"text": column}).to_pandas()
    assert frame["text"].dtype == "str"
    assert list(frame["text"]) == texts


def test_texts_that_repeat_are_held_once(tmp_path: Path) -> None:
    texts = ["a long text of a column"] * 30_000 + ["another"] * 30_000
    found = shared(_read(tmp_path / "t.parquet", text=texts))
    buffers = {
        buffer.address: buffer.size
        for chunk in found["text"].chunks
        for buffer in chunk.buffers()
        if buffer is not None
    }
    assert sum(buffers.values()) < 100_000  # a plain column takes 1.4 MB


def test_many_short_runs_take_no_more_than_plain_ones(tmp_path: Path) -> None:
    texts = [f"text {row // 100}" for row in range(60_000)]
    found = shared(_read(tmp_path / "t.parquet", text=texts))["text"]
    assert len(found.chunks) > 1  # shared all the same
    buffers = {b.address: b.size for c in found.chunks for b in c.buffers() if b is not None}
    assert sum(buffers.values()) < 1.2 * (8 * len(texts) + sum(map(len, texts)))


def test_what_holds_no_texts_stays(tmp_path: Path) -> None:
    missing = _read(tmp_path / "t.parquet", text=["a", None])
    assert shared(missing)["text"].type == missing["text"].type
    numbers = pa.table({"n": pa.array([1, 1, 2]).dictionary_encode(), "i": [1, 2, 3]})
    assert shared(numbers).schema == numbers.schema
