"""What the documentation says is true: its commands parse, its names exist, its example runs."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import helpers
import pytest
import tree
import typer
import walk
from pages import ROOT, table

from bench.cli import main as cli
from bench.experiment.method import Method
from bench.experiment.profiles import PROFILES
from bench.experiment.request import Request
from bench.experiment.searched import searched
from bench.experiment.selection import (
    parse_label_pcts,
    parse_methods,
    parse_networks,
    parse_numbers,
    parse_profiles,
)
from bench.params import parse_brackets, split_outside_brackets
from bench.plugins import registry

PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "AGENTS.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *ROOT.glob("docs/**/*.md"),
    ]
)
EXAMPLE = "known_mean"
"""The method that CONTRIBUTING.md adds."""


def blocks(page: Path) -> Iterator[str]:
    """Yield the fenced blocks of a page, indented ones included."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^( *)```\w*\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL):
        yield match[2]


def commands() -> list[tuple[str, str]]:
    """Return page and text of every bench command in a fenced block."""
    found = []
    for page in PAGES:
        for line in "\n".join(blocks(page)).splitlines():
            for part in line.split("&&"):
                command = part.strip().removeprefix("exec ").removesuffix(" &")
                if command.startswith("bench "):
                    found.append((str(page.relative_to(ROOT)), command))
    return found


def parsed(command: str) -> tuple[str, dict[str, Any]]:
    """Return subcommand and parameters as typer understands them; nothing is run."""
    words = shlex.split(command.replace("$SLURM_ARRAY_TASK_ID", "0"))[1:]
    group: Any = typer.main.get_command(cli.app)
    names = []
    while hasattr(group, "commands"):
        name = words.pop(0)
        assert name in group.commands, f"{command}: no command {name}"
        names.append(name)
        group = group.commands[name]
    with group.make_context(" ".join(names), words) as context:
        return " ".join(names), dict(context.params)


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 15


@pytest.mark.parametrize(("page", "command"), commands())
def test_a_documented_command_is_understood(page: str, command: str) -> None:
    name, given = parsed(command)
    if name not in ("run", "plan") or given["experiment"] or given["plugin"]:
        return  # what a file brings is run elsewhere
    named = split_outside_brackets(given["method"][0])
    methods = [text for text in named if not text.startswith(EXAMPLE)]
    parse_methods(methods or ["naive"])
    request = Request.of(None, {k: v for k, v in given.items() if k in Request.model_fields})
    parse_profiles(request.profile)
    parse_networks(request.backbone)
    parse_label_pcts(request.labelled)
    parse_numbers("fold", request.folds, 0, 4)
    for text in request.dataset:
        dataset, _ = parse_brackets(text)
        assert dataset.startswith(("./", "/")) or dataset in registry.names("datasets")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_running_text_exist(page: Path) -> None:
    group: Any = typer.main.get_command(cli.app)
    prose = re.sub(r"^( *)```.*?^\1```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for words in re.findall(r"`bench ((?:[a-z](?:[a-z-]*[a-z])? ?)+)", prose):
        first, *rest = words.split()
        assert first in group.commands, f"bench {words}"
        if hasattr(group.commands[first], "commands") and rest:
            assert rest[0] in group.commands[first].commands, f"bench {words}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {
                re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
            }
            assert anchor in slugs, target


METHODS_PAGE = (ROOT / "docs/reference/methods.md").read_text(encoding="utf-8")


def test_every_method_is_listed_and_every_listed_method_exists() -> None:
    registered = set(registry.names("methods"))
    assert set(table((ROOT / "README.md").read_text(encoding="utf-8"), "method")) == registered
    assert set(table(METHODS_PAGE, "method")) == registered
    assert set(re.findall(r"^## `(\w+)`$", METHODS_PAGE, re.MULTILINE)) == registered


@pytest.mark.parametrize("name", registry.names("methods"))
def test_parameters_and_defaults_of_a_method_are_as_documented(name: str) -> None:
    method = registry.load("methods", name, Method)  # type: ignore[type-abstract]
    section = METHODS_PAGE.split(f"## `{name}`\n")[1].split("\n## ")[0]
    if not method.model_fields:
        assert "No parameters" in section
        return
    documented = {
        field: cells[0].strip("`") for field, cells in table(section, "parameter").items()
    }
    assert set(documented) == set(method.model_fields)
    for field, text in documented.items():
        default = method.model_fields[field].get_default()
        if isinstance(default, bool) or not isinstance(default, int | float):
            assert text == str(default).lower()
        else:
            assert float(Fraction(text)) == pytest.approx(default)


