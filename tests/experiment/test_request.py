"""Experiments asked for by a file, by options, or by both."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import tomli_w
import trees

from bench.data.catalogue import parse_dataset
from bench.errors import BenchError
from bench.experiment.request import Request
from bench.params import quoted


def write(folder: Path, text: str) -> Path:
    file = folder / "experiment.toml"
    file.write_text(text)
    return file


def test_a_file_uses_the_names_of_the_options(tmp_path: Path) -> None:
    file = write(
        tmp_path, 'method = ["naive", "inerrant"]\ndataset = "phantom"\nlabelled = [30, 10]\n'
    )
    request = Request.of(file, {})
    assert request.method == ("naive", "inerrant")
    assert (request.dataset, request.labelled, request.folds) == (("phantom",), "30,10", "0")


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, 'method = "naive"\ndataset = "phantom"\nfolds = "all"\npictures = true')
    request = Request.of(file, {"folds": "0-1", "method": [], "seeds": None, "pictures": None})
    assert (request.folds, request.method, request.pictures) == ("0-1", ("naive",), True)
    assert not Request.of(file, {"pictures": False}).pictures


FOLDERS = (
    *("CT, abdomen", "scans [2]", "a[where=tier=A]", "x]y", "[", "a:b", "a=b", "it's", 'say "hi"'),
    *('"whole"', "Müller Ärzte", "$HOME", "back\\slash", "*", "-d", 'a,[b:"c"=é]\'"'),
)


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_named_alike_wherever_a_data_set_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    trees.nnunet(tmp_path / name, cases=2)
    monkeypatch.chdir(tmp_path)
    option = "[hu_window=-100:200]"
    for text in (name, f"./{name}", str(tmp_path / name), quoted(f"./{name}") + option):
        assert len(parse_dataset(text).cases()) == 2
        asked = Request.of(None, {"method": ["naive"], "dataset": [text], "store": tmp_path / "s"})
        written = write(tmp_path, tomli_w.dumps({"method": "naive", "dataset": text}))
        recorded = tmp_path / f"s/experiments/{asked.record()}.toml"
        monkeypatch.chdir("/")
        for request in (Request.of(written, {}), Request.of(recorded, {})):
            (dataset,) = request.grid().datasets
            assert len(dataset.cases()) == 2
            assert (dataset.hu_window == (-100, 200)) == text.endswith(option)
        monkeypatch.chdir(tmp_path)
    source = quoted(f"./{name}")
    joined = parse_dataset(f"union[sources=here={source}:there={source}[where=tier=A],test=here]")
    assert [member.dataset.root for member in joined.members] == [Path(name)] * 2


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        'method = "mine"\ndataset = "./scans[where=tier=A],phantom"\nplugin = "mine.py"\n'
        'store = "results"\ndata = "/data"\n',
    )
    request = Request.of(file, {})
    assert request.dataset == (f"{tmp_path}/scans[where=tier=A]", "phantom")
    assert request.plugin == (tmp_path / "mine.py",)
    assert (request.store, request.data) == (tmp_path / "results", Path("/data"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method = ", "is no TOML"),
        ("methods = 'naive'", "unknown option in .*'methods': did you mean method"),
        ("method = 3\ndataset = 'phantom'", "method=3: must be text in quotes, or one list"),
        ("method = [['naive'], ['full']]", r"method=\[\['naive'\], .*: must be text in quotes"),
        ("method = 'naive'", "no dataset is named"),
        ("method = 'naive'\ndataset = 3", "dataset=3"),
        ("method = 'naive'\ndataset = [3]", r"dataset=\[3\]: must be text"),
        ("plugin = 3", "plugin=3"),
    ],
)
def test_a_faulty_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=message) as raised:
        Request.of(write(tmp_path, text), {})
    assert "\n" not in str(raised.value)


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, "\ufeffmethod = 'naive'\ndataset = 'phantom'\n")
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    assert Request.of(file, {}).method == ("naive",)


def test_the_store_keeps_what_was_asked_for(tmp_path: Path) -> None:
    given = {"method": ["naive"], "dataset": ["phantom"], "store": tmp_path, "labelled": "30,10"}
    request = Request.of(None, given)
    file = tmp_path / "experiments" / f"{request.record()}.toml"
    assert Request.of(file, {"store": tmp_path}) == request
    assert "store" not in tomllib.loads(file.read_text())
    assert request.record() == file.stem


def test_what_is_kept_means_the_same_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"method": ["mine"], "dataset": ["./scans[where=tier=A]"], "store": tmp_path / "s"}
    request = Request.of(None, given | {"plugin": [Path("mine.py")], "data": Path("data")})
    again = Request.of(tmp_path / "s/experiments" / f"{request.record()}.toml", {})
    assert again.dataset == (f"{tmp_path}/scans[where=tier=A]",)
    assert (again.plugin, again.data) == ((tmp_path / "mine.py",), tmp_path / "data")


def test_a_file_that_is_nested_without_end_or_is_no_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "deep.toml"
    file.write_text("method = " + "[" * 50_000)
    for path, message in ((file, "is nested too deeply"), (Path("/dev/zero"), "is no file")):
        with pytest.raises(BenchError, match=message):
            Request.of(path, {})
