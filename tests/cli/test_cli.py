"""The command line as a person meets it: what it prints, where, and with which exit code."""

from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import helpers
import nibabel as nib
import numpy as np
import pytest
import trees
from command import Answer, Bench

import bench as package
from bench.data.annotations import visits
from bench.engine import provenance
from bench.plugins import registry

TINY = "phantom[n_cases=4,scale=0.25]"
IMAGE = "imagesTr/case_001_0000.nii.gz"
LABEL = "labelsTr/case_001.nii.gz"


def files(root: Path) -> dict[str, int]:
    return {
        str(path.relative_to(root)): path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file()
    }


# What a user can get wrong before anything runs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-m", "inerant"], r"unknown method 'inerant': did you mean inerrant"),
        (["-m", "inerrant[round=3]"], r"unknown parameter of method inerrant 'round': .*rounds"),
        (["-m", "inerrant[rounds=0]"], r"method inerrant: rounds='0' must be at least 1"),
        (["-m", "inerrant[rounds"], r"cannot read 'inerrant\[rounds'"),
        (["-m", ","], r"no method is named"),
        (["-m", "inerrant rounds=3"], r"options go in brackets, inerrant\[rounds=3\]"),
        (["-d", "phanton"], r"unknown dataset 'phanton': did you mean phantom"),
        (["-d", "phantom[cases=4]"], r"unknown parameter of data set phantom 'cases': .*n_cases"),
        (["-d", "./nowhere"], r"nowhere"),
        (["-p", "quik"], r"unknown profile 'quik': did you mean quick"),
        (["-p", "smoke[step=3]"], r"unknown parameter of profile smoke 'step': .*steps"),
        (["-p", "smoke[steps=none]"], r"profile smoke: steps='none'"),
        (["-b", "unett"], r"unknown backbone|unknown network"),
        (
            ["-b", "resnet34"],
            r"unknown network 'resnet34'.*follows its architecture: unet/resnet34",
        ),
        (["-b", "mednext[kernel=4]"], r"network mednext: kernel=4 must be 3 or 5"),
        (["-p", "fast[floor=0.1]"], r"profile fast: floor belongs to loss=balanced, not to"),
        (["-b", "unet/resnet3"], r"resnet3"),
        (["-l", "0"], r"label fraction 0 is impossible, must be within 1 to 100"),
        (["-l", "101"], r"label fraction 101 is impossible, must be within 1 to 100"),
        (["-l", "abc"], r"label fraction 'abc' is not a whole number of percent"),
        (["-l", "0.3"], r"label fraction '0.3' is not a whole number of percent"),
        (["-f", "2"], r"fold 2 is impossible, must be within 0 to 1"),
        (["-f", "0-999999999999"], r"fold 999999999999 is impossible"),
        (["-f", "1-0"], r"fold '1-0' runs backwards: write 0-1"),
        (["-f", ""], r"fold '' is not a whole number"),
        (["--seeds", "x"], r"seed 'x' is not a whole number"),
        (["-p", "smoke[n_folds=9]"], r"4 patients cannot be split into 9 folds"),
        (["--launcher", "sge"], r"unknown launcher 'sge': known: inline, local, slurm"),
        (["--fold", "0"], r"No such option: --fold.*--folds"),
        (["surplus"], r"no experiment file surplus; methods are named with -m"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_choice_is_one_line_and_exit_code_2(
    bench: Bench, tmp_path: Path, arguments: list[str], message: str
) -> None:
    given = {"-m": "naive", "-d": TINY, "-p": "smoke"}
    kept = [part for name in given if name not in arguments for part in (name, given[name])]
    answer = bench("run", *kept, *arguments)
    assert answer.code == 2
    assert re.search(message, answer.err)
    assert answer.err.startswith("error: ")
    assert len(answer.err.splitlines()) == 1 or "expected\n" in answer.err
    assert "Traceback" not in answer.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], r"no method is named: give --method"),
        (["list", "method"], r"^error: Invalid value for 'what': 'method' is not one of 'methods'"),
        (["frobnicate"], r"No such command 'frobnicate'"),
        (["status"], r"no store at bench-store: run something first, or name one with --store"),
        (["report", "leaderboard"], r"no store at bench-store: run something first"),
        (["report", "leaderbord"], r"unknown report 'leaderbord': did you mean leaderboard"),
        (
            ["report", "leaderboard[metric=x]"],
            r"unknown metric 'x': known: .*dsc, hd95_mm, nsd",
        ),
        (["report", "leaderboard", "nothing.parquet"], r"nothing.parquet"),
        (["data", "check", "phanton"], r"unknown dataset 'phanton': did you mean phantom"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_other_commands_answer_the_same_way(
    bench: Bench, arguments: list[str], message: str
) -> None:
    answer = bench(*arguments)
    assert answer.code == 2
    assert re.search(message, answer.err)
    assert answer.err.startswith("error: ")
    assert len(answer.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "-m", "naive", "-d", TINY, "--store", "file"], "file: Not a directory; "),
        (["run", "-m", "naive", "-d", TINY, "--store", "file/in/it"], "in/it: Not a directory; "),
        (["run", "-m", "naive", "-d", TINY, "--store", "x" * 300], "File name too long; choose a"),
        (["data", "prepare", "-d", TINY, "--store", "file"], "file: Not a directory; "),
        (["report", "leaderboard", "-o", "file/report"], "report: Not a directory; "),
        (["predict", "Train", "scan.nii.gz", "--store", ".", "-o", "file"], "file: Not a director"),
    ],
)
def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_runs(
    arguments: list[str], message: str, bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    answer = bench(*arguments)
    assert answer.code == 2
    assert message in answer.err
    assert len(answer.err.splitlines()) == 1
    assert list(files(tmp_path)) == ["file"]


def test_what_the_system_refuses_is_one_line_and_exit_code_2(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", "slices.bin")

    monkeypatch.setattr("bench.cli.listed.list_of", refuse)
    answer = bench("list", "methods")
    advice = "raise the limit of open files (ulimit -n)"
    assert answer == (2, "", f"error: slices.bin: Too many open files; {advice}\n")


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = helpers.bench("list", "methods")
    assert command.stdout is not None
    command.stdout.close()
    assert command.stderr is not None
    assert command.stderr.read() == ""
    assert command.wait() == 1


def test_missing_data_are_answered_with_source_and_expected_files(bench: Bench) -> None:
    answer = bench("run", "-m", "naive", "-d", "lits")
    assert answer.code == 2
    assert "medicaldecathlon.com" in answer.err
    assert "volume-N.nii" in answer.err
    assert "Traceback" not in answer.err


# Data that are wrong


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.nnunet(tmp_path_factory.mktemp("sound") / "set")


def image() -> np.ndarray:
    return trees.volume(1).image_XYZ.astype(np.float32)


def truncated(root: Path) -> None:
    path = root / IMAGE
    path.write_bytes(path.read_bytes()[:-200])


def other_shape(root: Path) -> None:
    trees.save(root / LABEL, trees.volume(1).labels_XYZ[:, :, :-1])


def other_affine(root: Path) -> None:
    affine = trees.LPS.copy()
    affine[0, 3] += 5.0
    trees.save(root / LABEL, trees.volume(1).labels_XYZ, affine)


def not_a_number(root: Path) -> None:
    values = image()
    values[3, 4, 5] = np.nan
    trees.save(root / IMAGE, values)


def unknown_label(root: Path) -> None:
    labels = trees.volume(1).labels_XYZ.copy()
    labels[0, 0, 0] = 77
    trees.save(root / LABEL, labels)


SPOILED = {
    truncated: r"case_001.*(truncated|corrupt|cut|ended)",
    other_shape: r"case_001.*shape",
    other_affine: r"case_001.*affine",
    not_a_number: r"case_001.*(NaN|not finite|infinite)",
    unknown_label: r"case_001.*unknown label 77",
}


@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__)
def test_a_faulty_file_found_while_running_is_one_line_and_exit_code_2(
    bench: Bench, sound: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    root = shutil.copytree(sound, tmp_path / "set")
    spoil(root)
    answer = bench("run", "-m", "naive", "-d", str(root), "-p", "smoke", "--launcher", "inline")
    assert answer.code == 2
    assert re.search(SPOILED[spoil], answer.err)
    assert len(answer.err.splitlines()) == 1
    assert "Traceback" not in answer.out + answer.err
    assert "leaderboard" not in answer.out

    checked = bench("data", "check", str(root))
    assert checked.code == 2
    assert re.search(SPOILED[spoil], checked.out)


def test_a_mended_file_is_read_anew(bench: Bench, sound: Path, tmp_path: Path) -> None:
    root = shutil.copytree(sound, tmp_path / "set")
    command = ("run", "-m", "naive", "-d", str(root), "-p", "smoke", "--launcher", "inline")
    not_a_number(root)
    assert bench(*command).code == 2
    trees.save(root / IMAGE, trees.volume(1).image_XYZ)
    assert bench(*command).code == 0


def test_methods_that_saw_different_data_share_no_board(
    bench: Bench, sound: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(sound, tmp_path / "set")
    options = ("-p", "smoke[steps=1]", "--launcher", "inline", "-q")
    assert bench("run", "-m", "naive", "-d", str(root), *options).code == 0
    labels = trees.volume(1).labels_XYZ.copy()
    labels[labels == labels.max()] = 0
    trees.save(root / LABEL, labels)
    assert bench("run", "-m", "inerrant0", "-d", str(root), *options).code == 0
    mixed = bench("report", "leaderboard")
    assert mixed.code == 2
    assert "stand on different images, label maps or lists of cases" in mixed.err
    assert f"`bench run -m naive -d {root} " in mixed.err


def test_a_damaged_table_is_refused_with_the_command_that_writes_it_again(
    bench: Bench, sound: Path, tmp_path: Path
) -> None:
    (tmp_path / "set").symlink_to(sound)
    for method in ("naive", "inerrant0"):
        chosen = ("-m", method, "-d", "./set", "-p", "smoke[steps=1]", "--launcher", "inline")
        assert bench("run", *chosen, "-q").code == 0
    first, second = tmp_path.glob("bench-store/results/*[!gts].parquet")
    first.write_bytes(first.read_bytes()[:1000])
    refused = bench("report", "leaderboard")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    found = re.search(r"`bench (run \S+\.toml --store \S+)` again; to report", refused.err)
    assert found, refused.err
    assert bench("report", "leaderboard", str(second)).code == 0
    assert bench(*found[1].split()).code == 0
    both = bench("report", "leaderboard")
    assert (both.code, "Naive" in both.out, "INERRANT" in both.out) == (0, True, True)


def test_without_its_data_a_finished_run_says_what_is_missing_and_what_still_works(
    bench: Bench, sound: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(sound, tmp_path / "set")
    chosen = ("-m", "naive", "-d", "./set", "-p", "smoke[steps=1]")
    assert bench("run", *chosen, "--launcher", "inline", "-q").code == 0
    shutil.rmtree(root)
    for command in ("run", "plan"):
        gone = bench(command, *chosen)
        assert gone.code == 2
        assert len(gone.err.splitlines()) == 1
        assert gone.err.startswith("error: folder not found: set; ")
        assert f"`bench report leaderboard --store {tmp_path}/bench-store` shows" in gone.err
    assert bench("report", "leaderboard").code == 0
    assert bench("status").code == 0
    unnamed = bench("run", "-m", "naive", "-d", "set")
    assert (unnamed.code, unnamed.err.count("\n")) == (2, 1)
    assert "there is no folder set" in unnamed.err


def test_an_error_in_a_worker_process_reaches_the_exit_code(sound: Path, tmp_path: Path) -> None:
    root = shutil.copytree(sound, tmp_path / "set")
    truncated(root)
    store = str(tmp_path / "store")
    process = helpers.bench("run", "-m", "naive", "-d", str(root), "-p", "smoke", "--store", store)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert re.fullmatch(r"error: .*case_001.*\n", err)
    assert re.search(r"^stages    .*blocked", out, re.MULTILINE)
    assert "blocked    Train" not in out


def test_an_organ_that_nobody_annotated_is_refused(bench: Bench, tmp_path: Path) -> None:
    everywhere = {number: ["spleen"] for number in range(4)}
    root = trees.nnunet(tmp_path / "set", hidden=everywhere)
    answer = bench("run", "-m", "naive", "-d", str(root), "-p", "smoke")
    assert answer.code == 2
    assert "spleen" in answer.err
    assert "annotated in no" in answer.err
    assert len(answer.err.splitlines()) == 1


def test_an_empty_data_set_is_answered_with_the_expected_tree(
    bench: Bench, sound: Path, tmp_path: Path
) -> None:
    root = tmp_path / "empty"
    for name in ("imagesTr", "labelsTr"):
        (root / name).mkdir(parents=True)
    shutil.copy(sound / "dataset.json", root)
    answer = bench("run", "-m", "naive", "-d", str(root), "-p", "smoke")
    assert answer.code == 2
    assert "no case found; expected" in answer.err
    assert "labelsTr" in answer.err


CLINIC = """
from typing import ClassVar
from bench.api import Dataset

class Clinic(Dataset):
    summary: ClassVar[str] = "nothing yet"
    source: ClassVar[str] = "here"
    name = property(lambda self: "clinic")
    organs = property(lambda self: ("liver", "spleen"))

    def cases(self):
        return ()

    def files(self, case):
        return ()

    def image(self, case):
        raise NotImplementedError

    labels = image
"""


def test_a_data_set_of_a_plug_in_that_finds_nothing_is_one_line(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "clinic.py").write_text(CLINIC)
    for command in (
        "data check clinic",
        "data preview clinic -o sheet.png",
        "data export nnunet clinic -o exported",
        "data prepare clinic",
        "plan -m naive -d clinic",
        "run -m naive -d clinic",
    ):
        answer = bench(*command.split(), "--plugin", "clinic.py")
        assert answer.code == 2, command
        assert answer.err.startswith("error: clinic: no case found below "), command
        assert len(answer.err.splitlines()) == 1, command


# The whole way


class Experiment(NamedTuple):
    store: Path
    run: Answer
    command: tuple[str, ...]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A run through real worker processes, as a user starts it."""
    store = tmp_path_factory.mktemp("cli") / "store"
    command = ("-m", "naive,inerrant", "-d", TINY, "-p", "smoke", "-l", "50", "-f", "all")
    command += ("--store", str(store))
    process = helpers.bench("run", *command, environment={"COLUMNS": "160"})
    out, err = process.communicate(timeout=300)
    return Experiment(store, Answer(process.returncode, out, err), command)


def test_a_run_ends_with_the_leaderboard_and_says_where_results_lie(
    experiment: Experiment,
) -> None:
    code, out, err = experiment.run
    assert (code, err) == (0, "")
    assert "plan      4 runs, 2 conditions, 43 stages: 0 done, 43 to compute" in out
    assert "INERRANT" in out
    assert "after each relabelling round" in out
    (results,) = experiment.store.glob("results/*[!gts].parquet")
    assert re.search(rf"^results   .*{re.escape(results.name)}$", out, re.MULTILINE)


def test_output_that_goes_to_a_file_is_plain(experiment: Experiment) -> None:
    out = experiment.run.out
    assert "\x1b" not in out
    assert "\r" not in out
    starts = re.findall(r"^\d\d:\d\d:\d\d started +(\w+)", out, re.MULTILINE)
    assert len(starts) == 43
    assert TINY in out, "brackets of a name are no markup"


def test_running_again_computes_nothing(bench: Bench, experiment: Experiment) -> None:
    before = files(experiment.store)
    answer = bench("run", *experiment.command)
    assert answer.code == 0
    assert "43 done, 0 to compute" in answer.out
    assert "43 reused" in answer.out
    changed = {path for path, time in files(experiment.store).items() if before.get(path) != time}
    assert all(path.startswith("results/") for path in changed)


def test_a_finished_run_is_shown_where_nothing_can_be_written(
    bench: Bench, experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object, path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    before = files(experiment.store)
    monkeypatch.setattr("bench.results.schema.Schema.save", lambda _self, _, path: refuse(0, path))
    monkeypatch.setattr("bench.files.write_atomically", refuse)
    answer = bench("run", *experiment.command)
    assert answer.code == 2
    assert answer.err.startswith("error: results not written: ")
    assert "Read-only file system; name a folder that can be written to" in answer.err
    assert "after each relabelling round" in answer.out
    assert "results   " not in answer.out
    assert files(experiment.store) == before


def test_plan_knows_what_is_done_and_writes_nothing(
    bench: Bench, experiment: Experiment, tmp_path: Path
) -> None:
    before = files(experiment.store)
    answer = bench("plan", "-m", "full,inerrant0", *experiment.command[2:])
    assert answer.code == 0
    assert TINY in answer.out
    assert re.search(r"^Train +4 +4 +0 +2 +2 ", answer.out, re.MULTILINE)
    assert files(experiment.store) == before
    assert not list(tmp_path.iterdir())


def test_plan_of_files_leaves_no_trace(bench: Bench, sound: Path, tmp_path: Path) -> None:
    answer = bench("plan", "-m", "naive", "-d", str(sound), "-p", "smoke")
    assert answer.code == 0
    assert "to compute: time not known" in answer.out
    assert not list(tmp_path.iterdir())


def trained(bench: Bench, experiment: Experiment) -> str:
    """Return the key of a segmentation model, as a user finds it."""
    answer = bench("status", "--store", str(experiment.store))
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "43 done"
    found = re.findall(r"^(Train-\w+) +\S+-f0-a50-masked-r2 +done", answer.out, re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


def test_show_tells_everything_about_a_stage(bench: Bench, experiment: Experiment) -> None:
    key = trained(bench, experiment)
    answer = bench("show", key[:12], "--store", str(experiment.store))
    assert answer.code == 0
    for expected in (
        key,
        '"steps": 3',
        "input    Relabel-",
        "wall_seconds",
        "segmenter.safetensors",
    ):
        assert expected in answer.out
    unknown = bench("show", "Train-000000000000", "--store", str(experiment.store))
    assert unknown.code == 2
    assert "`bench status` lists them" in unknown.err


def test_predict_writes_label_maps_on_the_grid_of_the_scan(
    bench: Bench, experiment: Experiment, tmp_path: Path
) -> None:
    scan = trees.save(tmp_path / "new_0000.nii.gz", trees.volume(7, (40, 36, 6)).image_XYZ)
    store = ("--store", str(experiment.store))
    answer = bench("predict", trained(bench, experiment), str(scan), "-o", "labels", *store)
    assert answer.code == 0
    assert answer.out.strip() == "labels/new.nii.gz"
    labels = nib.load(tmp_path / "labels/new.nii.gz")
    assert labels.shape == (40, 36, 6)
    np.testing.assert_array_equal(labels.affine, nib.load(scan).affine)
    (record,) = tmp_path.glob("labels/organs-Train-*.json")
    values = json.loads(record.read_text())["values"]
    assert (values["background"], values["liver"]) == (0, 1)

    missing = bench("predict", trained(bench, experiment), "no.nii.gz", "-o", "labels", *store)
    assert missing.code == 2
    assert "no.nii.gz" in missing.err
    naive = bench("predict", "Labels", str(scan), "-o", "labels", *store)
    assert naive.code == 2
    assert "`bench status` lists them" in naive.err


def test_predict_replaces_no_image_and_no_label_map_of_others(
    bench: Bench, experiment: Experiment, tmp_path: Path
) -> None:
    scan = trees.save(tmp_path / "here/a.nii.gz", trees.volume(7, (40, 36, 6)).image_XYZ)
    trees.save(tmp_path / "drawn/a.nii.gz", trees.volume(7, (40, 36, 6)).labels_XYZ)
    before = files(tmp_path)
    refused = {"here": "holds the scans", "drawn": r"drawn/a\.nii\.gz: .* and would be replaced"}
    for folder, message in refused.items():
        command = ("predict", trained(bench, experiment), str(scan), "-o", folder)
        answer = bench(*command, "--store", str(experiment.store))
        assert answer.code == 2
        assert re.search(message, answer.err)
    assert files(tmp_path) == before


def test_report_writes_the_leaderboard_of_all_results(
    bench: Bench, experiment: Experiment, tmp_path: Path
) -> None:
    answer = bench("report", "leaderboard", "--store", str(experiment.store))
    assert answer.code == 0
    names = {path.name for path in (tmp_path / "bench-report" / "leaderboard").iterdir()}
    assert {f"leaderboard.{suffix}" for suffix in ("md", "csv", "tex", "html")} <= names
    assert {f"leaderboard-matrix-1.{suffix}" for suffix in ("svg", "pdf")} <= names
    assert "per organ" in answer.out
    (results,) = experiment.store.glob("results/*[!gts].parquet")
    other = bench("report", "leaderboard[digits=2,metric=nsd]", str(results), "-o", "x")
    assert other.code == 0
    assert (tmp_path / "x/leaderboard-nsd.md").is_file()


@pytest.mark.parametrize("name", ["leaderboard", "training"])
def test_a_report_finds_its_table_among_those_that_lie_together(
    name: str, bench: Bench, experiment: Experiment, tmp_path: Path
) -> None:
    together = sorted(experiment.store.glob("results/*.parquet"))
    (results,) = experiment.store.glob("results/*[!gts].parquet")
    written = set()
    for given in (together, [results], [results.with_suffix(".curves.parquet")]):
        assert bench("report", name, *map(str, given), "-o", "x").code == 0
        written.add((tmp_path / f"x/{name}.md").read_text())
    assert len(written) == 1
    alone = shutil.copy(results, tmp_path / "alone.parquet")
    answer = bench("report", "training", str(alone))
    assert answer.code == 2
    assert "no training curves beside the results" in answer.err


@pytest.mark.parametrize("what", ["methods", "datasets", "networks", "profiles", "reports"])
def test_list_names_everything_there_is(bench: Bench, what: str) -> None:
    answer = bench("list", what)
    assert answer.code == 0
    first = [line.split()[0] for line in answer.out.splitlines()[1:] if line[:1].strip()]
    if what in ("methods", "datasets", "reports"):
        assert set(registry.names(what)) <= set(first)
    if what == "profiles":
        assert first == ["smoke", "quick", "fast", "paper"]
        assert "unet_t11[width=4" in answer.out


def test_data_prepare_leaves_only_training_to_a_run(bench: Bench, sound: Path) -> None:
    chosen = ("-d", str(sound), "-p", "smoke")
    prepared = bench("data", "prepare", *chosen)
    assert prepared.code == 0
    assert re.search(r"^Images-\w+  ", prepared.out, re.MULTILINE)
    planned = bench("plan", "-m", "naive", *chosen)
    assert re.search(r"^Images +1 +1 +0 +1 +0 ", planned.out, re.MULTILINE)


def test_a_plan_says_what_is_doubtful_in_names_and_tables(bench: Bench, tmp_path: Path) -> None:
    table = trees.nnunet(tmp_path / "set") / "annotations.csv"
    plan = ("plan", "-m", "naive", "-d", "./set", "-l", "100", "-p", "smoke")
    assert "note" not in bench(*plan).err
    table.write_text(table.read_text().replace("patient,tier", "note,Owner"))
    assert "note: Generated: cases share values of Owner in annotations.csv" in bench(*plan).err


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["P1_visit1", "P1_visit2", "P2_visit1"], "P1_visit1, P1_visit2"),
        (["a-pre", "a-post", "b-pre", "b-post"], "a-post, a-pre (and 1 other group)"),
        (["P1_visit1", "P2_visit1", "case_1", "case_2"], ""),
        ([f"abdomen_scan{n}" for n in range(4)], ""),  # numbers of cases
    ],
)
def test_cases_that_look_like_visits_of_a_patient(names: list[str], alike: str) -> None:
    found = visits(names)
    assert [line.partition(" look like")[0] for line in found] == ([alike] if alike else [])


def test_data_commands_take_data_sets_as_a_run_does(bench: Bench, sound: Path) -> None:
    two = f'"{sound}"[hu_window=-100:200],{TINY}'
    for given in ([two], ["-d", two], [f'"{sound}"[hu_window=-100:200]', "-d", TINY]):
        answer = bench("data", "check", *given)
        assert (answer.code, answer.out.count("0 errors")) == (0, 2)
    answer = bench("data", "export", "nnunet", two, "-o", "out")
    assert (answer.code, answer.out) == (2, "")
    assert "error: 2 data sets are named, and each is exported by itself" in answer.err
    assert "no data set is named" in bench("data", "check").err


def test_data_check_of_sound_data_succeeds(bench: Bench, sound: Path) -> None:
    answer = bench("data", "check", str(sound))
    assert answer.code == 0
    assert "4 cases of 4 patients, 4 readable" in answer.out
    assert "0 errors" in answer.out


# Start-up


HEAVY = ("torch", "pandas", "numpy", "scipy", "nibabel", "monai", "pydantic.main", "matplotlib")


def test_help_is_instant_and_loads_nothing_heavy() -> None:
    code = (
        "import resource, sys\n"
        "sys.argv = ['bench', '--help']\n"
        "from bench.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(used.ru_utime + used.ru_stime, file=sys.stderr)"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
        assert done.returncode == 0
        loaded, used = done.stderr.splitlines()
        assert loaded == "[]"
        assert "Commands" in done.stdout
        seconds.append(float(used))
    # Processor time: the wall clock of a busy machine says nothing about the program.
    assert min(seconds) < 0.5


@pytest.mark.parametrize("command", ["run", "plan", "status", "show", "list", "predict", "report"])
def test_every_command_explains_its_options(bench: Bench, command: str) -> None:
    answer = bench(command, "--help")
    assert answer.code == 0
    assert f"bench {command}" in answer.out


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        (None, None),
        ('{"url": "file:///a", "dir_info": {}}', None),
        ('{"url": "https://a", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}}', "c0ffee"),
    ],
)
def test_the_version_names_a_commit_only_where_it_is_known(
    recorded: str | None, told: str | None, bench: Bench, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    installed = SimpleNamespace(read_text=lambda _: recorded)
    monkeypatch.setattr(provenance, "distribution", lambda _: installed)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "provenance.py"))
    monkeypatch.setattr(provenance, "provenance", provenance.provenance.__wrapped__)
    lines = dict(line.split(" ", 1) for line in bench("--version").out.splitlines())
    assert lines["bench"] == package.__version__
    assert lines.get("commit") == told
