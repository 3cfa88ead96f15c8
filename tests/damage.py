"""Damage a finished store in every way that comes to mind, and give the command again.

``python tests/damage.py`` makes a small experiment, and for each kind of damage two copies of its
store. One gets the same command again, the other a command with new consumers, for which every
file counts as large, so that nothing but the checks before a stage reads its inputs can find it.
Afterwards the tables have to be those of an undamaged store, bit for bit, apart from times.

``-k TEXT`` takes the kinds whose names contain the text, ``--list`` names all of them, ``-j 2``
examines two side by side.
"""

from __future__ import annotations

import contextlib
import json
import math
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pandas as pd
import trees
import typer
import warm

from bench.engine.store import Store

CELL = ("-l", "50", "-f", "0", "-p", "smoke[steps=24,batch_size=2,lr=0.03]")
SAME = ("run", "-m", "naive,inerrant[rounds=1]", "--pictures", *CELL)
MORE = ("run", "-m", "naive,entropy_min,inerrant[rounds=2]", "--pictures", *CELL)
BESIDE = ("run", "-m", "inerrant[rounds=1]", "--pictures", *CELL, "-f", "1")
"""Another fold, which no command reads: files of its stages stand in for others'."""
TIMES = ["device_s", "peak_mb"]

Patch = Literal["", "large files", "stop in training", "stop in preparation"]
Spoil = Callable[[Path], object]


class Answer(NamedTuple):
    """How a command ended, and all that it printed."""

    code: int | None
    said: str


class Kind(NamedTuple):
    """A kind of damage."""

    name: str
    spoil: Spoil
    """Damages the store at a path."""
    victim: str = ""
    """Pattern of the folder whose stage has to be named; empty: nothing has to be said."""
    base: Literal["finished", "training", "preparation"] = "finished"
    extra: tuple[str, ...] = ()
    """A command to give first, which has to end well, or to refuse in one line."""


# --- ways to damage a file


def flip(path: Path, where: float) -> None:
    content = bytearray(path.read_bytes())
    content[round(where * (len(content) - 1))] ^= 1 << 4
    path.write_bytes(content)


def stand_in(path: Path) -> Path:
    """Return a file of another case or stage of the same kind, which differs."""
    inside = path.relative_to(path.parents[2 if path.parent.name == "out" else 3])
    others = sorted(path.parent.glob(f"*{path.suffix}"))
    for name in (path.name, f"*{path.suffix}"):
        pattern = "/".join(["*", *inside.parts[1:-1], name])
        others += sorted(path.parents[len(inside.parts) - 1].glob(pattern))
    for other in others:
        if other.read_bytes() != path.read_bytes():
            return other
    raise LookupError(f"nothing could stand in for {path}")


def swap(first: Path, second: Path) -> None:
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])


WAYS: dict[str, Callable[[Path], object]] = {
    "first bits": partial(flip, where=0.0),
    "middle bit": partial(flip, where=0.5),
    "last bits": partial(flip, where=1.0),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "deleted": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "of another": lambda path: path.write_bytes(stand_in(path).read_bytes()),
}
ALONE = ("Images/", "Truth/*/out/index", "Layers/")
"""Files for which there is no other that could stand in."""
OUTPUTS = (
    "Images/*/out/images.npy",
    "Images/*/out/index.json",
    "Truth/*/out/case_001.npz",
    "Truth/*/out/index.json",
    "Labels/*-f0-*/out/shown.npy",
    "Labels/*-f0-*/out/slices/index.npz",
    "Labels/*-f0-*/out/slices/slices.bin",
    "Labels/*-f0-*/out/split.json",
    "Train/*-f0-*-masked-r0-*/out/segmenter.safetensors",
    "Train/*-f0-*-masked-r0-*/out/cost.json",
    "Train/*-f0-*-masked-r0-*/out/grid.json",
    "Train/*-f0-*-masked-r0-*/out/events.jsonl",
    "Train/*-f0-*-confidence-r1-*/out/confidence.safetensors",
    "Relabel/*-f0-*/out/slices/index.npz",
    "Relabel/*-f0-*/out/slices/slices.bin",
    "Relabel/*-f0-*/out/shown.npy",
    "Relabel/*-f0-*/out/selections/case_003.npz",
    "Predict/*-f0-*-unmasked-r0-*/out/case_001.nii.gz",
    "Evaluate/*-f0-*-unmasked-r0-*/out/cases.json",
    "Audit/*-f0-*/out/audit.json",
    "Targets/*-f0-*/out/targets.json",
    "Layers/*/out/layers.json",
    "PredictionPictures/*-f0-*-unmasked-r0-*/out/pictures.json",
    "RelabelPictures/*-f0-*/out/pictures.json",
    "Sheet/*-f0-*/out/sheet.json",
)
RECEIPT = "Train/*-f0-*-masked-r0-*/out/DONE"
DESCRIPTION = "Train/*-f0-*-masked-r0-*/stage.json"


