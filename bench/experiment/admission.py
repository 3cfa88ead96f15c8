"""Results that a pull request adds to a leaderboard: what has to be true before they are taken."""

from __future__ import annotations

import filecmp
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bench.engine.integrity import is_sealed
from bench.errors import BenchError
from bench.experiment.packing import PATIENTS, unlike
from bench.plugins import registry
from bench.reporting.report import Report
from bench.results import packs
from bench.results.columns import CONDITION
from bench.results.files import BESIDE, Tables, results_among
from bench.results.sources import tables_of
from bench.results.tables import RESULTS

if TYPE_CHECKING:
    import pandas as pd

LEADERBOARD = "leaderboard"
MAX_BYTES = 20_000_000
"""Size of a pack in the repository."""
_BASIS = ("content", "truth", "labels", "versions")


class Admitted(NamedTuple):
    """What a pack adds to a board."""

    pack: Path
    methods: list[str]
    rows: int


def admit(base: Path, proposed: Path) -> list[Admitted]:
    """Check what one tree of the repository adds to another: packs of results, and nothing else.

    A pack lies in the folder of a board, ``leaderboard/BOARD/NAME.zip``. With it only the reports
    of that board may change, into what its tables give. Nothing of the proposed tree is executed.

    Parameters
    ----------
    base, proposed
        Checkouts of the repository without and with the pull request. In clones, what git does not
        have is not looked at.

    Raises
    ------
    BenchError
        The first thing that is not right.
    """
    changed = sorted(_changed(base, proposed))
    added = [path for path in changed if _is_addition(path, base, proposed)]
    if not added:
        boards = sorted(path.name for path in (base / LEADERBOARD).iterdir() if path.is_dir())
        raise BenchError(
            f"{proposed}: adds no pack {LEADERBOARD}/BOARD/NAME{packs.SUFFIX}, BOARD one of "
            f"{', '.join(boards)}; in a clone, `git add` it first"
        )
    touched = {path.parent for path in added}
    for path in changed:
        if path not in added and path.parent not in touched:
            raise BenchError(
                f"{path}: is changed, but results come alone: code and other files need a pull "
                "request of their own"
            )
    admitted = [_admit_pack(path, base, proposed) for path in added]
    for board in sorted(touched):
        allowed = {*_check_reports(board, base, proposed), *added}
        for path in changed:
            if path.parent == board and path not in allowed:
                raise BenchError(f"{path}: is changed, but is no report of {board}: take it back")
    return admitted


def _is_addition(path: Path, base: Path, proposed: Path) -> bool:
    new = (proposed / path).is_file() and not os.path.lexists(base / path)
    inside = len(path.parts) == 3 and path.parts[0] == LEADERBOARD
    return new and inside and packs.is_pack(path) and (base / path.parent).is_dir()


def _changed(base: Path, proposed: Path) -> Iterator[Path]:
    """Yield the files that are not the same in both trees, and links that are in either."""
    for path in _files(base) | _files(proposed):
        one, two = base / path, proposed / path
        if one.is_symlink() or two.is_symlink():
            same = one.is_symlink() and two.is_symlink() and os.readlink(one) == os.readlink(two)
        else:
            same = one.is_file() and two.is_file() and filecmp.cmp(one, two, shallow=False)
        if not same:
            yield path


def _files(tree: Path) -> set[Path]:
    """Return the files of a tree: of a clone those that git has, which alone are proposed."""
    if (tree / ".git").exists():
        return _files_of_git(tree)
    found = set()
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name != ".git"]
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        found |= {(Path(folder) / name).relative_to(tree) for name in [*names, *links]}
    return found


