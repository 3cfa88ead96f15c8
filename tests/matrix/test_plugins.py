"""Plug-in files: what their keys know of the code, and that every command finds them."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from walk import PROFILE, bench

METHOD = """
    \"\"\"Masked cross-entropy times a number.\"\"\"

    from bench.api import Method, OneNetwork, ObjectiveSpec, Train, masked_bce, targets


    class Scaled(Method):
        def plan(self, recipe):
            yield recipe.segmenter(Mine())


    class _Objective(OneNetwork):
        def loss(self, batch, progress):
            y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
            return {"loss": SCALE * masked_bce(self.segmenter(batch.image_BCHW), y_BKHW, w_BKHW)}


    class Mine(ObjectiveSpec):
        streams = ("supervised",)

        @property
        def label(self):
            return "mine"

        def build(self, setting):
            return _Objective(setting)
"""


def write(file: Path, scale: float) -> Path:
    file.write_text(dedent(METHOD).replace("SCALE", str(scale)).lstrip())
    return file


@pytest.fixture
def options(clinic: Path, tmp_path: Path) -> list[str | Path]:
    options: list[str | Path] = ["-d", clinic, "-l", "50", "-p", PROFILE, "--launcher", "inline"]
    return [*options, "--store", tmp_path / "store"]


def test_an_edited_loss_trains_anew(tmp_path: Path, options: list[str | Path]) -> None:
    file = write(tmp_path / "alice.py", 1.0)
    run = ["run", "-m", "alice", "--plugin", file, *options]
    bench(*run)
    assert " 0 to compute" in bench(*run).out
    write(file, 3.0)
    assert "of another version of the code" in bench("status", "--store", tmp_path / "store").out
    bench(*run)
    trained = list((tmp_path / "store").glob("Train/*/DONE"))
    assert len(trained) == 2
    digests = {json.loads(done.read_text())["sha256"]["segmenter.safetensors"] for done in trained}
    assert len(digests) == 2


def test_equally_named_objectives_of_two_plugins_are_two_stages(
    tmp_path: Path, options: list[str | Path]
) -> None:
    files = [write(tmp_path / f"{name}.py", 1.0) for name in ("alice", "bob")]
    plugins = [word for file in files for word in ("--plugin", file)]
    bench("run", "-m", "alice,bob", *plugins, *options)
    assert len(list((tmp_path / "store").glob("Train/*/DONE"))) == 2


def test_status_show_and_predict_load_the_plugin_of_a_stage(
    tmp_path: Path, options: list[str | Path], native_scan: Path
) -> None:
    file = write(tmp_path / "alice.py", 1.0)
    bench("run", "-m", "alice", "--plugin", file, *options)
    store = ["--store", tmp_path / "store"]
    assert "another version" not in bench("status", *store).out
    (folder,) = (tmp_path / "store").glob("Train/*")
    key = f"Train-{folder.name[-12:]}"
    assert "alice" in bench("show", key, *store).out
    bench("predict", key, native_scan, "-o", tmp_path / "out", *store)
    file.unlink()
    refused = bench("predict", key, native_scan, "-o", tmp_path / "out", *store, code=2)
    assert "needs the plug-in alice" in refused.err
    assert len(refused.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1 +", ":1: SyntaxError"),
        ("import nothing_of_that_name", ":1: ModuleNotFoundError"),
        ("x = 1", "defines 0 public subclasses"),
    ],
)
def test_a_broken_plugin_is_one_line(code: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(code)
    answer = bench("list", "methods", "--plugin", file, code=2)
    assert message in answer.err
    assert len(answer.err.splitlines()) == 1