def one(root: Path, pattern: str) -> Path:
    (found,) = root.glob(pattern)
    return found


def victim(pattern: str) -> str:
    """Return the pattern of the stage's folder."""
    return "/".join(pattern.split("/")[:2])


def at(pattern: str, way: Callable[[Path], object]) -> Spoil:
    return lambda root: way(one(root, pattern))


def edited(change: Callable[[Any], object]) -> Callable[[Path], None]:
    """Return what edits a JSON file, which stays valid."""

    def edit(path: Path) -> None:
        data = json.loads(path.read_bytes())
        before = json.dumps(data)
        change(data)
        assert json.dumps(data) != before
        path.write_text(json.dumps(data, indent=1))

    return edit


def a_digit(path: Path) -> None:
    """Change the first decimal of the last number: the file stays valid, and of the same length."""
    text = path.read_text()
    found = list(re.finditer(r"\d\.(\d)\d*", text))[-1]
    digit = str((int(found[1]) + 1) % 10)
    path.write_text(text[: found.start(1)] + digit + text[found.end(1) :])


def output_kinds() -> Iterator[Kind]:
    for pattern in OUTPUTS:
        kind, *_, name = pattern.split("/")
        for way, spoil in WAYS.items():
            if way == "of another" and pattern.startswith(ALONE):
                continue
            yield Kind(f"{kind} {name}: {way}", at(pattern, spoil), victim(pattern))


def edit_kinds() -> Iterator[Kind]:
    edits: dict[str, tuple[str, Callable[[Path], object]]] = {
        "HD95 edited": ("Evaluate/*-f0-*-unmasked-r0-*/out/cases.json", edited(_other_hd95)),
        "digit edited": ("Evaluate/*-f0-*-unmasked-r0-*/out/cases.json", a_digit),
        "case removed": (
            "Evaluate/*-f0-*-unmasked-r0-*/out/cases.json",
            edited(lambda rows: rows.pop()),
        ),
        "case added": (
            "Evaluate/*-f0-*-unmasked-r0-*/out/cases.json",
            edited(lambda rows: rows.append(rows[0] | {"case": "case_009"})),
        ),
        "count edited": (
            "Audit/*-f0-*/out/audit.json",
            edited(lambda rows: rows[0].update(tp=rows[0]["tp"] + 1)),
        ),
        "target edited": (
            "Targets/*-f0-*/out/targets.json",
            edited(lambda rows: rows[0].update(voxels=rows[0]["voxels"] + 1)),
        ),
        "cost edited": (
            "Train/*-f0-*-masked-r0-*/out/cost.json",
            edited(lambda cost: cost["passes_per_step"].update(segmenter=9.0)),
        ),
        "loss edited": ("Train/*-f0-*-masked-r0-*/out/events.jsonl", a_digit),
        "line removed": (
            "Train/*-f0-*-masked-r0-*/out/events.jsonl",
            lambda path: path.write_text(path.read_text().splitlines(keepends=True)[0]),
        ),
        "NUL bytes": (
            "Train/*-f0-*-masked-r0-*/out/events.jsonl",
            lambda path: path.write_bytes(path.read_bytes() + bytes(64)),
        ),
        "case moved": (
            "Labels/*-f0-*/out/split.json",
            edited(lambda split: split["train"].append(split["test"].pop())),
        ),
        "start moved": (
            "Images/*/out/index.json",
            edited(lambda index: index["cases"][1].update(start=0)),
        ),
    }
    for name, (pattern, way) in edits.items():
        yield Kind(f"{pattern.split('/')[0]}: {name}", at(pattern, way), victim(pattern))
    yield Kind(
        "Predict: two cases swapped",
        lambda root: swap(*sorted(root.glob("Predict/*-f0-*-unmasked-r0-*/out/*.nii.gz"))[:2]),
        "Predict/*-f0-*-unmasked-r0-*",
    )