@pytest.mark.parametrize("name", registry.names("methods"))
def test_ranges_that_are_searched_are_documented(name: str) -> None:
    method = registry.load("methods", name, Method)  # type: ignore[type-abstract]
    section = METHODS_PAGE.split(f"## `{name}`\n")[1].split("\n## ")[0]
    marks = {parameter: str(mark) for parameter, mark in searched(method).items()}
    assert ("| searched |" in section) == bool(marks)
    if marks:
        rows = table(section, "parameter")
        assert {name: cells[1] for name, cells in rows.items() if cells[1]} == marks


def test_data_sets_reports_and_profiles_are_documented() -> None:
    everything = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for name in set(registry.names("datasets")) - {"folder"}:
        assert f"`{name}`" in everything
    for name in registry.names("reports"):
        assert f"bench report {name}" in everything
    rows = table((ROOT / "docs/reference/cli.md").read_text(encoding="utf-8"), "profile")
    assert list(rows) == list(PROFILES)
    for name, (_, backbone, side, steps, folds) in rows.items():
        profile = PROFILES[name]
        assert f"`{parse_brackets(profile.network)[0]}`" in backbone
        numbers = [int(text.replace(",", "")) for text in (side, steps, folds)]
        assert numbers == [profile.max_side, profile.steps, profile.n_folds]


def test_every_option_of_run_is_documented() -> None:
    group: Any = typer.main.get_command(cli.app)
    page = (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    for option in group.commands["run"].params:
        assert all(f"`{name}`" in page for name in option.opts if name.startswith("-"))


def test_environment_variables_are_documented() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("bench/**/*.py"))
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for variable in set(re.findall(r"\bBENCH_[A-Z_]+\b", sources)):
        assert f"`{variable}`" in pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for file, name in re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", text):
        source = (ROOT / file).read_text(encoding="utf-8")
        assert not name or f"\ndef {name}(" in source, f"{file}::{name}"


def test_the_test_command_of_the_readme_is_what_ci_runs() -> None:
    assert "pip install tox && tox\n" in (ROOT / "README.md").read_text(encoding="utf-8")
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith('bin/tox" "$@"')


def test_the_example_of_contributing_runs_as_a_plugin(tmp_path: Path) -> None:
    (source,) = [text for text in blocks(ROOT / "CONTRIBUTING.md") if "class KnownMean" in text]
    assert len(source.splitlines()) <= 30
    (tmp_path / f"{EXAMPLE}.py").write_text(source)
    # What an installed package leaves: its metadata, found on the path.
    metadata = tmp_path / f"{EXAMPLE}-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {EXAMPLE}\nVersion: 0.1\n")
    (metadata / "entry_points.txt").write_text(f"[bench.methods]\n{EXAMPLE} = {EXAMPLE}\n")
    path = {"PYTHONPATH": str(tmp_path)}

    assert EXAMPLE in walk.bench("list", "methods", **path).out
    command = ["run", "-m", f"inerrant0,{EXAMPLE},{EXAMPLE}[power=0.5]", "--launcher", "inline"]
    command += ["-d", "phantom[n_cases=4,scale=0.25]", "-p", "smoke"]
    out, err = walk.bench(*command, "--store", tmp_path / "store", **path)
    assert err == ""
    assert "3 runs, 1 condition" in out
    assert "Known mean [power=0.5]" in out


def test_the_example_named_as_a_file_is_not_warned_of(tmp_path: Path) -> None:
    """In a process that has not imported torch yet, whose modules are not all files."""
    (source,) = [text for text in blocks(ROOT / "CONTRIBUTING.md") if "class KnownMean" in text]
    file = tmp_path / f"{EXAMPLE}.py"
    file.write_text(source)
    process = helpers.bench("list", "methods", "--plugin", str(file))
    out, err = process.communicate(timeout=60)
    assert EXAMPLE in out
    assert err == ""


def test_the_tree_is_that_of_the_code() -> None:
    assert tree.written() == tree.tree(), "run python tests/tree.py"


def test_the_root_of_the_package_holds_few_modules() -> None:
    assert len(list((ROOT / "bench").glob("*.py"))) <= 10
