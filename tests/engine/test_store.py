"""Stages on disk: described, found again, complete only with their receipt."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Finished
from helpers import Toy, events_of, outcomes, ran

from bench.engine import reading, worker
from bench.engine.misplaced import FILES
from bench.engine.reading import Cause, UnreadableStageError
from bench.engine.store import Store
from bench.engine.upkeep import Waste, free, waste
from bench.engine.worker import run_stage
from bench.errors import BenchError
from bench.experiment.durations import Durations
from bench.experiment.plan import graph_of
from bench.files import slug
from bench.params import digest
from bench.plugins import files

TOY = Toy(name="a")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def registered(store: Store, stage: Toy) -> Toy:
    store.register([*stage.inputs(), stage])
    return stage


def test_every_stage_of_a_plan_is_rebuilt_from_its_folder(finished: Finished, store: Store) -> None:
    graph = graph_of(finished.runs)
    store.register(graph.in_order())
    kinds = {type(stage).__name__ for stage in graph.stages.values()}
    assert kinds >= {"Images", "Truth", "Labels", "Train", "Relabel", "Predict", "Evaluate"}
    for key, stage in graph.stages.items():
        rebuilt = store.find(key)
        assert (type(rebuilt), rebuilt.key) == (type(stage), key)
        assert rebuilt == stage
        assert [p.key for p in rebuilt.inputs()] == [p.key for p in stage.inputs()]


def test_stages_lists_all_of_a_store(finished: Finished) -> None:
    listed = {stage.key for stage in finished.store.stages()}
    assert listed >= set(graph_of(finished.runs).stages)


def test_links_that_lead_in_a_circle_are_no_stages(store: Store) -> None:
    store.register([Toy(name="toy")])
    for loop in (store.root / "loop", store.root / "Toy" / "loop"):
        loop.symlink_to(loop)
    assert [folder.parent.name for folder in store.folders()] == ["Toy"]


def test_estimates_read_no_description_of_a_stage_that_is_planned(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, other, missing = (Toy(name=name) for name in ("planned", "other", "missing"))
    events_of([planned, other], store)
    store.register([missing])
    read: list[str] = []

    def parsed(path: Path) -> Any:
        read.append(path.parent.name)
        return json.loads(path.read_bytes())

    monkeypatch.setattr(reading, "parsed", parsed)
    known = {stage.key: stage for stage in (planned, missing)}
    durations = Durations.of(Store(store.root), known)
    assert read.count(store.folder(planned).name) == 0
    assert read.count(store.folder(other).name) == 1
    taken = [store.receipt(stage)["wall_seconds"] for stage in (planned, other)]
    assert durations.estimate(missing) == pytest.approx(sum(taken) / 2)


def test_a_stage_is_found_by_the_beginning_of_its_digest(store: Store) -> None:
    toy = registered(store, Toy(name="a"))
    digits = toy.key.removeprefix("Toy-")
    for text in (toy.key, toy.key[:-4], digits, digits[:5]):
        assert store.find(text).key == toy.key


def test_missing_and_ambiguous_keys_are_refused(store: Store) -> None:
    with pytest.raises(BenchError, match="0 stages"):
        store.find("Toy-0123")
    toys = [registered(store, Toy(name=f"toy{n}")) for n in range(6)]
    for key in ("Toy-", "Toy"):
        with pytest.raises(BenchError, match=r"6 stages .*Toy/toy0-.*, \.\.\.\); give more of"):
            store.find(key)
    with pytest.raises(BenchError, match="0 stages"):
        store.find(toys[0].key.replace("Toy-", "Train-"))


def test_a_store_names_no_code_of_its_own(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("evil", "evilbench"):
        (tmp_path / f"{name}.py").write_text("print('executed')\nclass Toy: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    toy = registered(store, Toy(name="a"))
    path = store.folder(toy) / "stage.json"
    written = json.loads(path.read_text())
    plugin = {"file": str(tmp_path / "evil.py"), "source": files.digest(tmp_path / "evil.py")}
    for change in (
        {"module": "evil"},
        {"module": "evilbench"},
        {"module": "bench..evil"},
        {"module": "bench.__main__", "class": "main"},
        {"module": "subprocess", "class": "Popen"},
        {"module": "bench_plugins.evil", **plugin},
        {"module": "bench_plugins.evil"},
        {"module": 1},
        {"fields": {"name": {"stage": "../../evil"}}},
        {"fields": {"needs": [{"stage": toy.key}]}},
    ):
        path.write_text(json.dumps(written | change))
        with pytest.raises(UnreadableStageError) as refused:
            store.find(toy.key)
        assert ("--plugin" in str(refused.value)) == ("file" in change)
        assert [unread.key for unread in store.survey()[1]] == [toy.key]
    for text in ("[" * 100_000, "", "[]", "null", '{"stage": 5}', "\x00", json.dumps(written)[:-9]):
        path.write_text(text)
        with pytest.raises(UnreadableStageError):
            store.find(toy.key)
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("key", ["/etc", "../Toy-0", "Toy-[", ""])
def test_a_key_is_no_path(key: str, store: Store) -> None:
    with pytest.raises(BenchError, match="0 stages"):
        store.find(key)


def cause_of(store: Store, key: str) -> Cause:
    with pytest.raises(UnreadableStageError) as refused:
        Store(store.root).find(key)
    return refused.value.unread.cause


REWRITTEN: dict[str, dict[str, Any]] = {
    "a renamed field": {"fields": {"name": "old", "conduct": "fine"}},
    "a field of another type": {"fields": {"name": "old", "seconds": "many"}},
    "a removed class": {"class": "Top"},
    "a removed module": {"module": "bench.no_such_module"},
}


@pytest.mark.parametrize("change", REWRITTEN)
def test_a_whole_description_that_this_code_cannot_use_is_of_another_version(
    change: str, store: Store
) -> None:
    old, other = registered(store, Toy(name="old")), registered(store, Toy(name="other"))
    above = registered(store, Toy(name="above", needs=(old,)))
    path = store.folder(old) / "stage.json"
    text = path.read_text()
    written = json.loads(text) | REWRITTEN[change]
    del written["sha256"]
    path.write_text(json.dumps(written | {"sha256": digest(written)}))
    for stage in (old, above):
        assert cause_of(store, stage.key).kind == "superseded"
    assert [stage.key for stage in store.stages()] == [other.key]
    path.write_text(json.dumps(written))  # nothing vouches for it
    for stage in (old, above):
        cause = cause_of(store, stage.key)
        assert (cause.kind, str(path) in cause.detail) == ("unreadable", True)
    path.write_text(text)
    assert store.find(above.key) == above


def test_a_stage_whose_version_was_raised_is_of_another_version(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = registered(store, Toy(name="old"))
    key = old.key
    monkeypatch.setattr(Toy, "version", 2)
    assert cause_of(store, key).kind == "superseded"


def test_a_package_that_is_not_installed_makes_no_other_version(store: Store) -> None:
    toy = registered(store, Toy(name="toy"))
    path = store.folder(toy) / "stage.json"
    written = json.loads(path.read_text()) | {"module": "no_such_package"}
    del written["sha256"]
    path.write_text(json.dumps(written | {"sha256": digest(written)}))
    cause = cause_of(store, toy.key)
    assert (cause.kind, "no_such_package" in cause.detail) == ("plug-in", True)


def test_an_input_whose_folder_was_removed_is_named(store: Store) -> None:
    below = Toy(name="below")
    above = registered(store, Toy(name="above", needs=(below,)))
    shutil.rmtree(store.folder(below))
    cause = cause_of(store, above.key)
    assert (cause.kind, below.key in cause.detail) == ("orphaned", True)


DOUBTS: dict[str, tuple[Waste, Callable[[Path], object]]] = {
    "deleted": ("unreadable", lambda folder: (folder / "stage.json").unlink()),
    "cut": ("unreadable", lambda folder: os.truncate(folder / "stage.json", 100)),
    "empty": ("unreadable", lambda folder: os.truncate(folder / "stage.json", 0)),
    "edited": (
        "unreadable",
        lambda folder: (folder / "stage.json").write_text(
            (folder / "stage.json").read_text().replace('"below"', '"beyond"')
        ),
    ),
    "of another": (
        "unreadable",
        lambda folder: shutil.copy(next(folder.parent.glob("other-*/stage.json")), folder),
    ),
    "folder gone": ("orphaned", shutil.rmtree),
}


@pytest.mark.parametrize("doubt", DOUBTS)
def test_no_result_is_freed_for_a_description_that_is_lost(doubt: str, store: Store) -> None:
    below, other = Toy(name="below"), Toy(name="other")
    above = Toy(name="above", needs=(below,))
    events_of([above, other], store)
    kind, spoil = DOUBTS[doubt]
    spoil(store.folder(below))
    fresh = Store(store.root)
    items = list(waste(fresh))
    assert {item.kind for item in items} == {kind}
    assert store.folder(above) in {item.path for item in items}
    assert fresh.is_done(next(unread for unread in fresh.survey()[1] if unread.key == above.key))
    fresh.register([below, above])  # as a run does
    assert {stage.key for stage in fresh.stages()} == {below.key, above.key, other.key}
    assert not list(waste(fresh))
    assert fresh.is_done(above)


def test_a_data_set_of_any_name_has_folders(store: Store) -> None:
    organs = ":".join(f"ürgan_{number}" for number in range(60))  # 500 characters
    long = Toy(name=slug(f"totalsegmentator[organs={organs}]"))
    other = Toy(name=slug(f"totalsegmentator[organs={organs}:more]"), needs=(long,))
    events_of([other], store)
    assert store.folder(long) != store.folder(other)
    assert store.is_done(other)


def test_what_a_killed_check_left_is_freed_once_it_is_old(store: Store) -> None:
    left = store.root / ".recompute.abc"
    (left / "Toy").mkdir(parents=True)
    (left / "Toy/file").write_text("some")
    assert not list(waste(store))
    for path in (left / "Toy/file", left):
        os.utime(path, (0, 0))
    (item,) = waste(store)
    assert (item.kind, item.path, item.size) == ("temporary", left, 4)
    assert free(store, [item]) == 4
    assert not left.exists()


def test_parts_of_files_are_freed_wherever_they_are_written(store: Store) -> None:
    toy = registered(store, Toy(name="toy"))
    parts = [
        store.scratch(toy) / "cases/.case.npy.0123456789abcdef",
        store.root / "results/.table.parquet.0123456789abcdef",
        store.root / ".digests.json.0123456789abcdef",
    ]
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("some")
        os.utime(part, (0, 0))
    found = list(waste(store))
    assert sorted(item.path for item in found) == sorted(parts)
    assert free(store, found) == 3 * len("some")


def test_a_preparation_sweeps_what_a_killed_one_left(store: Store) -> None:
    toy = registered(store, Toy(name="toy"))
    part = store.scratch(toy) / "cases/.case.npy.0123456789abcdef"
    part.parent.mkdir(parents=True)
    part.touch()
    os.utime(part, (0, 0))
    assert run_stage(store, toy)[0] == "done"
    assert not part.exists()


def test_what_a_process_is_computing_is_not_freed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = registered(store, Toy(name="old"))
    folder = store.folder(old)
    monkeypatch.setattr(Toy, "version", 2)
    (item,) = waste(Store(store.root))
    assert item.kind == "superseded"
    with store.lease(old).acquire(timeout=0):
        assert free(Store(store.root), [item]) == 0
        assert folder.exists()
    assert free(Store(store.root), [item]) > 0
    assert not folder.exists()


def test_runtime_settings_are_refreshed_until_the_stage_is_done(
    store: Store, tmp_path: Path
) -> None:
    registered(store, Toy(name="a", ledger=tmp_path / "old"))
    moved = registered(store, Toy(name="a", ledger=tmp_path / "new"))
    found: Any = store.find(moved.key)
    assert found.ledger == tmp_path / "new"
    assert run_stage(store, moved)[0] == "done"
    registered(store, Toy(name="a", ledger=tmp_path / "late"))
    found = store.find(moved.key)
    assert found.ledger == tmp_path / "new"


def test_the_receipt_says_what_was_made_and_how(store: Store) -> None:
    toy = registered(store, Toy(name="a"))
    assert run_stage(store, toy) == ("done", "")
    receipt = store.receipt(toy)
    assert receipt["key"] == toy.key
    assert set(receipt["sha256"]) == {"result.txt"}
    assert {"wall_seconds", "peak_memory_mb", "device", "python", "torch", "commit"} <= set(receipt)
    folder = store.folder(toy)
    left = {path.name for path in folder.iterdir()} - {"CLAIM"}
    assert left == {"stage.json", "out", "log.txt"}
    assert {path.name for path in store.out(toy).iterdir()} == {"result.txt", "DONE"}


def test_what_is_done_is_not_computed_again(store: Store, tmp_path: Path) -> None:
    toy = registered(store, Toy(name="a", ledger=tmp_path / "ledger"))
    assert [run_stage(store, toy)[0] for _ in range(3)] == ["done"] * 3
    assert ran(tmp_path / "ledger") == ["a"]


def test_a_half_written_result_is_put_aside(store: Store, tmp_path: Path) -> None:
    toy = registered(store, Toy(name="a", ledger=tmp_path / "ledger"))
    half = store.out(toy)
    half.mkdir()
    (half / "result.txt").write_text("half")
    scratch = store.scratch(toy) / "out.0123"
    scratch.mkdir(parents=True)
    (scratch / "rubbish").write_text("x")
    assert run_stage(store, toy)[0] == "done"
    assert (store.out(toy) / "result.txt").read_text() == "a"
    aside = store.root.glob(f"damaged/*/Toy/{store.folder(toy).name}/out/result.txt")
    assert [path.read_text() for path in aside] == ["half"]


def test_the_output_appears_in_one_rename(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = registered(store, Toy(name="a"))
    seen = []
    rename = Path.rename

    def spy(self: Path, target: Path) -> Path:
        seen.append((Path(target).name, store.is_done(toy)))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", spy)
    run_stage(store, toy)
    assert seen == [("out", False)]
    assert store.is_done(toy)


def test_a_failure_is_recorded_but_never_cached(store: Store, tmp_path: Path) -> None:
    toy = registered(store, Toy(name="a", behaviour="raise", ledger=tmp_path / "ledger"))
    for _ in range(2):
        outcome, message = run_stage(store, toy)
        assert outcome == "failed"
        assert "ValueError: the toy is broken" in message
        assert "log.txt" in message
    assert ran(tmp_path / "ledger") == ["a", "a"]
    assert not store.is_done(toy)
    assert not store.out(toy).exists()
    assert "Traceback" in store.log(toy).read_text()
    assert store.attempts(toy).why_failed() == "ValueError: the toy is broken"


def test_the_state_of_a_stage_is_what_became_of_it(store: Store) -> None:
    toys = {name: registered(store, Toy(name=name)) for name in ("done", "waiting", "running")}
    toys["failed"] = registered(store, Toy(name="failed", behaviour="raise"))
    toys["interrupted"] = registered(store, Toy(name="interrupted"))
    run_stage(store, toys["done"])
    run_stage(store, toys["failed"])
    store.scratch(toys["interrupted"]).mkdir()
    store.attempts(toys["interrupted"]).note_seconds(7.5)
    assert store.attempts(toys["interrupted"]).seconds() == 7.5
    with store.lease(toys["running"]).acquire(timeout=0):
        assert {name: store.state(toy) for name, toy in toys.items()} == {n: n for n in toys}
    assert store.state(toys["running"]) == "waiting"


def test_what_the_user_can_mend_is_told_without_a_traceback(store: Store) -> None:
    toy = registered(store, Toy(name="a", behaviour="refuse"))
    assert run_stage(store, toy) == ("refused", "the toy's data are bad: buy better ones")
    assert "Traceback" not in store.log(toy).read_text()


def test_a_stage_can_read_its_direct_inputs_only(store: Store) -> None:
    below = Toy(name="below")
    middle = Toy(name="middle", needs=(below,))
    top = registered(store, Toy(name="top", needs=(middle,)))
    events = events_of([top], store)
    assert set(outcomes(events).values()) == {"done"}
    context = worker.RunContext(store, top, store.out(top), lambda *_: None)
    assert context.input(middle) == store.out(middle)
    for unrelated in (below, top, Toy(name="unrelated")):
        with pytest.raises(LookupError, match=f"{unrelated.key} is not a direct input"):
            context.input(unrelated)
    peeking = registered(store, Toy(name="peeking", behaviour="peek"))
    outcome, message = run_stage(store, peeking)
    assert outcome == "failed"
    assert "is not a direct input" in message


def test_a_lost_lease_commits_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = registered(store, Toy(name="a"))
    monkeypatch.setattr("filelock.SoftFileLease.compromise", property(lambda self: "lost"))
    assert run_stage(store, toy)[0] == "busy"
    assert not store.is_done(toy)
    monkeypatch.undo()
    assert run_stage(store, toy)[0] == "done"


def test_stage_json_is_readable_and_says_all(finished: Finished) -> None:
    train = finished.of("inerrant0").rounds[-1].model
    data = json.loads((finished.store.folder(train) / "stage.json").read_text())
    assert data["class"] == "Train"
    assert data["fields"]["labels"] == {"stage": train.labels.key}
    assert data["fields"]["length"]["fields"]["steps"] == 4


@pytest.mark.parametrize("name", [*sorted(FILES), "attempt.0123", "scratch/seconds.json"])
def test_a_folder_in_the_place_of_a_file_is_moved_and_named(name: str, store: Store) -> None:
    path = store.folder(TOY) / name
    (path / "inside").mkdir(parents=True)
    assert store.state(TOY) == "waiting"
    (line,) = store.register([TOY])
    assert str(path) in line
    assert (Path(line.rpartition(" to ")[2]) / "inside").is_dir()
    assert run_stage(store, TOY)[0] == "done"


@pytest.mark.parametrize("name", ["..", ".", "scratch"])
def test_a_file_in_the_place_of_a_folder_is_moved_and_named(name: str, store: Store) -> None:
    path = Path(os.path.normpath(store.folder(TOY) / name))
    path.parent.mkdir(parents=True)
    path.write_text("in the way")
    assert store.state(TOY) == "waiting"
    (line,) = store.register([TOY])
    assert Path(line.rpartition(" to ")[2]).read_text() == "in the way"
    assert run_stage(store, TOY)[0] == "done"


def test_a_worker_moves_what_was_put_in_the_way_since(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.register([TOY])
    (store.folder(TOY) / "CLAIM").mkdir()
    assert run_stage(store, TOY)[0] == "done"
    assert "CLAIM is no file; moved to" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": "Toy-000000000000"}'])
@pytest.mark.parametrize("done", [False, True])
def test_a_damaged_description_is_written_anew_with_a_word(
    content: str, done: bool, store: Store
) -> None:
    assert store.register([TOY]) == []
    path = store.folder(TOY) / "stage.json"
    whole = path.read_text()
    if done:
        run_stage(store, TOY)
    path.write_text(content)
    (line,) = store.register([TOY])
    assert line.startswith(str(path))
    assert path.read_text() == whole
    assert store.register([TOY]) == []
