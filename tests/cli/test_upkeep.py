"""Commands that look after a store."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
from command import Bench
from conftest import Finished

from bench.engine import integrity
from bench.engine.graph import StageGraph
from bench.engine.launchers.inline import Inline
from bench.engine.store import Store
from bench.experiment.plan import graph_of
from bench.stage import ancestors
from bench.stages.evaluate import Evaluate
from bench.stages.train import Train


@pytest.fixture
def store(finished: Finished, tmp_path: Path) -> Store:
    """A finished run of INERRANT in a store of its own."""
    store = Store(tmp_path / "store")
    for stage in graph_of([finished.of("inerrant")]).in_order():
        shutil.copytree(finished.store.folder(stage), store.folder(stage))
    return store


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def forge(receipt: Path, old: str, new: str) -> None:
    """Edit a receipt as if it had been written so."""
    changed = json.loads(receipt.read_text().replace(old, new))
    receipt.write_text(json.dumps(integrity.sealed(changed)))


def test_damage_is_found_and_repaired(bench: Bench, store: Store, finished: Finished) -> None:
    where = ("--store", str(store.root))
    first, last = finished.of("inerrant").rounds[0], finished.of("inerrant").rounds[-1]
    assert isinstance(last.evaluation, Evaluate)
    assert bench("verify", *where).code == 0
    prediction = last.evaluation.prediction
    reference = (store.out(prediction) / "DONE").read_text()
    flip(next(store.out(prediction).glob("*.nii.gz")))
    (store.out(first.evaluation) / "DONE").write_text("{}")
    found = bench("verify", "--full", *where)
    assert found.code == 2
    assert f"damaged  {prediction.key}" in found.out
    assert "does not match its checksum" in found.out
    assert "DONE is missing or unreadable" in found.out
    assert "2 damaged" in found.out
    assert bench("verify", prediction.key, *where).code == 2
    assert bench("verify", last.model.key, *where).code == 0
    repaired = bench("verify", "--repair", *where)
    assert repaired.code == 0, repaired
    assert "0 damaged" in bench("verify", "--full", *where).out
    again = store.receipt(prediction)["sha256"]
    assert all(digest in reference for digest in again.values())


def test_what_is_repaired_is_computed_on_the_threads_of_its_receipt(
    bench: Bench, store: Store, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # what the command sets is set back
    first, second, *_ = (result.model for result in finished.of("inerrant").rounds)
    forge(store.out(second) / "DONE", '"threads": "1"', '"threads": "2"')
    flip(next(store.out(second).glob("*.safetensors")))
    (store.out(first) / "DONE").write_text("{}")  # the other trainings tell
    answer = bench("verify", "--full", "--repair", "--store", str(store.root))
    assert answer.code == 0, answer
    threads = [store.receipt(training)["threads"] for training in (first, second)]
    assert threads == ["1", "2"]
    assert f"repair   {first.key}: moved to {store.root}/damaged/" in answer.out


def test_stages_are_computed_again_and_compared(
    bench: Bench, store: Store, finished: Finished
) -> None:
    where = ("--store", str(store.root))
    training = finished.of("inerrant").rounds[0].model
    assert "equal" in bench("verify", "--recompute", training.key, *where).out
    receipt = store.out(training) / "DONE"
    (name,) = (n for n in store.receipt(training)["sha256"] if n.endswith(".safetensors"))
    digest = store.receipt(training)["sha256"][name]
    flip(store.out(training) / name)
    refused = bench("verify", "--recompute", training.key, *where)
    assert (refused.code, f"verify --repair {training.key}` first mends it" in refused.err) == (
        2,
        True,
    )
    flipped = hashlib.sha256((store.out(training) / name).read_bytes()).hexdigest()
    forge(receipt, digest, flipped)  # as by other code
    differs = bench("verify", "--recompute", training.key, *where)
    assert differs.code == 1
    assert f"differs  {training.key}" in differs.out
    assert name in differs.out
    assert bench("verify", "--recompute", *where).code == 2
    other = finished.of("inerrant").rounds[1].model
    receipt = store.out(other) / "DONE"
    forge(receipt, '"threads": "1"', '"threads": "7"')
    answer = bench("verify", "--recompute", training.key, other.key, *where)
    assert (answer.code, "computed on 1 or 7 threads" in answer.err) == (2, True)
    assert not list(store.root.glob(".recompute.*"))


def test_what_is_of_no_use_is_shown_and_freed(
    bench: Bench, store: Store, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ("--store", str(store.root))
    run = finished.of("inerrant")
    models = [result.model for result in run.rounds]
    temporary = store.folder(models[0]) / ".stage.json.0123456789abcdef"
    temporary.touch()
    os.utime(temporary, (0, 0))
    with monkeypatch.context() as earlier:
        earlier.setattr(Train, "version", 0)
        of_then = Train(**{name: getattr(models[0], name) for name in Train.model_fields})
        store.register([of_then])
        old = store.folder(of_then)
    flip(store.out(models[-1]) / "segmenter.safetensors")
    store.set_aside(models[-1])
    shown = bench("gc", *where)
    assert (shown.code, "nothing was freed" in shown.out) == (0, True)
    assert temporary.exists()
    freed = bench("gc", "--yes", "--intermediate", *where)
    assert freed.code == 0, freed
    assert not temporary.exists()
    assert not old.exists()
    assert not list((store.root / "damaged").iterdir())
    assert not (store.out(models[0]) / "segmenter.safetensors").exists()
    assert all(map(store.is_done, models[:-1]))
    assert "0 damaged" in bench("verify", "--full", *where).out
    used = bench("predict", models[0].key, "scan.nii.gz", "-o", "labels", *where)
    assert used.code == 2
    prediction = run.rounds[0].evaluation.prediction
    store.set_aside(prediction)
    events = list(Inline().run(StageGraph([prediction]), store))
    assert "freed by `bench gc`" in " ".join(event.message for event in events)
    assert store.damage(models[0], as_input=True) is None
    assert store.is_done(prediction)
    assert bench("gc", "--yes", "--intermediate", *where).code == 0
    refused = bench("verify", "--recompute", run.rounds[0].evaluation.prediction.key, *where)
    assert f"`bench verify --repair {models[0].key}` first" in refused.err
    assert bench("verify", "--repair", models[0].key, *where).code == 0
    assert store.damage(models[0], as_input=True) is None


def test_a_lost_description_is_named_and_costs_no_result(
    bench: Bench, store: Store, finished: Finished
) -> None:
    where = ("--store", str(store.root))
    run = finished.of("inerrant")
    model = run.rounds[0].model
    description = store.folder(model.labels.truth) / "stage.json"
    stages = graph_of([run]).in_order()
    n_readable = sum(model.labels.truth not in ancestors(stage) for stage in stages)
    description.unlink()
    for options in ((), ("--repair",)):
        said = bench("verify", "--full", *options, *where)
        assert said.code == 2, said
        assert f"in doubt, as {description} is missing" in said.out
        assert f"{model.key}  {model.title}: a result" in said.out
        assert f"{len(stages)} stages, {len(stages)} done" in said.out
        assert "only a run knows" in said.out
    status = bench("status", *where).out
    assert f"{len(stages) - n_readable} whose stage.json" in status
    assert "another version" not in status
    freed = bench("gc", "--yes", *where)
    assert (freed.code, "kept without --unreadable" in freed.out) == (0, True)
    refused = bench("predict", model.key, "scan.nii.gz", "-o", "labels", *where)
    assert (refused.code, f"{description} is missing" in refused.err) == (2, True)
    flip(store.out(model) / "segmenter.safetensors")
    said = bench("verify", "--full", *where)
    assert f"damaged  {model.key}" in said.out
    flip(store.out(model) / "segmenter.safetensors")
    shutil.rmtree(description.parent)
    assert f"the folder of the input {model.labels.truth.key}" in bench("verify", *where).out
    assert "kept without --orphaned" in bench("gc", "--yes", *where).out
    shutil.copytree(finished.store.folder(model.labels.truth), description.parent)
    assert bench("verify", "--full", *where).code == 0
    assert all(map(store.is_done, stages))


def test_logs_are_printed_to_their_end(bench: Bench, store: Store, finished: Finished) -> None:
    where = ("--store", str(store.root))
    training = finished.of("inerrant").rounds[0].model
    assert training.key in bench("logs", training.key, *where).out
    assert training.key in bench("logs", training.key, "--follow", *where).out
    store.log(training).unlink()
    assert "has no log" in bench("logs", training.key, *where).err


def test_a_report_of_a_problem_names_versions_and_store(bench: Bench, tmp_path: Path) -> None:
    said = bench("sys-info", "--store", str(tmp_path / "none"))
    assert said.code == 0
    for word in ("torch", "cores", "memory", "gpus", "store", str(tmp_path / "none")):
        assert word in said.out
