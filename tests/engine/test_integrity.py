"""Damaged results are found before they are read, named, moved away and computed again."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trees
from helpers import Toy, events_of, outcomes, ran, workers_find_helpers

from bench.data.dataset import Case
from bench.datasets.folder import Folder
from bench.engine import claim
from bench.engine.attempts import MAX_DEATHS
from bench.engine.events import EventLog, read_events
from bench.engine.launcher import Launcher
from bench.engine.launchers.inline import Inline
from bench.engine.launchers.local import Local
from bench.engine.parsing import MAX_BYTES
from bench.engine.store import Store
from bench.engine.worker import run_stage, set_aside
from bench.experiment.profiles import parse_profile
from bench.experiment.selection import parse_datasets, preparations
from bench.stage import Stage
from bench.training.resume import load_state, save_state


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped bit": (lambda out: flip(out / "result.txt"), "content of result.txt does not match"),
    "cut": (lambda out: (out / "result.txt").write_text(""), "has 0 bytes, not the 5 that"),
    "longer": (lambda out: (out / "result.txt").write_text("below!"), "has 6 bytes, not the 5"),
    "deleted": (lambda out: (out / "result.txt").unlink(), "result.txt is missing"),
    "receipt empty": (lambda out: (out / "DONE").write_text(""), "DONE is missing or unreadable"),
    "receipt list": (lambda out: (out / "DONE").write_text("[]"), "DONE is missing or unreadable"),
    "receipt binary": (lambda out: (out / "DONE").write_bytes(b"\xff\0"), "DONE is missing"),
    "receipt huge": (
        lambda out: os.truncate(out / "DONE", MAX_BYTES + 1),
        f"DONE has {MAX_BYTES + 1} bytes, must be at most {MAX_BYTES}",
    ),
    "receipt gone": (lambda out: (out / "DONE").unlink(), "DONE is missing or unreadable"),
    "folder gone": (shutil.rmtree, "is gone"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_input_is_named_moved_and_computed_again(
    kind: str, store: Store, tmp_path: Path
) -> None:
    spoil, words = DAMAGES[kind]
    below = Toy(name="below", ledger=tmp_path / "ledger")
    above = Toy(name="above", needs=(below,), ledger=tmp_path / "ledger")
    events_of([below], store)
    spoil(store.out(below))
    store.register([above])
    outcome, message = run_stage(store, above)
    assert outcome == "damaged"
    assert words in message
    assert not store.is_done(below)
    assert not store.out(below).exists()
    assert set(outcomes(events_of([above], store)).values()) == {"done"}
    assert (store.out(above) / "result.txt").read_text() == "above below"
    assert ran(tmp_path / "ledger") == ["below", "below", "above"]
    kept = list(store.root.glob("damaged/*/Toy/*/out"))
    assert len(kept) == (kind != "folder gone")


@pytest.mark.parametrize("launcher", [Inline(), Local()])
def test_a_launcher_computes_what_turns_out_to_be_damaged(
    launcher: Launcher, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers_find_helpers(monkeypatch, tmp_path)
    ledger = tmp_path / "ledger"
    base = Toy(name="base", ledger=ledger)
    middle = [Toy(name=f"middle{n}", needs=(base,), ledger=ledger) for n in range(3)]
    top = Toy(name="top", needs=tuple(middle), ledger=ledger)
    events_of(middle, store)
    for stage in (base, middle[0], middle[2]):
        flip(store.out(stage) / "result.txt")
    (store.out(middle[1]) / "DONE").unlink()
    events = events_of([top], store, launcher)
    damaged = {event.stage.key for event in events if event.kind == "damaged"}
    assert damaged == {stage.key for stage in (base, middle[0], middle[2])}
    assert outcomes(events) == {stage.title: "done" for stage in (base, *middle, top)}
    assert sorted(ran(ledger)[4:]) == ["base", "middle0", "middle1", "middle2", "top"]


@pytest.mark.parametrize("launcher", [Inline(), Local()])
def test_a_stage_that_waits_for_more_than_what_is_damaged_does_not_begin_before(
    launcher: Launcher, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers_find_helpers(monkeypatch, tmp_path)
    ledger = tmp_path / "ledger"
    base = Toy(name="base", ledger=ledger)
    late = Toy(name="late", needs=(Toy(name="before", ledger=ledger),), ledger=ledger)
    reader = Toy(name="reader", needs=(base,), ledger=ledger)
    both = Toy(name="both", needs=(base, late), ledger=ledger)
    events_of([base], store)
    flip(store.out(base) / "result.txt")
    events = events_of([reader, both], store, launcher)
    told = [(event.kind, event.stage.title) for event in events]
    assert told.count(("damaged", "base")) == 1
    assert told.index(("started", "both")) > max(
        told.index(("done", "late")), told.index(("done", "base"))
    )
    assert told.count(("started", "both")) == 1
    assert outcomes(events) == dict.fromkeys(("base", "before", "late", "reader", "both"), "done")


def test_an_output_that_is_damaged_each_time_ends_in_a_failure(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = Toy(name="below")
    above = Toy(name="above", needs=(below,))
    commit = Store.commit

    def on_a_bad_disk(self: Store, stage: Stage, made: Path, receipt: dict[str, object]) -> bool:
        done = commit(self, stage, made, receipt)
        if stage == below:
            (self.out(stage) / "result.txt").write_text("x")
        return done

    monkeypatch.setattr(Store, "commit", on_a_bad_disk)
    events = events_of([above], store)
    assert outcomes(events) == {"below": "done", "above": "failed"}
    (failure,) = [event for event in events if event.kind == "failed"]
    assert "check disk and memory" in failure.message


def test_what_tables_are_made_of_is_hashed_whatever_its_size(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.engine.integrity.SMALL", -1)
    toy = Toy(name="a")
    store.register([toy])
    EventLog(store.events(toy), "a").write(0, {"loss": 1.0})
    assert run_stage(store, toy)[0] == "done"
    flip(store.out(toy) / "result.txt")
    assert store.damage(toy) is None
    flip(store.out(toy) / "events.jsonl")
    assert store.damage(toy) == "the content of events.jsonl does not match its checksum"


def test_a_receipt_that_was_edited_is_that_of_a_damaged_output(store: Store) -> None:
    toy = Toy(name="a")
    events_of([toy], store)
    path = store.out(toy) / "DONE"
    receipt = json.loads(path.read_text())
    path.write_text(json.dumps(receipt | {"device": "cpv"}))
    assert store.damage(toy) == "DONE is missing or unreadable"
    del receipt["receipt_sha256"]  # those of earlier versions had none
    path.write_text(json.dumps(receipt))
    assert store.damage(toy) is None


def test_a_result_that_another_process_committed_is_never_replaced(
    store: Store, tmp_path: Path
) -> None:
    toy = Toy(name="a")
    events_of([toy], store)
    before = (store.out(toy) / "DONE").read_bytes()
    made = tmp_path / "made"
    made.mkdir()
    (made / "result.txt").write_text("late")
    assert not store.commit(toy, made, {"key": toy.key})
    assert not made.exists()
    assert (store.out(toy) / "result.txt").read_text() == "a"
    assert (store.out(toy) / "DONE").read_bytes() == before


@pytest.mark.parametrize("moment", ["while it computes", "before the commit", "in the commit"])
def test_a_process_that_slept_past_its_lease_destroys_nothing(
    moment: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sleeper is a thread that waits; its successor takes the lease as if it had expired."""
    toy = Toy(name="a")
    store.register([toy])
    asleep, awake = threading.Event(), threading.Event()
    sleeper = threading.Thread(target=lambda: ended.append(run_stage(store, toy)))
    ended: list[tuple[str, str]] = []

    def sleeps() -> None:
        if threading.current_thread() is sleeper:
            asleep.set()
            awake.wait(30)

    if moment == "while it computes":
        run = Toy.run
        monkeypatch.setattr(Toy, "run", lambda self, ctx: (sleeps(), run(self, ctx))[1])
    if moment == "before the commit":
        ours = claim.is_ours
        monkeypatch.setattr("bench.engine.claim.is_ours", lambda held: (sleeps(), ours(held))[1])
    if moment == "in the commit":
        rename = Path.rename
        monkeypatch.setattr(Path, "rename", lambda a, b: (sleeps(), rename(a, b))[1])
    sleeper.start()
    asleep.wait(30)
    (store.folder(toy) / "CLAIM").unlink()  # as a successor does after a minute
    assert run_stage(store, toy)[0] == "done"
    receipt = (store.out(toy) / "DONE").read_bytes()
    awake.set()
    sleeper.join(30)
    assert ended == [("done", "already done")]
    assert (store.out(toy) / "DONE").read_bytes() == receipt
    assert (store.out(toy) / "result.txt").read_text() == "a"
    assert store.attempts(toy).why_failed() is None
    assert store.damage(toy, thorough=True) is None
    assert not list(store.root.glob("damaged/*"))


