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


NETWORK = '''
    """Three convolutions."""

    from typing import ClassVar

    from pydantic import Field
    from bench.api import FeatureNet, Network


    class Plain(Network):
        """Three convolutions of one width."""

        divisor: ClassVar[int] = 1
        width: int = Field(default=8, ge=1)

        def make(self, in_channels, n_organs):
            from torch import nn

            from bench.api import CutNet

            body = nn.Sequential()
            for number in range(3):
                into = in_channels if number == 0 else self.width
                body.append(nn.Conv2d(into, self.width, 3, padding=1)).append(nn.ReLU())
            body.add_module("last", nn.Conv2d(self.width, n_organs, 1))
            return CutNet(body, last="last", bottleneck="2")
'''


def test_a_network_from_a_file_takes_part_in_everything(
    tmp_path: Path, options: list[str | Path], native_scan: Path
) -> None:
    file = tmp_path / "plain.py"
    file.write_text(dedent(NETWORK).lstrip())
    plugin = ["--plugin", file]
    assert "plain" in bench("list", "networks", *plugin).out
    bench("check", "naive", "-b", "plain[width=4]", *plugin)
    bench("run", "-m", "inerrant[rounds=1]", "-b", "plain[width=4]", *plugin, *options)
    (folder,) = (tmp_path / "store").glob("Train/*-masked-r1-*")
    store = ["--store", tmp_path / "store"]
    bench("predict", f"Train-{folder.name[-12:]}", native_scan, "-o", tmp_path, *store)
    assert (tmp_path / "scan.nii.gz").is_file()


DATA_SET = '''
    """Two phantoms more, under a name of their own."""

    from bench.datasets.phantom import Phantom


    class Mine(Phantom):
        @property
        def name(self):
            return "mine"
'''
REPORT = '''
    """How many rows there are."""

    from bench.api import Report


    class Count(Report):
        def build(self, table, out):
            path = out / "count.txt"
            path.write_text(str(len(table)))
            return [path]
'''
LAUNCHER = '''
    """Everything in this process, with a word before it."""

    from bench.api import Launcher
    from bench.engine.launchers.inline import Inline


    class Greeting(Launcher):
        word: str = "hello"

        def run(self, graph, store):
            (store.root / f"{self.word}.txt").write_text("")
            yield from Inline().run(graph, store)
'''


def test_a_data_set_a_launcher_and_a_report_come_from_files(
    tmp_path: Path, options: list[str | Path]
) -> None:
    plugins: list[str | Path] = []
    for name, code in {"mine": DATA_SET, "greeting": LAUNCHER, "count": REPORT}.items():
        file = tmp_path / f"{name}.py"
        file.write_text(dedent(code).lstrip())
        plugins += ["--plugin", file]
    store = ["--store", tmp_path / "store"]
    run = ["run", "-m", "naive", "-d", "mine[n_cases=4,scale=0.25]", "-p", PROFILE, *store]
    bench("data", "check", "mine[n_cases=4,scale=0.25]", *plugins)
    bench(*run, "--launcher", "greeting[word=good_day]", *plugins)
    assert (tmp_path / "store/good_day.txt").is_file()
    bench("report", "count", "-o", tmp_path / "out", *plugins, *store)
    assert int((tmp_path / "out/count.txt").read_text()) > 0