def _other_hd95(rows: list[dict[str, Any]]) -> None:
    row = next(row for row in rows if math.isfinite(row["hd95_mm"]))
    row["hd95_mm"] = row["hd95_mm"] * 2 + 1


def receipt_kinds() -> Iterator[Kind]:
    ways: dict[str, Callable[[Path], object]] = {
        **{name: WAYS[name] for name in ("empty", "zeros", "cut", "deleted", "a folder")},
        "{}": lambda path: path.write_text("{}"),
        "garbage": lambda path: path.write_bytes(b"\xff\xfe\0garbage"),
        "of another stage": lambda path: path.write_bytes(
            next(
                other
                for other in path.parents[2].glob("*/out/DONE")
                if other.parents[1] != path.parents[1]
            ).read_bytes()
        ),
        "digest edited": edited(
            lambda receipt: receipt["sha256"].update({"segmenter.safetensors": "0" * 64})
        ),
        "size edited": edited(
            lambda receipt: receipt["bytes"].update({"segmenter.safetensors": 7})
        ),
        "file removed": edited(
            lambda receipt: [receipt[name].pop("cost.json") for name in ("sha256", "bytes")]
        ),
        "seconds edited": edited(lambda receipt: receipt.update(wall_seconds=3600.0)),
        "device edited": edited(lambda receipt: receipt.update(device="cpv")),
        "memory not a number": edited(lambda receipt: receipt.update(peak_memory_mb=float("nan"))),
    }
    for name, way in ways.items():
        yield Kind(f"DONE: {name}", at(RECEIPT, way), victim(RECEIPT))


def folder_kinds() -> Iterator[Kind]:
    for pattern in dict.fromkeys(map(victim, OUTPUTS)):
        name = pattern.split("/")[0]
        role = " of a confidence" if "confidence" in pattern else ""
        yield Kind(f"{name}{role}: folder deleted", at(pattern, shutil.rmtree))
    train = victim(RECEIPT)
    yield Kind("Trainings: all deleted", at("Train", shutil.rmtree))
    yield Kind("out: deleted", at(f"{train}/out", shutil.rmtree))
    yield Kind("out: a file", at(f"{train}/out", _a_file), train)
    yield Kind("out: empty", at(f"{train}/out", _emptied), train)
    yield Kind("stage folder: a file", at(train, _a_file), train)
    yield Kind("Trainings: a file", at("Train", _a_file))
    for name in ("stage.json", "FAILED", "CLAIM", "log.txt", "events.jsonl", "attempt.0a0b0c0d"):
        yield Kind(f"{name}: a folder", at(train, partial(_folder, name=name)))


def _a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