def _files_of_git(tree: Path) -> set[Path]:
    command = ["git", "-C", str(tree), "ls-files", "-z", "--cached"]
    try:
        listed = subprocess.run(command, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        reason = said.decode(errors="replace")
        raise BenchError(f"{tree}: git does not list its files: {reason}") from None
    return {Path(os.fsdecode(name)) for name in listed.split(b"\0") if name}


def _admit_pack(path: Path, base: Path, proposed: Path) -> Admitted:
    pack = proposed / path
    if pack.is_symlink() or pack.stat().st_size > MAX_BYTES:
        raise BenchError(f"{path}: must be a file of at most {MAX_BYTES / 1e6:.0f} MB")
    members = packs.tables_in(pack)
    for schema in PATIENTS:
        if any(member.stem.endswith(f".{schema.name}") for member in members):
            raise BenchError(f"{path}: holds pictures of scans; pack it without --pictures")
    tables = Tables.read(members)
    for schema in BESIDE:
        getattr(tables, schema.name)  # reads and checks it
    mine = {member: RESULTS.load(member) for member in results_among(members)}
    results = RESULTS.merged(mine)
    if results.empty:
        raise BenchError(f"{path}: holds no results")
    _check_origin(path, pack, results)
    others = results_among(tables_of(base / path.parent))
    loaded = {other: RESULTS.load(other) for other in others}
    for other, known in loaded.items():
        _check_new(path, results, other, known, base)
    _check_conditions(path, results, RESULTS.merged(loaded))
    _check_fits(loaded | mine, base, proposed)
    return Admitted(path, sorted(set(results["method"])), len(results))


def _check_origin(path: Path, pack: Path, results: pd.DataFrame) -> None:
    """Check that receipts and scores of every row are there, and say what the rows say."""
    for name in _BASIS:
        if (results[name] == "").any():
            raise BenchError(
                f"{path}: has rows without {name}, so nobody knows what they stand on; only what "
                "`bench run` computed can be added"
            )
    if results["software"].str.contains("with changes").any():
        raise BenchError(
            f"{path}: was computed by changed code that is in no commit; commit it, or put the "
            "method into a --plugin, and run again"
        )
    with packs.Pack(pack) as found:
        receipts, scores = found.json(packs.RECEIPTS), found.json(packs.SCORES)
    for stage in sorted(set(results["stage"])):
        receipt, text = receipts.get(stage), scores.get(stage)
        if not isinstance(receipt, dict) or not isinstance(text, str):
            raise BenchError(f"{path}: lacks the receipt of {stage}; pack it from its store")
        if receipt.get("key") != stage or not is_sealed(receipt) or not _has(receipt, text):
            raise BenchError(f"{path}: the receipt of {stage} does not match: it was edited")
    try:
        wrong = unlike(results, scores)
    except (ValueError, KeyError, TypeError, AttributeError):
        wrong = "its scores cannot be read"
    if wrong:
        raise BenchError(f"{path}: {wrong}: it was edited")


def _has(receipt: dict[str, object], text: str) -> bool:
    listed = receipt.get("sha256")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return isinstance(listed, dict) and digest in listed.values()


def _check_new(
    path: Path, results: pd.DataFrame, other: Path, known: pd.DataFrame, base: Path
) -> None:
    """Check that no run is on the board already, under its name or another."""
    where = other.relative_to(base)
    run = list(RESULTS.run)
    twice = results[run].drop_duplicates().merge(known[run].drop_duplicates(), on=run)
    if not twice.empty:
        row = twice.iloc[0]
        raise BenchError(
            f"{path}: {row['method']} at {row['label_pct']} %, fold {row['fold']} of "
            f"{row['dataset']} is in {where} already: leave it out"
        )
    for method, rows in results[results["final"]].groupby("method"):
        for name, theirs in known[known["final"]].groupby("method"):
            if set(rows["stage"]) <= set(theirs["stage"]):
                raise BenchError(
                    f"{path}: {method} is {name} of {where} under another name: leave it out"
                )


def _check_conditions(path: Path, results: pd.DataFrame, known: pd.DataFrame) -> None:
    """Check that the board has every condition: without it, nothing shows that truths agree."""
    condition = list(CONDITION)
    mine, theirs = (table[condition].drop_duplicates() for table in (results, known))
    found = mine.merge(theirs, on=condition, how="left", indicator="in")
    for _, row in found[found["in"] == "left_only"].head(1).iterrows():
        has = ", ".join(f"{name}={row[name]}" for name in CONDITION)
        raise BenchError(
            f"{path}: the board has nothing of {has}, so its truth cannot be checked: run the "
            "command of the table in leaderboard/README.md with your method"
        )


def _check_fits(loaded: Mapping[Path, pd.DataFrame], base: Path, proposed: Path) -> None:
    try:
        RESULTS.merged(loaded)
    except BenchError as error:
        raise BenchError(str(error).replace(f"{proposed}/", "").replace(f"{base}/", "")) from None


def _check_reports(board: Path, base: Path, proposed: Path) -> list[Path]:
    """Check that the reports of a board are what its tables give, and return their files."""
    tables = Tables.read(tables_of(proposed / board))
    found = []
    for name in registry.names("reports"):
        if not (base / board / f"{name}.md").is_file():
            continue
        report = registry.load("reports", name, Report)  # type: ignore[type-abstract]
        with tempfile.TemporaryDirectory() as folder:
            written = report.from_overrides("report", name, {}).build(tables).write(Path(folder))
            for made in written:
                path = board / made.name
                theirs = proposed / path
                if not theirs.is_file() or theirs.read_bytes() != made.read_bytes():
                    raise BenchError(
                        f"{path}: is not what the tables of {board} give: write it with "
                        f"`bench report {name} {board} -o {board}`"
                    )
                found.append(path)
    return found
