"""``--json``: one document on standard output, with the fields that the documentation names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import trees
from command import Bench
from pages import ROOT, table
from pydantic import TypeAdapter

# Their answers are for the test of all.
import bench.cli.checked
import bench.cli.planned
import bench.cli.reported
import bench.cli.stored
import bench.cli.tried  # noqa: F401
from bench.cli.answers import Answer
from bench.cli.codes import ExitCode
from bench.cli.listed import ListAnswer, list_of, releases, searches
from bench.data.release import release
from bench.errors import neutral
from bench.experiment.conformance.verdict import Verdict
from bench.machine.processor import has_bf16
from bench.stages.train import Train

TINY = "phantom[n_cases=4,scale=0.25]"
PAGE = (ROOT / "docs/reference/json.md").read_text(encoding="utf-8")
LISTS = ("methods", "datasets", "networks", "profiles", "metrics", "reports", "launchers")


def document(text: str) -> Any:
    """Return the document of a command; text beside it, or more than ASCII, is an error."""
    assert text.endswith("\n")
    line = text.removesuffix("\n")
    assert line.isascii()
    assert line == neutral(line)
    return json.loads(line)


def documented(heading: str) -> set[str]:
    section = PAGE.split(f"## `bench {heading}`\n")[1].split("\n## ")[0]
    rows = table(section, "field")
    return {name for row in rows for name in re.findall(r"[\w.\[\]]+", row)}


def fields(schema: dict[str, Any], part: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the paths of the fields of a JSON schema, as the page writes them."""
    found = set()
    for name, field in part["properties"].items():
        path = prefix + name
        options = [field, *field.get("anyOf", [])]
        items = [one.get("items") or (one.get("prefixItems") or [{}])[0] for one in options]
        inner = [one["$ref"].rpartition("/")[2] for one in items if "$ref" in one]
        for ref in inner:
            found |= fields(schema, schema["$defs"][ref], f"{path}[].")
        if not inner:
            found.add(path)
    return found


@pytest.mark.parametrize("answer", Answer.__subclasses__(), ids=lambda one: one.command)
def test_every_field_is_documented_and_every_documented_field_exists(answer: type[Answer]) -> None:
    schema = TypeAdapter(answer).json_schema()
    found = fields(schema, schema) | {"schema"}
    if answer is ListAnswer:
        found.remove("items")
        lists = [*map(list_of, LISTS), releases(), searches()]
        found |= {f"items[].{name}" for one in lists for item in one.items for name in item}
        assert all(len({tuple(item) for item in one.items}) == 1 for one in lists)
    heading = answer.command.replace("-", " ")
    assert found == documented(heading)
    assert f"`bench.{answer.command}/{answer.version}`" in PAGE


@pytest.mark.parametrize("what", LISTS)
def test_lists_name_what_there_is(bench: Bench, what: str) -> None:
    answer = bench("list", what, "--json")
    found = document(answer.out)
    assert (answer.code, answer.err, found["schema"]) == (0, "", "bench.list/1")
    plain = bench("list", what).out
    assert all(item["name"] in plain for item in found["items"])


def test_plan_status_and_reports_of_a_run(bench: Bench, tmp_path: Path) -> None:
    what = ["-m", "naive", "-d", TINY, "-p", "smoke[steps=2]"]
    before = document(bench("plan", *what, "--json").out)
    assert before["new"] == before["stages"] == sum(kind["new"] for kind in before["kinds"])
    assert before["seconds_complete"] is False
    assert before["conditions"][0]["methods"] == ["naive"]
    assert not list(tmp_path.iterdir())

    answer = bench("run", *what, "--launcher", "inline", "--json")
    ran = document(answer.out)
    assert (answer.code, ran["runs"], ran["unfinished"], ran["failed"]) == (0, 1, [], [])
    assert ran["counts"] == {"done": before["stages"]}
    assert Path(ran["results"]).is_file()
    assert "results   " in answer.err
    after = document(bench("plan", *what, "--json").out)
    assert (after["new"], after["seconds"], after["seconds_complete"]) == (0, 0, True)
    status = document(bench("status", "--json").out)
    assert status["counts"] == {"done": before["stages"]}
    assert len(status["stages"]) == before["stages"]
    assert all(stage["seconds"] >= 0 and stage["problem"] is None for stage in status["stages"])
    key = next(stage["key"] for stage in status["stages"] if stage["kind"] == "Train")
    shown = document(bench("show", key, "--json").out)
    assert (shown["key"], shown["state"], shown["damage"]) == (key, "done", None)
    assert {file["name"] for file in shown["files"]} >= {"cost.json"}
    assert shown["receipt"]["device"] == ("cpu" if has_bf16() else "cpu without bf16")
    assert shown["parameters"]["version"] == Train.version
    plain = bench("show", key).out
    assert all(file["name"] in plain for file in shown["files"])

    answer = bench("report", "leaderboard", "-o", "board", "--json")
    report = document(answer.out)
    assert answer.code == 0
    assert all(Path(path).is_file() for path in report["files"])
    assert len(report["tables"][0]["rows"]) == 1
    assert all(len(row) == len(one["columns"]) for one in report["tables"] for row in one["rows"])


