"""A store from a stranger: its files run no code, name no file outside, and fill no memory."""

from __future__ import annotations

import ast
import base64
import io
import json
import pickle
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tables
import torch
from PIL import Image

import bench
from bench.data.archive import open_npz
from bench.data.hidden import TruthIndex
from bench.data.index import SliceIndex
from bench.data.slices import LabelSlices, LabelSliceWriter
from bench.errors import BenchError
from bench.nets.weights import load_weights
from bench.reports.paper.panels import _pixels
from bench.results.schema import MAX_ROWS
from bench.results.tables import RESULTS
from bench.training.resume import load_state, save_state

ROOT = Path(bench.__file__).parents[1]
SOURCES = [
    path for folder in ("bench", "methods", "datasets", "reports")
    for path in (ROOT / folder).rglob("*.py")
]  # fmt: skip


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def calls(tree: ast.AST) -> list[tuple[str, dict[str, ast.expr]]]:
    """Return the dotted names that a module calls, with their keyword arguments."""
    return [
        (ast.unparse(node.func), {word.arg: word.value for word in node.keywords if word.arg})
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]


def test_no_module_reads_a_format_that_can_hold_code() -> None:
    assert len(SOURCES) > 100
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {
            name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else
                         [one.name for one in node.names])
        }  # fmt: skip
        assert not imported & {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml"}, path
        for name, words in calls(tree):
            assert name not in ("eval", "exec", "os.system", "pd.read_pickle"), path
            if name == "torch.load":
                assert ast.unparse(words["weights_only"]) == "True", path
            assert ast.unparse(words.get("allow_pickle", ast.Constant(False))) == "False", path
            assert ast.unparse(words.get("shell", ast.Constant(False))) == "False", path


def test_code_in_a_resume_state_does_not_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "resume.pt"
    written = io.BytesIO()
    torch.save({"step": Payload(marker)}, written)
    save_state(path, "Train-0", written.getbuffer())  # with the right owner and digest
    saved = load_state(path, "Train-0")
    assert saved is not None
    with pytest.raises(pickle.UnpicklingError):
        torch.load(io.BytesIO(saved), weights_only=True)
    assert not marker.exists()


def test_code_in_arrays_and_weights_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    path = tmp_path / "case.npz"
    np.savez(path, labels_XYZ=np.array([Payload(marker)], dtype=object))
    with open_npz(path) as archive, pytest.raises(ValueError, match="Object arrays"):
        archive["labels_XYZ"]
    weights = tmp_path / "segmenter.safetensors"
    for content in (pickle.dumps(Payload(marker)), b"", b"\xff" * 100, b"\x02" + bytes(7) + b"{}"):
        weights.write_bytes(content)
        with pytest.raises(BenchError, match=r"segmenter\.safetensors: holds"):
            load_weights(torch.nn.Linear(1, 1), weights)
    assert not marker.exists()


def test_code_in_a_table_does_not_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "executed", tmp_path / "results.parquet"
    arrow = pa.Table.from_pandas(tables.result_table(), preserve_index=False)
    extension = pa.field("x", pa.binary(), metadata={
        "ARROW:extension:name": "arrow.py_extension_type",
        "ARROW:extension:metadata": pickle.dumps(Payload(marker)),
    })  # fmt: skip
    values = pa.array([b"x"] * arrow.num_rows)
    pq.write_table(arrow.append_column(extension, values), path)
    with pytest.raises(BenchError, match=str(path)):
        RESULTS.load(path)
    assert not marker.exists()


def test_an_archive_larger_than_memory_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "case.npz"
    np.savez_compressed(path, labels_XYZ=np.zeros(1_000_000, np.uint8))
    assert path.stat().st_size < 10_000
    open_npz(path).close()
    monkeypatch.setattr("bench.machine.memory.available", lambda: 500_000)
    with pytest.raises(BenchError, match="more than the memory that is free"):
        open_npz(path)
    path.write_bytes(b"PK")
    with pytest.raises(BenchError, match=r"is no \.npz file"):
        open_npz(path)


def test_a_slice_takes_no_more_memory_than_its_shape(tmp_path: Path) -> None:
    with LabelSliceWriter(tmp_path, (8, 8)) as writer:
        writer.append(np.ones((1, 8, 8), np.uint8))
    assert (LabelSlices(tmp_path)[0] == 1).all()
    deflated = zlib.compress(bytes(50_000_000))
    (tmp_path / "slices.bin").write_bytes(deflated)
    np.savez(tmp_path / "index.npz", shape=np.array([8, 8]), ends=np.array([len(deflated)]))
    slices = LabelSlices(tmp_path)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="reshape"):
            slices[0]
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", ["../../evil", "/etc/passwd", "..", "", "a/b", "a\x1b[2J"])
def test_a_case_names_no_file_outside_its_folder(case: str, tmp_path: Path) -> None:
    entry = {"case": {"id": case, "patient": "p", "annotated": [True]}}
    for kind in (TruthIndex, SliceIndex):
        with pytest.raises(ValueError, match="must be a file name"):
            kind.model_validate_json(json.dumps({"cases": [entry]}))


def test_a_table_of_too_many_rows_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    n_rows = MAX_ROWS + 1
    pq.write_table(pa.table({"dataset": np.zeros(n_rows, np.int8)}), path)
    assert path.stat().st_size < 100_000
    with pytest.raises(BenchError, match=f"{n_rows} rows, more than"):
        RESULTS.load(path)


def test_a_table_larger_than_memory_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.parquet"
    pq.write_table(pa.table({"dataset": ["x" * 5_000 + str(n) for n in range(1_000)]}), path)
    assert path.stat().st_size < 1_000_000
    for free, said in ((1_000_000, "bytes of values, more than"), (100, "bytes, more than")):
        monkeypatch.setattr("bench.machine.memory.available", lambda free=free: free)
        with pytest.raises(BenchError, match=f"{said} the memory that is free"):
            RESULTS.load(path)


def test_a_table_with_control_characters_is_refused() -> None:
    table = tables.result_table().assign(organ=lambda t: t["organ"] + "\x1b[2J")
    with pytest.raises(BenchError, match="must be without control characters"):
        RESULTS.check(table)


def test_a_picture_that_is_none_or_gigantic_is_refused() -> None:
    for content in (b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", base64.b64encode(b"x")):
        with pytest.raises(BenchError, match="picture in the pictures table"):
            _pixels(base64.b64encode(content).decode())
    for side in (3_000, 20_000):
        written = io.BytesIO()
        Image.new("1", (side, side)).save(written, "PNG")
        with pytest.raises(BenchError, match="picture"):
            _pixels(base64.b64encode(written.getvalue()).decode())