@pytest.mark.parametrize("content", [b"", b"filelock/2\npid", b"\xff\xfe\0"])
def test_a_lease_that_was_never_written_is_free_after_a_minute(
    content: bytes, store: Store
) -> None:
    toy = Toy(name="a")
    store.register([toy])
    path = store.folder(toy) / "CLAIM"
    path.write_bytes(content)
    assert store.state(toy) == "waiting"
    old = time.time() - claim.LEASE_SECONDS - 1
    os.utime(path, (old, old))
    assert run_stage(store, toy)[0] == "done"


def test_waiting_says_who_holds_the_stage(store: Store) -> None:
    toy = Toy(name="a")
    store.register([toy])
    with store.lease(toy).acquire(timeout=0):
        assert store.state(toy) == "running"
        outcome, message = run_stage(store, toy)
    assert outcome == "busy"
    assert message == f"process {os.getpid()} on {os.uname().nodename} computes it"


def test_a_stage_that_kills_its_workers_is_given_up(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers_find_helpers(monkeypatch, tmp_path)
    (tmp_path / "deadly").touch()
    toy = Toy(name="a", behaviour="die", ledger=tmp_path / "ledger", stranger=tmp_path / "deadly")
    store.register([toy])
    for _ in range(MAX_DEATHS):
        (store.folder(toy) / f"attempt.{os.urandom(4).hex()}").touch()
    outcome, message = run_stage(store, toy)
    assert outcome == "failed"
    assert "3 processes in a row ended without a word" in message
    assert "log.txt" in message
    (tmp_path / "deadly").unlink()
    store.register([toy])  # the user gives the command again
    assert run_stage(store, toy)[0] == "done"
    assert store.attempts(toy).deaths() == 0


def test_a_torn_log_is_read_around(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path, "x").write(0, {"loss": 1.0})
    with path.open("ab") as file:
        file.write(b'{"step": 20, "lo\0\0')
    EventLog(path, "x").write(40, {"loss": 0.5})
    path.write_bytes(path.read_bytes() + b"[]\nnull\n{}\n\xff\n")
    assert [event["step"] for event in read_events(path)] == [0, 40]


@pytest.mark.parametrize("damaged", ["", '{"step": 0', "deleted"])
def test_a_log_that_was_damaged_is_brought_back(damaged: str, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path, "x")
    log.write(0, {"loss": 1.0})
    log.write(20, {"loss": 0.5})
    kept = log.written()
    log.write(40, {"loss": 0.4})
    log.restore(kept)
    assert [event["step"] for event in read_events(path)] == [0, 20, 40]
    if damaged == "deleted":
        path.unlink()
    else:
        path.write_text(damaged)
    log.restore(kept)
    assert path.read_text() == kept


def test_what_a_stage_logged_is_part_of_its_result(store: Store) -> None:
    toy = Toy(name="a")
    store.register([toy])
    EventLog(store.events(toy), "a").write(0, {"loss": 1.0})
    assert run_stage(store, toy)[0] == "done"
    assert [event["loss"] for event in read_events(store.events(toy))] == [1.0]
    assert "events.jsonl" in json.loads((store.out(toy) / "DONE").read_text())["sha256"]
    store.events(toy).write_text("")
    assert store.damage(toy) is not None


def prepared(root: Path, kind: str) -> Stage:
    """Return the stage of a data set that holds its images, or its truth."""
    (dataset,) = parse_datasets([str(root)], None)
    stages = preparations([dataset], [parse_profile("smoke")], [], root.parent / "digests.json")
    return next(stage for stage in stages if type(stage).__name__ == kind)


@pytest.mark.parametrize("kind", ["Images", "Truth"])
def test_data_changed_after_the_fingerprint_are_refused(
    kind: str, store: Store, tmp_path: Path
) -> None:
    root = trees.nnunet(tmp_path / "data", 3, shape=(16, 14, 4))
    stage = prepared(root, kind)
    path = root / "labelsTr" / "case_001.nii.gz"
    whole = path.read_bytes()
    path.write_bytes((root / "labelsTr" / "case_002.nii.gz").read_bytes())
    store.register([stage])
    outcome, message = run_stage(store, stage)
    assert outcome == "refused"
    assert "changed after the command had begun; give the command again" in message
    path.write_bytes(whole)
    assert run_stage(store, stage)[0] == "done"


def test_a_file_replaced_while_it_is_read_is_refused(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trees.nnunet(tmp_path / "data", 3, shape=(16, 14, 4))
    stage = prepared(root, "Truth")
    path = root / "labelsTr" / "case_001.nii.gz"
    whole = path.read_bytes()
    labels = Folder.labels

    def replaced(self: Folder, case: Case) -> object:
        path.write_bytes((root / "labelsTr" / "case_002.nii.gz").read_bytes())
        try:
            return labels(self, case)
        finally:
            path.write_bytes(whole)

    store.register([stage])
    with monkeypatch.context() as patch:
        patch.setattr("bench.data.pool.threads", lambda *_: ThreadPoolExecutor(1))
        patch.setattr(Folder, "labels", replaced)
        outcome, message = run_stage(store, stage)
    assert outcome == "refused"
    assert "case_001.nii.gz: was changed while it was read" in message
    assert run_stage(store, stage)[0] == "done"


@pytest.mark.parametrize(("kind", "damage"), [("Images", flip), ("Truth", Path.unlink)])
def test_a_preparation_goes_on_with_the_cases_it_has(
    kind: str,
    damage: Callable[[Path], object],
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = trees.nnunet(tmp_path / "data", 4, shape=(16, 14, 4))
    stage = prepared(root, kind)
    store.register([stage])
    reference = Store(tmp_path / "reference")
    reference.register([stage])
    assert run_stage(reference, stage)[0] == "done"
    read: list[str] = []
    image = Folder.image

    def counted(self: Folder, case: Case) -> object:
        if len(read) == 2:
            raise KeyboardInterrupt
        read.append(case.id)
        return image(self, case)

    monkeypatch.setattr("bench.data.pool.threads", lambda *_: ThreadPoolExecutor(1))
    monkeypatch.setattr(Folder, "image", counted)
    with pytest.raises(KeyboardInterrupt):
        run_stage(store, stage)
    finished = store.scratch(stage) / "cases" / f"{read[0]}.{'npy' if kind == 'Images' else 'npz'}"
    damage(finished)
    first, read[:] = tuple(read), ["none", "none", "none"]
    assert run_stage(store, stage)[0] == "done"
    assert sorted(set(read) - {"none"} | {first[1]}) == [f"case_00{n}" for n in range(4)]
    assert first[1] not in read
    digests = [one.receipt(stage)["sha256"] for one in (store, reference)]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'"x"'])
def test_an_unreadable_memory_of_digests_is_made_anew(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = trees.nnunet(tmp_path / "data", 3, shape=(16, 14, 4))
    key = prepared(root, "Images").key
    (tmp_path / "digests.json").write_bytes(content)
    capsys.readouterr()
    assert prepared(root, "Images").key == key
    assert f"{tmp_path / 'digests.json'}: not used" in capsys.readouterr().err
    noted = (tmp_path / "digests.json").read_text()
    assert len(json.loads(noted)["files"]) == 6
    digest = next(iter(json.loads(noted)["files"].values()))
    (tmp_path / "digests.json").write_text(noted.replace(digest, "0" * 64))
    assert prepared(root, "Images").key == key


def test_a_resume_state_that_is_damaged_or_of_another_stage_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "resume.pt"
    assert load_state(path, "Train-1") is None
    save_state(path, "Train-1", b"\n weights \n")
    assert load_state(path, "Train-1") == b"\n weights \n"
    assert load_state(path, "Train-2") is None
    assert "was saved by Train-1" in capsys.readouterr().out
    whole = path.read_bytes()
    for content in (b"", b"{", whole[:-1], whole + b"x", whole.replace(b"w", b"v"), b"\0" * 99):
        path.write_bytes(content)
        assert load_state(path, "Train-1") is None
        assert "resume.pt is damaged and not used" in capsys.readouterr().out


def test_a_folder_in_the_place_of_a_resume_state_is_moved_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "resume.pt"
    (path / "inside").mkdir(parents=True)
    assert load_state(path, "Train-1") is None
    save_state(path, "Train-1", b"weights")
    assert f"{path} is no file; it is moved to resume.pt." in capsys.readouterr().err
    assert load_state(path, "Train-1") == b"weights"


def test_who_holds_a_damaged_stage_is_named(store: Store) -> None:
    toy = Toy(name="toy")
    events_of([toy], store)
    with store.lease(toy).acquire(timeout=0):
        assert set_aside(store, toy) == f"{store.holder(toy)} computes it again"
        assert store.is_done(toy)
    assert set_aside(store, toy).startswith(f"moved to {store.root}/damaged/")
    assert set_aside(store, toy) == "is computed again"  # another process was quicker


def test_no_more_of_a_huge_description_is_read_than_one_may_have(store: Store) -> None:
    toy = Toy(name="toy")
    events_of([toy], store)
    files = [store.out(toy) / "DONE", store.folder(toy) / "stage.json"]
    for path in files:
        os.truncate(path, 2**33)  # sparse: no byte of it is on the disk
    tracemalloc.start()
    try:
        assert store.state(toy) == "damaged"
        assert Store(store.root).survey()[1][0].cause.kind == "unreadable"
        store.register([toy])
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_BYTES
    finally:
        tracemalloc.stop()
    assert [stage.key for stage in store.stages()] == [toy.key]