def _folder(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir(parents=True)
    (folder / name / "inside").touch()


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def beside_kinds() -> Iterator[Kind]:
    """Yield damage to what lies beside the outputs: nothing of it reaches a table."""
    texts = {"empty": "", "garbage": "\0{", "[]": "[]", "{}": "{}", "null": "null"}
    for name, text in texts.items():
        spoil = at(DESCRIPTION, partial(_write, text=text))
        yield Kind(f"stage.json: {name}", spoil, victim(DESCRIPTION))
    yield Kind("stage.json: deleted", at(DESCRIPTION, Path.unlink))
    for name, way in {"of another": _another_description, "edited": edited(_other_seed)}.items():
        yield Kind(f"stage.json: {name}", at(DESCRIPTION, way), victim(DESCRIPTION))
    train = victim(RECEIPT)
    for name in ("FAILED", "CLAIM", "log.txt", "events.jsonl", "attempt.0a0b0c0d"):
        yield Kind(f"{name}: binary", at(train, partial(_put, name=name)))
    yield Kind("scratch: left over", at(train, partial(_put, name="scratch/resume.pt")))
    for name in ("out/extra", "out/.DS_Store", "extra", "../extra", "../../extra", ".x.0123"):
        yield Kind(f"extra file: {name}", at(train, partial(_put, name=name)))
    yield Kind("extra folder", lambda root: (root / "Train/nothing/out").mkdir(parents=True))
    yield Kind("link to itself", at(train, lambda path: (path / "loop").symlink_to(path)))
    for name in ("loop", "Train/loop"):
        yield Kind(f"link in a circle: {name}", partial(_circle, name=name))
    for way in ("first bits", "cut", "empty", "zeros", "deleted", "a folder"):
        yield Kind(f"digests.json: {way}", at("digests.json", WAYS[way]))
    yield Kind("digests.json: edited", at("digests.json", _digests_edited))
    for text in ("[]", "{}", '"x"'):
        yield Kind(f"digests.json: {text}", at("digests.json", partial(_write, text=text)))
    for way in ("cut", "empty", "zeros", "deleted", "a folder"):
        yield Kind(f"experiment: {way}", partial(_experiments, way=WAYS[way]))


def gc_kinds() -> Iterator[Kind]:
    """Yield damage to descriptions after which space is freed, which must cost no result."""
    gc = ("gc", "--yes")
    for pattern in ("Truth/*", "Labels/*-f0-*", victim(RECEIPT)):
        name, description = pattern.split("/")[0], f"{pattern}/stage.json"
        for way in ("cut", "empty", "zeros", "deleted"):
            yield Kind(f"gc, stage.json of {name}: {way}", at(description, WAYS[way]), extra=gc)
        way = edited(lambda data: data["fields"].popitem())
        yield Kind(f"gc, stage.json of {name}: edited", at(description, way), extra=gc)
        if not name.startswith("Truth"):
            yield Kind(
                f"gc, stage.json of {name}: of another",
                at(description, _another_description),
                extra=gc,
            )
        yield Kind(f"gc, {name}: folder deleted", at(pattern, shutil.rmtree), extra=gc)


def _experiments(root: Path, way: Callable[[Path], object]) -> None:
    for path in sorted(root.glob("experiments/*")):
        way(path)


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _put(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\xff\0\xfe")


def _circle(root: Path, name: str) -> None:
    (root / name).symlink_to(root / name)


def _another_description(path: Path) -> None:
    others = (other for other in path.parents[1].glob("*/stage.json") if other != path)
    path.write_bytes(next(others).read_bytes())


def _other_seed(description: dict[str, Any]) -> None:
    description["fields"]["seed"] = 5


def _digests_edited(path: Path) -> None:
    text = path.read_text()
    found = list(re.finditer(r'"([0-9a-f]{64})"', text))[-1]
    path.write_text(text[: found.start(1)] + "0" * 64 + text[found.end(1) :])


def table_kinds() -> Iterator[Kind]:
    for name in ("", ".audit", ".curves", ".pictures", ".targets", ".layers"):
        pattern = f"results/*[0-9a-f]{name}.parquet"
        for way in (way for way in WAYS if way not in ("longer", "of another")):
            reads = ("report", "html" if name else "leaderboard")
            yield Kind(f"results{name}: {way}", at(pattern, WAYS[way]), extra=reads)
    for way in ("cut", "empty", "zeros", "deleted", "a folder"):
        reads = ("report", "leaderboard")
        yield Kind(f"results request: {way}", at("results/*.toml", WAYS[way]), extra=reads)


def interrupted_kinds() -> Iterator[Kind]:
    scratch = "Train/*-masked-r0-*/scratch"
    for way, spoil in WAYS.items():
        if way != "of another":
            yield Kind(f"resume.pt: {way}", at(f"{scratch}/resume.pt", spoil), base="training")
    yield Kind("resume.pt: of another", at(f"{scratch}/resume.pt", _of_another), base="training")
    for text in ("", "{", "[1]", '"x"', "null", "NaN", "-9", "1e999", "\0"):
        spoil = partial(_write, text=text)
        name = f"seconds.json: {text!r}"
        yield Kind(name, at(f"{scratch}/seconds.json", spoil), base="training")
    for way in ("last bits", "cut", "empty", "zeros", "deleted"):
        log = "Train/*-masked-r0-*/events.jsonl"
        yield Kind(f"unfinished events.jsonl: {way}", at(log, WAYS[way]), base="training")
    for content in (b"", b"filelock/2\npid", b"\xff\0"):
        spoil = partial(_old_claim, content=content)
        yield Kind(f"CLAIM: {content!r}", at(victim(scratch), spoil), base="training")
    unfinished = victim(scratch)
    for name in ("stage.json", "FAILED", "CLAIM", "log.txt", "events.jsonl", "attempt.0a0b0c0d"):
        spoil = partial(_folder, name=name)
        yield Kind(f"unfinished {name}: a folder", at(unfinished, spoil), unfinished, "training")
    spoil = partial(_folder, name="seconds.json")
    yield Kind("seconds.json: a folder", at(scratch, spoil), unfinished, "training")
    yield Kind("scratch: a file", at(scratch, _a_file), unfinished, "training")
    yield Kind("unfinished folder: a file", at(unfinished, _a_file), unfinished, "training")
    for name in ("out.0123/half", "attempt.1", ".resume.pt.0123456789abcdef"):
        spoil = partial(_put, name=f"scratch/{name}")
        yield Kind(f"scratch: {name}", at(victim(scratch), spoil), base="training")
    for way in ("first bits", "middle bit", "cut", "empty", "zeros", "deleted", "a folder"):
        for suffix in (".npz", ".json"):
            spoil = partial(_first, pattern=f"Truth/*/scratch/cases/*{suffix}", way=WAYS[way])
            yield Kind(f"unfinished Truth {suffix}: {way}", spoil, base="preparation")
    yield Kind(
        "unfinished Truth: cases a file", at("Truth/*/scratch/cases", _a_file), base="preparation"
    )
    yield Kind("unfinished Truth: cases swapped", _swap_pieces, base="preparation")


def _of_another(path: Path) -> None:
    header, _, state = path.read_bytes().partition(b"\n")
    said = json.loads(header)
    path.write_bytes(json.dumps(said | {"stage": "Train-000000000000"}).encode() + b"\n" + state)


def _old_claim(folder: Path, content: bytes) -> None:
    (folder / "CLAIM").write_bytes(content)
    os.utime(folder / "CLAIM", (0, 0))


def _first(root: Path, pattern: str, way: Callable[[Path], object]) -> None:
    way(sorted(root.glob(pattern))[0])


def _swap_pieces(root: Path) -> None:
    swap(*sorted(root.glob("Truth/*/scratch/cases/*.npz"))[:2])


def kinds() -> list[Kind]:
    return [
        *table_kinds(),
        *beside_kinds(),
        *gc_kinds(),
        *interrupted_kinds(),
        *folder_kinds(),
        *receipt_kinds(),
        *edit_kinds(),
        *output_kinds(),
    ]


# --- commands


def command(*arguments: str | Path, patch: Patch = "") -> Answer:
    """Run ``bench`` in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*warm.LIBRARIES, "bench.cli.main", "damage"])
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / "printed"
        process = context.Process(target=_command, args=([*map(str, arguments)], printed, patch))
        process.start()
        process.join(300)
        if process.exitcode is None:
            process.kill()
            process.join()
        return Answer(process.exitcode, printed.read_text(errors="replace"))


def _command(arguments: list[str], printed: Path, patch: Patch) -> None:
    from bench.cli.main import main

    for stream in (1, 2):
        os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1) for stream in (1, 2))
    os.environ |= {"COLUMNS": "300", "OMP_NUM_THREADS": "1"}
    _patched(patch)
    sys.argv = ["bench", *arguments]
    main()


def _patched(patch: Patch) -> None:
    """Change this process for the test, as no command line can."""
    from bench.engine import integrity, worker
    from bench.engine.launchers import inline
    from bench.stages.pieces import Pieces

    def in_a_worker(store: Store, stage: Any, wait_seconds: float) -> Any:
        """Run a stage as a worker process does, which knows its key and the store alone."""
        return worker._answer(Store(store.root), stage.key, lambda *_: None, wait_seconds)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    if patch == "large files":
        integrity.SMALL = -1
        inline.run_stage = in_a_worker  # type: ignore[assignment]
    if patch == "stop in training":
        os.environ["BENCH_CHECKPOINT_SECONDS"] = "0"
        saved, count = worker.RunContext.saved, [0]

        def save(self: worker.RunContext) -> None:
            saved(self)
            count[0] += 1
            if count[0] > 30:  # in the second training
                stop()

        worker.RunContext.saved = save  # type: ignore[method-assign]
    if patch == "stop in preparation":
        finish, pieces = Pieces._finish, list[str]()

        def slowly(self: Any, dataset: Any, case: Any, write: Any) -> Any:
            if len(pieces) == 4:
                stop()
            pieces.append(case.id)
            return finish(self, dataset, case, write)

        os.environ["BENCH_CORES"] = "1"
        Pieces._finish = slowly  # type: ignore[method-assign]


# --- verdicts


def tables(root: Path) -> dict[str, pd.DataFrame]:
    """Return the tables of a store without what differs from run to run."""
    files = sorted((root / "results").glob("*.parquet"))
    found = {path.name: pd.read_parquet(path) for path in files}
    return {name: table.drop(columns=TIMES, errors="ignore") for name, table in found.items()}


def equal(first: dict[str, pd.DataFrame], second: dict[str, pd.DataFrame]) -> bool:
    return first.keys() == second.keys() and all(first[n].equals(second[n]) for n in first)


def named(said: str, folder: Path | None) -> bool:
    """Tell whether the damage was named: the stage, by key or folder, and what is wrong with it."""
    if folder is None:
        return False
    key = f"{folder.parent.name}-{folder.name[-12:]}"
    return any(
        (key in line or folder.name in line)
        and re.search("damaged|is gone|missing|does not match|bytes, not", line)
        for line in said.splitlines()
    )


def left_over(root: Path) -> list[str]:
    """Return what a finished store of the command should not hold, and what is damaged in it."""
    store = Store(root)
    bad = [str(p) for p in root.rglob("*") if re.fullmatch(r"\..+\.[0-9a-f]{16}", p.name)]
    for stage in store.stages():
        folder = store.folder(stage)
        if "-f1-" in folder.name:
            continue
        bad += [f"{stage.key}: {store.state(stage)}"] * (store.state(stage) != "done")
        if damage := store.damage(stage, thorough=True):
            bad.append(f"{stage.key}: {damage}")
    return bad


def _receipts(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.glob("*/*/out/DONE") if path.is_file()}


class Verdict(NamedTuple):
    """What came of a command on a damaged store."""

    code: int | None
    named: bool
    equal: bool
    problem: str


class Laboratory:
    """Finished and interrupted stores in a folder, to be copied and damaged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "tiny"
        if not self._data.exists():
            trees.nnunet(self._data, 6, hidden={4: ("spleen",)})
        self._expected: dict[tuple[str, ...], dict[str, pd.DataFrame]] = {}
        stops: dict[str, Patch] = {
            "training": "stop in training",
            "preparation": "stop in preparation",
        }
        for name, patch in stops.items():
            if not (folder / name).exists():
                self.give(SAME, folder / name, patch)
        if not (folder / "finished").exists():
            for arguments in (BESIDE, SAME):
                shutil.rmtree(folder / "finished" / "results", ignore_errors=True)
                answer = self.give(arguments, folder / "finished")
                assert answer.code == 0, answer.said
        for arguments in (SAME, MORE):
            self._expected[arguments] = self._reference(arguments)

    def give(self, arguments: tuple[str, ...], store: Path, patch: Patch = "") -> Answer:
        if arguments[0] == "gc":
            where: tuple[str | Path, ...] = ("--store", store)
        elif arguments[0] == "report":
            where = ("--store", store, "-o", store.with_name(f"{store.name}-report"))
        else:
            where = ("-d", self._data, "--launcher", "inline", "--store", store)
        return command(*arguments, *where, patch=patch)

    def _reference(self, arguments: tuple[str, ...]) -> dict[str, pd.DataFrame]:
        root = self._copy("finished")
        shutil.rmtree(root / "results")
        answer = self.give(arguments, root)
        assert answer.code == 0, answer.said
        found = tables(root)
        (results,) = [table for table in found.values() if "dsc" in table]
        assert (results["dsc"] > 0).sum() > 5, "nothing was learnt: equal tables mean nothing"
        return found

    def _copy(self, base: str) -> Path:
        target = self.folder / f"copy-{os.getpid()}-{threading.get_ident()}"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder / base, target)
        return target

    def examine(self, kind: Kind) -> list[Verdict]:
        """Damage copies and give the same command, then one with new consumers where it can be."""
        consumers = (False, True) if kind.base == "finished" and not kind.extra else (False,)
        return [self._examine(kind, consumer) for consumer in consumers]

    def _examine(self, kind: Kind, consumer: bool) -> Verdict:
        root = self._copy(kind.base)
        folder = one(root, kind.victim) if kind.victim else None
        arguments = MORE if consumer else SAME
        patch: Patch = "large files" if consumer else ""
        if not kind.name.startswith("results"):
            shutil.rmtree(root / "results", ignore_errors=True)
        kind.spoil(root)
        receipts = _receipts(root)
        if kind.extra:
            first = self.give(kind.extra, root)
            if "Traceback" in first.said or first.code not in (0, 2):
                return Verdict(first.code, False, False, "first: " + first.said[-300:])
        answer = self.give(arguments, root, patch)
        problem = ""
        if "Traceback" in answer.said:
            problem = "traceback: " + answer.said[-1500:]
        elif answer.code != 0:
            problem = answer.said[-300:]
        found = tables(root) if answer.code == 0 else {}
        expected = self._expected[arguments]
        same = equal({name: found.get(name, pd.DataFrame()) for name in expected}, expected)
        if not problem and kind.extra[:1] == ("gc",):
            lost = receipts.items() - _receipts(root).items()
            problem = f"{len(lost)} results were lost" if lost else ""
        if not problem and not same:
            problem = "another table"
        if not problem and not consumer and (bad := left_over(root)):
            problem = "; ".join(bad)
        was_named = named(answer.said, folder)
        if not problem and folder and not consumer and not was_named:
            problem = "not named: " + answer.said[:300]
        return Verdict(answer.code, was_named, same, problem)


def main(
    keep: Annotated[str, typer.Option("-k", help="Part of the names of the kinds.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="Name the kinds and stop.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Keep the stores here.")] = None,
    skip: Annotated[str, typer.Option(help="Part of the names of kinds to leave out.")] = "\n",
    every: Annotated[int, typer.Option(help="Take every n-th kind.")] = 1,
    jobs: Annotated[int, typer.Option("-j", help="Kinds side by side.")] = 1,
) -> None:
    """Damage stores, and print what came of it."""
    chosen = [kind for kind in kinds() if keep in kind.name and skip not in kind.name]
    chosen = chosen[::every]
    if listed:
        print("\n".join(kind.name for kind in chosen))
        return
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory())
        laboratory = Laboratory(folder or Path(temporary))
        started, counts = time.monotonic(), Counter[str]()
        pool = stack.enter_context(ThreadPoolExecutor(jobs))
        for kind, verdicts in zip(chosen, pool.map(laboratory.examine, chosen), strict=True):
            row = [f"{kind.name:<44}"]
            problems = []
            for verdict in verdicts:
                what = "named" if verdict.named else "silent"
                row.append(f"{what:<6} exit {verdict.code} {'equal' if verdict.equal else 'OTHER'}")
                counts["commands"] += 1
                counts["wrong tables"] += verdict.code == 0 and not verdict.equal
                counts["tracebacks"] += "Traceback" in verdict.problem
                problems += [verdict.problem] * bool(verdict.problem)
            counts["named"] += bool(kind.victim) and not problems
            counts["repaired without a word"] += not kind.victim and not problems
            counts["problems"] += bool(problems)
            print(" | ".join(row), *problems, sep="\n    ! " if problems else "", flush=True)
        print(
            f"{len(chosen)} kinds, {counts['commands']} commands, "
            f"{time.monotonic() - started:.0f} s: {counts['named']} named and repaired, "
            f"{counts['repaired without a word']} repaired or harmless, "
            f"{counts['problems']} problems, {counts['wrong tables']} wrong tables, "
            f"{counts['tracebacks']} tracebacks"
        )
        raise typer.Exit(bool(counts["problems"]))


if __name__ == "__main__":
    typer.run(main)
