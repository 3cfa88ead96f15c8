"""Plug-in files: what their keys know of the code, and that every command finds them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from textwrap import dedent

import numpy as np
import pandas as pd
import pytest
import trees
from walk import PROFILE, bench, key_of_model

HOWTO = Path(__file__).parents[2] / "docs/howto"
METHOD = """
    \"\"\"The shared loss times a number.\"\"\"

    from bench.api import Loss, Method, targets


    class Scaled(Method, Loss):
        label = "scaled"
        streams = ("supervised",)

        def plan(self, recipe):
            yield recipe.segmenter(self)

        def loss(self, net, batch, progress, shared):
            y_BKHW, w_BKHW = targets(batch.lab_BHW, batch.ps_BHW, batch.flags_BK)
            return {"loss": SCALE * shared(net(batch.image_BCHW), y_BKHW, w_BKHW)}
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
    told = bench("status", "--plugin", file, "--store", tmp_path / "store").out
    assert f"of an earlier version of the plug-in {file}" in told
    bench(*run)
    trained = list((tmp_path / "store").glob("Train/*/out/DONE"))
    assert len(trained) == 2
    digests = {json.loads(done.read_text())["sha256"]["segmenter.safetensors"] for done in trained}
    assert len(digests) == 2


def test_a_module_that_no_key_holds_is_named(tmp_path: Path) -> None:
    helper = tmp_path / "lib/factor_of_carol.py"
    helper.parent.mkdir()
    helper.write_text("SCALE = 2.0\n")
    file = write(tmp_path / "carol.py", 1.0)
    listed = ["list", "methods", "--plugin", file]
    assert "warning" not in bench(*listed).err
    with file.open("a") as lines:
        lines.write(f"import sys; sys.path.insert(0, {str(helper.parent)!r})\n")
        lines.write("from factor_of_carol import SCALE\n")
    assert f"{file} imports {helper}, which is in no key" in bench(*listed).err


def test_equally_named_objectives_of_two_plugins_are_two_stages(
    tmp_path: Path, options: list[str | Path]
) -> None:
    files = [write(tmp_path / f"{name}.py", 1.0) for name in ("alice", "bob")]
    plugins = [word for file in files for word in ("--plugin", file)]
    bench("run", "-m", "alice,bob", *plugins, *options)
    assert len(list((tmp_path / "store").glob("Train/*/out/DONE"))) == 2