def test_what_failed_is_told_and_what_can_be_freed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = ["-m", "naive", "-d", TINY, "-p", "smoke[steps=2]", "--launcher", "inline"]
    monkeypatch.setattr("bench.stages.predict.Predict.run", lambda *_: 1 / 0)
    answer = bench("run", *what, "--json")
    found = document(answer.out)
    assert (answer.code, found["results"], len(found["unfinished"])) == (1, None, 1)
    assert found["counts"]["failed"] == 1
    assert found["unfinished"][0]["counts"]["failed"] == 1
    assert "ZeroDivisionError" in found["failed"][0]["problem"]

    kept = document(bench("gc", "--json").out)
    assert (kept["chosen_bytes"], kept["freed_bytes"]) == (0, None)
    (failed,) = [kind for kind in kept["kinds"] if kind["kind"] == "failed"]
    assert (failed["items"], failed["option"], failed["chosen"]) == (1, "--failed", False)
    asked = document(bench("gc", "--failed", "--json").out)
    assert (asked["chosen_bytes"], asked["freed_bytes"]) == (failed["bytes"], None)
    freed = document(bench("gc", "--failed", "--yes", "--json").out)
    assert freed["freed_bytes"] == failed["bytes"] > 0


def test_an_archive_that_differs_is_a_document_and_exit_code_2(
    bench: Bench, tmp_path: Path
) -> None:
    name, archive = next(iter(release("amos").archives.items()))
    (tmp_path / name).write_bytes(b"cut off")
    answer = bench("data", "verify", "amos", str(tmp_path), "--json")
    found = document(answer.out)
    assert (answer.code, answer.err, found["differing"]) == (2, "", 1)
    (one,) = [each for each in found["archives"] if each["name"] == name]
    assert (one["state"], one["published"]) == ("differs", archive.digest)
    assert one["found"] not in (None, archive.digest)
    plain = bench("data", "verify", "amos", str(tmp_path)).out
    assert f"{one['found']} is not {archive.digest}" in plain


def test_a_faulty_data_set_is_a_document_and_exit_code_2(bench: Bench, tmp_path: Path) -> None:
    root = trees.nnunet(tmp_path / "set")
    whole = bench("data", "check", str(root), "--json")
    found = document(whole.out)
    assert (whole.code, found["errors"]) == (0, 0)
    assert len(found["datasets"][0]["shape"]) == 3
    image = next((root / "imagesTr").iterdir())
    image.write_bytes(image.read_bytes()[:-200])
    faulty = bench("data", "check", "./nothing", str(root), "--json")
    found = document(faulty.out)
    assert (faulty.code, found["errors"]) == (2, 2)
    assert [one["dataset"] for one in found["refused"]] == ["./nothing"]
    assert found["refused"][0]["message"] in faulty.err
    (problem,) = [one for one in found["datasets"][0]["problems"] if one["severity"] == "error"]
    assert problem["case"] in image.name


def test_rules_are_printed_as_they_are_checked_beside_the_document(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Verdict("pure", "its plan is pure", None), Verdict("repeats", "repeats", "it differs")]
    monkeypatch.setattr("bench.experiment.conformance.checks.run_checks", lambda _: found)
    answer = bench("check", "full", "--json")
    told = document(answer.out)
    assert (answer.code, told["passed"], told["methods"][0]["passed"]) == (1, False, False)
    assert [rule["problem"] for rule in told["methods"][0]["rules"]] == [None, "it differs"]
    assert "its plan is pure" in answer.err
    assert "it differs" in answer.err


def test_names_of_strangers_are_exact_and_control_nothing() -> None:
    hostile = "\x1b[2J\x7f\x9b31m\u202egnp\nrow\udcff\u2028</script>é"
    answer = ListAnswer(what="methods", items=({"name": hostile, "lr": float("nan")},))
    found = document(answer.to_json() + "\n")
    assert found["items"] == [{"name": hostile, "lr": None}]


def test_where_a_command_is_refused_standard_output_is_empty(bench: Bench) -> None:
    for command in (
        ["status", "--json"],
        ["status", "--json", "--watch"],
        ["report", "leaderboard", "--json"],
        ["plan", "-m", "nonsense", "-d", TINY, "--json"],
        ["data", "check", "nonsense", "--json"],
        ["check", "--json"],
        ["run", "-m", "nonsense", "-d", TINY, "--json"],
        ["show", "0123", "--json"],
        ["gc", "--json"],
        ["data", "verify", "amos", "--json"],
    ):
        answer = bench(*command)
        assert (answer.code, answer.out) == (2, "")
        assert len(answer.err.splitlines()) == 1


def test_exit_codes_are_documented_alike_everywhere(bench: Bench) -> None:
    codes = {str(int(code)) for code in ExitCode}
    for page in ("docs/reference/cli.md", "AGENTS.md"):
        assert set(table((ROOT / page).read_text(encoding="utf-8"), "exit code")) == codes
    told = " ".join(bench("--help").out.split()).partition("Exit code:")[2]
    assert set(re.findall(r"\b(?:0|1|2|130)\b", told)) == codes
