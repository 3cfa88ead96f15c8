"""Which code computes the numbers of a part, and the record of it that goes with its version.

``python tests/versions.py`` writes the record anew once the ``version`` of every part whose code
changed was raised; with ``--same-numbers`` after a change that alters none.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import io
import json
import pkgutil
import sys
import tokenize
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.stage import Part

RECORD = Path(__file__).with_name("versions.json")
COMPUTING = ("seeds", "stages", "training", "nets", "data", "evaluation", "methods", "datasets")
"""What of ``bench`` computes numbers, as far as a part runs it."""

Record = dict[str, dict[str, Any]]


def record() -> Record:
    """Return the version of every part, and a digest of every module that a part may run."""
    names = sorted(modules())
    for name in names:
        importlib.import_module(name)
    found = {
        f"{part.__module__}.{part.__qualname__}": part
        for part in parts(Part)
        if part.__module__ in names
    }
    run = set().union(*(behind(part.__module__) for part in found.values()))
    return {
        "parts": {name: part.version for name, part in sorted(found.items())},
        "modules": {name: digest(name) for name in sorted(run)},
    }


@cache
def modules() -> frozenset[str]:
    """Return every computing module."""
    found = set()
    for top in COMPUTING:
        name = f"bench.{top}"
        folder = getattr(importlib.import_module(name), "__path__", [])
        found |= {name, *(m.name for m in pkgutil.walk_packages(folder, f"{name}."))}
    return frozenset(found)


def parts(cls: type[Part]) -> Iterator[type[Part]]:
    """Yield every subclass."""
    for sub in cls.__subclasses__():
        yield sub
        yield from parts(sub)


@cache
def source(module: str) -> str:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text()


def digest(module: str) -> str:
    """Return a digest of a module's code."""
    return hashlib.sha256(code(source(module)).encode()).hexdigest()[:16]


def code(text: str) -> str:
    """Return source text without comments, docstrings and empty lines."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for row in range(node.lineno, (node.end_lineno or node.lineno) + 1):
                lines[row - 1] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


@cache
def imports(module: str) -> frozenset[str]:
    """Return the computing modules that a module imports, also inside functions."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(source(module))]
    package = module if find_spec(module).submodule_search_locations else module.rpartition(".")[0]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                home = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*home, *([base] if base else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
        pending += ast.iter_child_nodes(node)
    return frozenset(found & modules())


@cache
def behind(module: str) -> frozenset[str]:
    """Return every computing module whose code a module may run, itself included."""
    reached, pending = {module}, [module]
    while pending:
        for name in imports(pending.pop()) - reached:
            reached.add(name)
            pending.append(name)
    return frozenset(reached)


def changed(before: Record, now: Record) -> set[str]:
    """Return the modules whose code differs."""
    names = before["modules"].keys() | now["modules"].keys()
    return {name for name in names if before["modules"].get(name) != now["modules"].get(name)}


def stale(before: Record, now: Record) -> list[str]:
    """Return the parts that may run changed code and have the version they had."""
    modules = changed(before, now)
    return [
        part
        for part, version in now["parts"].items()
        if before["parts"].get(part) == version and modules & behind(part.rpartition(".")[0])
    ]


def main() -> None:
    """Write the record, unless a version was forgotten."""
    now = record()
    if RECORD.is_file() and "--same-numbers" not in sys.argv:
        before = json.loads(RECORD.read_text())
        if forgotten := stale(before, now):
            sys.exit(
                f"{', '.join(sorted(changed(before, now)))} changed, which these run: "
                f"{', '.join(forgotten)}. Raise the version of each whose numbers change; "
                "--same-numbers if none do"
            )
    RECORD.write_text(json.dumps(now, indent=1) + "\n")


if __name__ == "__main__":
    main()
