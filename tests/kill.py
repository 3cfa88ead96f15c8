"""Kill commands and workers at random moments, and compare what they complete in the end.

``python tests/kill.py --kills 100`` runs a grid again and again on one store. Each time, after a
random number of commits and a random while, the whole process group is killed, or the command
alone, or one of its workers, after which the command goes on. What was committed must never change,
and in the end everything equals a run that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from typing import Annotated, Literal

import damage
import psutil
import trees
import typer
from helpers import bench

from bench.engine.store import Store

Victim = Literal["group", "command", "worker"]
GRID = ("-l", "50", "-f", "0,1", "-p", "smoke[steps=24,batch_size=2,lr=0.03]")
VICTIMS: tuple[Victim, ...] = ("group", "command", "worker")
MOST_COMMITS = 8
"""Commits that are awaited before a kill; a store has 31."""
LOOK_SECONDS = 0.02


def start(store: Path, data: Path) -> Popen[str]:
    arguments = ("run", "-m", "naive,inerrant[rounds=1]", "-d", str(data), *GRID)
    quick = {"BENCH_CHECKPOINT_SECONDS": "0.05", "OMP_NUM_THREADS": "1"}
    return bench(*arguments, "-q", "--store", str(store), environment=quick)


def n_committed(root: Path) -> int:
    return len(list(root.glob("*/*/out/DONE")))


def pace(command: Popen[str], root: Path) -> list[float]:
    """Watch a command to its end; return the seconds before each commit, and after the last."""
    moments = [time.monotonic()]
    while command.poll() is None:
        moments += [time.monotonic()] * (n_committed(root) - len(moments) + 1)
        time.sleep(LOOK_SECONDS)
    moments.append(time.monotonic())
    return [after - before for before, after in pairwise(moments)]


def wait(command: Popen[str], root: Path, seconds: list[float], chance: random.Random) -> bool:
    """Wait for a random number of commits, then a random part of the time that the next one takes.

    Returns
    -------
    bool
        False if the command ended before.
    """
    before, last = n_committed(root), len(seconds) - 1
    target = before + int(chance.random() * (min(last - before, MOST_COMMITS) + 1))
    part = chance.random()
    # The first of a command includes its start.
    span = seconds[target] if target > before else max(seconds[0], seconds[target])
    deadline: float | None = None
    while command.poll() is None:
        if deadline is None and n_committed(root) >= target:
            deadline = time.monotonic() + part * span
        if deadline is not None and time.monotonic() >= deadline:
            return True
        time.sleep(LOOK_SECONDS)
    return False


def workers(command: Popen[str]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(command.pid).children(recursive=True)
    return []


def kill(command: Popen[str], victim: Victim, chance: random.Random) -> bool:
    """Kill, and tell whether there was anything to kill; half of the orphans meet the next command.

    An orphan saves its state first.
    """
    crew = workers(command)
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if victim == "group":
            os.killpg(command.pid, signal.SIGKILL)
        elif victim == "command":
            command.kill()
        elif crew:
            chance.choice(crew).kill()
            return True
        else:
            return False
        if chance.random() < 0.5:
            psutil.wait_procs(crew, timeout=120)
        return True
    return False


def receipts(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/*/out/DONE")}


def files(root: Path) -> dict[str, dict[str, str]]:
    """Return the checksums of every stage's outputs, those of logs aside: they hold times."""
    store = Store(root)
    found = {stage.key: dict(store.receipt(stage)["sha256"]) for stage in store.stages()}
    for digests in found.values():
        digests.pop("events.jsonl", None)
    return found


class Trial:
    """A store on which commands are killed."""

    def __init__(self, root: Path, data: Path) -> None:
        self.root, self.wrong, self.commits = root, list[str](), dict[str, bytes]()
        self._data = data

    def disturb(
        self, seconds: list[float], chance: random.Random, most: int
    ) -> tuple[Counter[str], bool]:
        """Give the command and kill.

        Returns
        -------
        Counter
            How often each victim was killed, at most so often in all.
        bool
            Whether the command ended well in spite of it.
        """
        command, victim, counts = start(self.root, self._data), "", Counter[str]()
        while counts.total() < most and victim in ("", "worker"):
            if not wait(command, self.root, seconds, chance):
                break
            victim = chance.choice(VICTIMS)
            counts[victim] += kill(command, victim, chance)
        self._end(command)
        return counts, command.returncode == 0

    def complete(self, whole: Path) -> None:
        """Give the command without any disturbance, and compare the store with that of others."""
        command = start(self.root, self._data)
        errors = self._end(command)
        if command.returncode != 0:
            self.wrong.append(f"{self.root.name}: exit {command.returncode}: {errors}")
        self.wrong += compare(whole, self.root)

    def _end(self, command: Popen[str]) -> str:
        said, errors = command.communicate(timeout=600)
        if "Traceback" in said + errors:
            self.wrong.append(said + errors)
        now = receipts(self.root)
        changed = [name for name, receipt in self.commits.items() if now.get(name) != receipt]
        self.wrong += [f"{name} was committed twice" for name in changed]
        self.commits = now
        return errors


def main(
    kills: Annotated[int, typer.Option(help="How often to kill.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the moments and the victims.")] = 0,
    folder: Annotated[Path | None, typer.Option(help="Keep the stores here.")] = None,
) -> None:
    """Kill, and print what came of it."""
    chance, counts, began = random.Random(seed), Counter[str](), time.monotonic()
    stores = commits = wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = folder or Path(temporary)
        whole = folder / "whole"
        data = trees.nnunet(folder / "tiny", 6, hidden={4: ("spleen",)})
        undisturbed = start(whole, data)
        seconds = pace(undisturbed, whole)
        _, errors = undisturbed.communicate()
        assert undisturbed.returncode == 0, errors
        while counts.total() < kills:
            stores += 1
            trial, well = Trial(folder / f"store{stores}", data), False
            while counts.total() < kills and not well:
                killed, well = trial.disturb(seconds, chance, kills - counts.total())
                counts += killed
                victims = ", ".join(killed.elements()) or "nothing"
                print(
                    f"{counts.total():>4} kills, now {victims}; "
                    f"{trial.root.name}: {len(trial.commits)} stages done",
                    flush=True,
                )
            trial.complete(whole)
            print(*(f"    ! {line}" for line in trial.wrong), sep="\n", end="", flush=True)
            commits += len(trial.commits)
            wrong += len(trial.wrong)
    by_victim = ", ".join(f"{counts[victim]} of a {victim}" for victim in VICTIMS)
    print(
        f"{counts.total()} kills ({by_victim}), seed {seed}, {time.monotonic() - began:.0f} s: "
        f"{stores} stores completed, {commits} commits, {wrong} wrong"
    )
    raise typer.Exit(bool(wrong))


def compare(whole: Path, root: Path) -> list[str]:
    """Return in what a store differs from one that nobody disturbed."""
    found = []
    expected, made = files(whole), files(root)
    found += [f"{key} differs" for key in expected if made.get(key) != expected[key]]
    if not damage.equal(damage.tables(whole), damage.tables(root)):
        found.append("the tables differ")
    if (root / "damaged").exists():
        found.append("outputs were moved away")
    return found + damage.left_over(root)


if __name__ == "__main__":
    typer.run(main)
