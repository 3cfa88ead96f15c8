"""Kill commands and workers at random moments, and compare what they complete in the end.

``python tests/kill.py --kills 100`` runs a grid again and again on one store. Each time, after a
random while, the whole process group is killed, or the command alone, or one of its workers. What
was committed must never change, and in the end everything equals a run that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from collections import Counter
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


def start(store: Path, data: Path) -> Popen[str]:
    arguments = ("run", "-m", "naive,inerrant[rounds=1]", "-d", str(data), *GRID)
    quick = {"BENCH_CHECKPOINT_SECONDS": "0.05", "OMP_NUM_THREADS": "1"}
    return bench(*arguments, "-q", "--store", str(store), environment=quick)


def workers(command: Popen[str]) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(command.pid).children(recursive=True)
    return []


def kill(command: Popen[str], victim: Victim, chance: random.Random) -> None:
    """Kill and wait until nothing of a command is left; one whose worker died goes on alone."""
    crew = workers(command)
    with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
        if victim == "group":
            os.killpg(command.pid, signal.SIGKILL)
        elif victim == "command":
            command.kill()
        elif crew:
            chance.choice(crew).kill()
    said, errors = command.communicate(timeout=600)
    assert "Traceback" not in said + errors, errors
    psutil.wait_procs(crew, timeout=120)  # an orphan saves its state first


def receipts(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("*/*/out/DONE")}


def files(root: Path) -> dict[str, dict[str, str]]:
    """Return the checksums of every stage's outputs, those of logs aside: they hold times."""
    store = Store(root)
    found = {stage.key: dict(store.receipt(stage)["sha256"]) for stage in store.stages()}
    for digests in found.values():
        digests.pop("events.jsonl", None)
    return found


def main(
    kills: Annotated[int, typer.Option(help="How often to kill.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the moments and the victims.")] = 0,
) -> None:
    """Kill, and print what came of it."""
    chance, counts, wrong = random.Random(seed), Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = trees.nnunet(folder / "tiny", 6, hidden={4: ("spleen",)})
        undisturbed = start(folder / "whole", data)
        began = time.monotonic()
        _, errors = undisturbed.communicate()
        assert undisturbed.returncode == 0, errors
        duration = time.monotonic() - began
        number, seen = 0, dict[str, bytes]()
        root = folder / "store"
        while counts["kills"] < kills:
            command = start(root, data)
            # Most of the time goes into loading libraries; a store that is complete is begun anew.
            time.sleep(chance.uniform(0.3, 0.8) * duration)
            victim = chance.choice(VICTIMS)
            if command.poll() is None:
                counts["kills"] += 1
                counts[victim] += 1
            kill(command, victim, chance)
            now = receipts(root)
            wrong += [f"{name} was committed twice" for name in seen if now.get(name) != seen[name]]
            counts["commits"] += len(now.keys() - seen.keys())
            seen = now
            if command.returncode == 0 or counts["kills"] == kills:
                number += 1
                complete = start(root, data)
                _, errors = complete.communicate(timeout=600)
                if complete.returncode != 0:
                    wrong.append(f"store {number}: exit {complete.returncode}: {errors}")
                wrong += compare(folder / "whole", root)
                root, seen = folder / f"store{number}", {}
            print(
                f"{counts['kills']:>4} kills, last {victim}, {len(seen)} stages done",
                *(f"    ! {line}" for line in wrong),
                sep="\n",
                flush=True,
            )
    print(
        f"{counts['kills']} kills ({', '.join(f'{counts[v]} of a {v}' for v in VICTIMS)}), "
        f"seed {seed}: {number} stores completed, {counts['commits']} commits, {len(wrong)} wrong"
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
