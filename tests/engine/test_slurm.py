"""Jobs that share a plan: what one does, what is submitted, what is refused.

The commands of Slurm are replaced by scripts here; ``tests/slurm`` has the real ones.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import walk
from helpers import HeavyToy, Toy, TrainingToy, ran, workers_find_helpers

from bench.engine import cluster
from bench.engine.graph import StageGraph
from bench.engine.journal import Journal, JournalReader, Progress
from bench.engine.launcher import StageEvent, Submitter, parse_launcher
from bench.engine.launchers import slurm
from bench.engine.launchers.slurm import Slurm, Work
from bench.engine.sharing import share
from bench.engine.store import Store
from bench.engine.worker import run_stage
from bench.errors import BenchError

NAMES = re.compile(r"`(\w+)`")
Command = Callable[[str, str], None]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Put a shell script in the place of a command of Slurm; each does nothing at first."""
    folder = tmp_path / "commands"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    for name in ("srun", "squeue", "scancel", "scontrol"):
        write(name, "")
    write("sbatch", "echo Submitted batch job 7")
    return write


@pytest.fixture
def in_a_job(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set back what a job sets for its process."""
    for variable in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "BENCH_SUBMISSION"):
        monkeypatch.setenv(variable, "1")
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def registered(store: Store, *wanted: Toy) -> StageGraph:
    graph = StageGraph(wanted)
    store.register(graph.in_order())
    return graph


def submit(store: Store, graph: StageGraph, options: str = "") -> list[str]:
    launcher = parse_launcher(f"slurm[{options}]")
    assert isinstance(launcher, Submitter)
    return list(launcher.submit(graph, store, print))


def test_a_journal_tells_what_a_job_computes(tmp_path: Path) -> None:
    one, two = Toy(name="one"), Toy(name="two")
    path = tmp_path / "journal.jsonl"
    reader = JournalReader(path)
    assert not reader.at_work()
    journal = Journal(path)
    journal.write(StageEvent("started", one))
    journal.write(StageEvent("progress", one, "", 3, 9))
    journal.write(StageEvent("started", two))
    assert reader.at_work() == {one.key: Progress(3, 9), two.key: Progress()}
    journal.write(StageEvent("done", one))
    with path.open("a") as file:
        file.write('{"kind": "pro')
    assert reader.at_work() == {two.key: Progress()}
    with path.open("a") as file:
        file.write("\n".join(['gress", "key": "x", "done": 1, "total": 2}', ""]))
    assert set(reader.at_work()) == {two.key, "x"}
    Journal(path).write(StageEvent("started", one))  # the job was lost, and has begun again
    assert reader.at_work() == {one.key: Progress()}
    with path.open("a") as file:
        file.write('{"kind": "pro')
    journal = Journal(path)
    assert not reader.at_work()
    journal.write(StageEvent("started", two))
    assert reader.at_work() == {two.key: Progress()}


def test_no_more_progress_is_written_than_somebody_reads(tmp_path: Path) -> None:
    toy, path = Toy(name="a"), tmp_path / "journal.jsonl"
    journal = Journal(path)
    for number in range(99):
        journal.write(StageEvent("progress", toy, "", number, 99))
    assert len(path.read_text().splitlines()) == 2


def test_a_job_leaves_when_others_compute_all_that_is_left(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_a_job: None
) -> None:
    workers_find_helpers(monkeypatch, tmp_path)
    ledger, finished = tmp_path / "ledger", tmp_path / "finished"
    training = HeavyToy(name="training", ledger=ledger)
    graph = registered(store, HeavyToy(name="prediction", needs=(training,), ledger=ledger))
    work = Work(Slurm(gpus=0), "bench-0", graph, store, finished.touch)
    cluster.folder_of(store).mkdir()
    with store.lease(training).acquire(timeout=0):
        work(0)
    assert not store.is_done(training)
    assert not finished.exists()
    work(0)
    assert ran(ledger) == ["training", "prediction"]
    assert finished.exists()


def test_a_submission_is_recorded(store: Store, command: Command) -> None:
    graph = registered(store, HeavyToy(name="a"), HeavyToy(name="b"))
    assert submit(store, graph, "jobs=2,gpus=2,time=90m") == [
        "1 of 2 jobs are submitted, more would be idle: only 2 trainings or predictions can run "
        "side by side, 2 in a job",
        "7, each with gpus=2, cpus=8, mem=32G, time=90m: 1 on each GPU, 4 threads each",
    ]
    (submission,) = cluster.submissions(store)
    assert (submission.job_id, submission.jobs, submission.slots) == ("7", 1, 2)
    assert set(submission.wanted) == set(graph.stages)
    script = cluster.folder_of(store) / "7_submission.sh"
    for line in ("time=90", "gpus-per-node=2", "mem=32G", "requeue", "open-mode=append"):
        assert f"#SBATCH --{line}\n" in script.read_text()
    submit(store, graph)  # no job of the first is queued any more
    assert len(cluster.submissions(store)) == 1


def test_a_job_without_gpus_shares_its_cores_as_the_local_launcher_does(
    store: Store, command: Command
) -> None:
    trainings = [TrainingToy(name=f"training{number}") for number in range(8)]
    wanted = [HeavyToy(name=f"prediction{n}", needs=(t,)) for n, t in enumerate(trainings)]
    graph = registered(store, *wanted)
    expected = share(graph, 4)
    assert expected == (4, 1)
    assert submit(store, graph, "gpus=0,cpus=4")[-1].endswith(": 4 on the CPU, 1 thread each")
    assert cluster.submissions(store)[-1].slots == 4
    chosen = {"": (4, 1), "jobs=4": (2, 2), "workers=1": (1, 4)}
    for options, expected in chosen.items():
        slurm_ = parse_launcher(f"slurm[gpus=0,cpus=4,{options}]")
        assert isinstance(slurm_, Slurm)
        assert slurm_.share(graph) == expected
    assert Slurm(cpus=4).share(graph) == (1, 4)


@pytest.mark.parametrize("behaviour", ["raise", "refuse"])
def test_what_failed_in_one_job_is_not_tried_in_its_siblings(
    behaviour: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_a_job: None
) -> None:
    workers_find_helpers(monkeypatch, tmp_path)
    ledger = tmp_path / "ledger"
    bad = HeavyToy.model_validate({"name": "bad", "behaviour": behaviour, "ledger": ledger})
    graph = registered(store, HeavyToy(name="above", needs=(bad,), ledger=ledger))
    cluster.folder_of(store).mkdir()
    work = Work(Slurm(gpus=0), "bench-0", graph, store, print)
    work(0)
    work(1)
    assert ran(ledger) == ["bad"]
    assert store.state(bad) == "failed"
    assert "bench-0" not in (store.attempts(bad).why_failed() or "")
    kinds = [json.loads(line)["kind"] for line in work_journal(store, 1)]
    assert kinds == ["begin", "started", "failed", "blocked"]
    Work(Slurm(gpus=0), "bench-1", graph, store, print)(0)  # the same command again
    assert ran(ledger) == ["bad", "bad"]
    monkeypatch.delenv("BENCH_SUBMISSION")
    assert run_stage(store, bad)[0] in ("failed", "refused")
    assert ran(ledger) == ["bad"] * 3


def work_journal(store: Store, number: int) -> list[str]:
    return (cluster.folder_of(store) / f"bench-0.{number}.jsonl").read_text().splitlines()


def test_an_array_is_no_longer_than_the_site_allows(store: Store, command: Command) -> None:
    command("scontrol", "echo 'MaxArraySize            = 3'")
    graph = registered(store, *(HeavyToy(name=str(number)) for number in range(9)))
    said, ids = submit(store, graph, "jobs=5")
    assert said.startswith("3 of 5 jobs are submitted, the longest array of this cluster")
    assert ids.startswith("7_[0-2],")


def test_an_overloaded_controller_is_asked_again(
    store: Store, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "PAUSES", (0, 0))
    times, cancelled = tmp_path / "times", tmp_path / "cancelled"
    command("scancel", f"echo $* > {cancelled}")
    refusal = "sbatch: error: Batch job submission failed: Resource temporarily unavailable"
    command("sbatch", f"echo >> {times}; echo '{refusal}' >&2; exit 1")
    graph = registered(store, HeavyToy(name="a"))
    with pytest.raises(BenchError, match=r"temporarily unavailable; nothing was submitted"):
        submit(store, graph)
    assert len(times.read_text()) == 3
    assert re.fullmatch(r"--name=bench-\w+\n", cancelled.read_text())
    assert not cluster.submissions(store)

    refused_once = f"rm {times} 2> /dev/null && echo Unexpected message >&2 && exit 1"
    command("sbatch", f"{refused_once}; echo Submitted batch job 8")
    *_, again, ids = submit(store, graph)
    assert again == "Unexpected message; again in 0 s"
    assert ids.startswith("8,")


def test_what_slurm_refuses_is_not_tried_again(store: Store, command: Command) -> None:
    command("sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    with pytest.raises(BenchError, match="invalid partition specified: x; nothing was submitted"):
        submit(store, registered(store, HeavyToy(name="a")), "partition=x")


def test_a_machine_without_slurm_is_one_line(folder: Path, tmp_path: Path) -> None:
    run = ["run", "-m", "naive", "-d", folder, "-p", "smoke", "--store", tmp_path / "store"]
    answer = walk.bench(*run, "--launcher", "slurm", code=2, PATH=str(tmp_path))
    assert answer.err.startswith("error: slurm: there is no scontrol on this machine")
    assert len(answer.err.splitlines()) == 1
    nothing = walk.bench("cancel", "--store", tmp_path / "store", PATH=str(tmp_path))
    assert "is queued or running" in nothing.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("time=5m", "at least 20m: of a shorter job it cannot be told"),
        ("time=24", "write minutes, hours or days: 90m, 24h, 2d"),
        ("mem=32", "mem='32'"),
        ("jobs=0", "jobs='0'"),
    ],
)
def test_a_wrong_option_is_refused(options: str, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        parse_launcher(f"slurm[{options}]")


def test_a_damaged_record_is_named(store: Store) -> None:
    cluster.folder_of(store).mkdir(parents=True)
    (cluster.folder_of(store) / "bench-1.json").write_text(json.dumps({"name": "bench-1"}))
    with pytest.raises(BenchError, match=r"bench-1\.json: is no record of jobs"):
        cluster.submissions(store)


def test_every_option_is_documented_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs/howto/slurm.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `")]
    documented = {name: cells[1].strip(" `") for cells in rows for name in NAMES.findall(cells[0])}
    assert set(documented) == set(Slurm.model_fields)
    for name, field in Slurm.model_fields.items():
        if field.get_default() is not None:
            assert documented[name] == str(field.get_default())