def test_status_show_and_predict_need_the_plugin_of_a_stage_named(
    tmp_path: Path, options: list[str | Path], native_scan: Path
) -> None:
    file = write(tmp_path / "alice.py", 1.0)
    plugin = ["--plugin", file]
    bench("run", "-m", "alice", *plugin, *options)
    store = ["--store", tmp_path / "store"]
    assert "of the plug-in" not in bench("status", *plugin, *store).out
    key = key_of_model(tmp_path / "store")
    assert "alice" in bench("show", key, *plugin, *store).out
    bench("predict", key, native_scan, "-o", tmp_path / "out", *plugin, *store)
    # Not even a file with the recorded digest at the recorded path runs before it is named.
    remedy = f"of the plug-in {file}: add --plugin {file} if you trust its code"
    assert remedy in bench("status", *store).out
    refused = bench("predict", key, native_scan, "-o", tmp_path / "out", *store, code=2)
    assert refused.err.rstrip().endswith(remedy)
    assert len(refused.err.splitlines()) == 1
    moved = write(tmp_path / "out" / "alice.py", 1.0)
    bench("predict", key, native_scan, "-o", tmp_path / "again", "--plugin", moved, *store)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1 +", ":1: SyntaxError"),
        ("raise SystemExit(3)", ":1: SystemExit: 3"),
        ("import nothing_of_that_name", ":1: ModuleNotFoundError"),
        ("x = 1", "defines 0 public subclasses"),
        (METHOD.replace('label = "scaled"', ""), ":6: TypeError: class Scaled declares no label"),
    ],
)
def test_a_broken_plugin_is_one_line(code: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(dedent(code).lstrip())
    answer = bench("list", "methods", "--plugin", file, code=2)
    assert message in answer.err
    assert len(answer.err.splitlines()) == 1


def example(kind: str, folder: Path) -> Path:
    """Write the example of a how-to page into the file that the page names."""
    page = (HOWTO / f"add-a-{kind}.md").read_text(encoding="utf-8")
    name = re.search(r"Save this as `(\w+\.py)`", page)
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert name
    assert code
    (folder / name[1]).write_text(code[1])
    return folder / name[1]


def test_a_network_from_a_file_takes_part_in_everything(
    tmp_path: Path, options: list[str | Path], native_scan: Path
) -> None:
    plugin = ["--plugin", example("network", tmp_path)]
    assert "plain" in bench("list", "networks", *plugin).out
    bench("check", "naive", "-b", "plain[width=4]", *plugin)
    bench("run", "-m", "inerrant[rounds=1]", "-b", "plain[width=4]", *plugin, *options)
    store = ["--store", tmp_path / "store"]
    key = key_of_model(tmp_path / "store", "*-masked-r1-*")
    bench("predict", key, native_scan, "-o", tmp_path, *plugin, *store)
    assert (tmp_path / "scan.nii.gz").is_file()


def test_a_data_set_a_launcher_and_a_report_come_from_files(tmp_path: Path) -> None:
    for number in range(4):
        scan = trees.volume(number, organs=("liver", "spleen"))
        case = tmp_path / f"data/clinic/p{number}"
        trees.save(case / "ct.nii.gz", scan.image_XYZ)
        trees.save(case / "liver.nii.gz", (scan.labels_XYZ == 1).astype(np.uint8))
        if number != 2:
            trees.save(case / "spleen.nii.gz", (scan.labels_XYZ == 2).astype(np.uint8))
    kinds = ("data-set", "launcher", "report")
    plugins = [word for kind in kinds for word in ("--plugin", example(kind, tmp_path))]
    data = ["--data", tmp_path / "data"]
    assert "0 errors" in bench("data", "check", "clinic", *plugins, *data).out
    store = ["--store", tmp_path / "store"]
    run = ["run", "-m", "naive", "-d", "clinic", "-l", "100", "-p", PROFILE, *data, *store]
    bench(*run, "--launcher", "noted[file=today.txt]", *plugins)
    assert "done Train-" in (tmp_path / "store/today.txt").read_text()
    bench("report", "worst[n=2]", "-o", tmp_path / "out", *plugins, *store)
    assert len((tmp_path / "out/worst.csv").read_text().splitlines()) == 3


def test_a_metric_from_a_file_is_measured_and_reported(
    tmp_path: Path, options: list[str | Path]
) -> None:
    file = example("metric", tmp_path)
    plugin = ["--plugin", file]
    store = ["--store", tmp_path / "store"]
    assert "Intersection over union" in bench("list", "metrics", *plugin).out
    bench("run", "-m", "naive", *options)
    bench("run", "-m", "naive", *plugin, *options)
    assert len(list((tmp_path / "store").glob("Train/*/out/DONE"))) == 1
    (results,) = (tmp_path / "store").glob("results/*-????????.parquet")
    table = pd.read_parquet(results)
    union = table["n_pred"] + table["n_gt"] - table["tp"]
    np.testing.assert_allclose(table["jaccard"], 100 * table["tp"] / union)
    report = ["report", "leaderboard[metric=jaccard]", *store, "-o", tmp_path / "out"]
    assert "Jaccard index" in bench(*report, *plugin).out
    refused = bench("report", "leaderboard", *store, "-o", tmp_path / "out", code=2)
    assert "unknown column jaccard; if it is a metric of a plug-in" in refused.err
    assert len(refused.err.splitlines()) == 1
    keys = [path.name for path in (tmp_path / "store").glob("Evaluate/*")]
    file.write_text(file.read_text().replace("missed = 0.0", "missed = 25.0"))
    bench("run", "-m", "naive", *plugin, *options)
    assert len(list((tmp_path / "store").glob("Evaluate/*"))) == len(keys) + 1
    table = pd.read_parquet(results)
    assert (table["jaccard"] == 25).equals(table["status"] == "missed")


def test_a_metric_does_not_take_the_name_of_a_column(tmp_path: Path) -> None:
    named = example("metric", tmp_path).rename(tmp_path / "dsc.py")
    refused = bench("list", "metrics", "--plugin", named, code=2)
    assert "there is a metric dsc already" in refused.err
    named = named.rename(tmp_path / "status.py")
    refused = bench("plan", "-m", "naive", "-d", "phantom", "--plugin", named, code=2)
    assert "metric status: a column has this name already" in refused.err
