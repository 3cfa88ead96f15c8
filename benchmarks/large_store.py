"""Seconds of `status` and `plan` on stores of hundreds and of thousands of stages.

    python benchmarks/large_store.py [SEEDS]

60 % of the stages are done, 1,000 of the others failed or leased by a process elsewhere. The last
column is the time per stage relative to the smaller store: 1 if it grows with the number of stages.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.engine import integrity
from bench.engine.store import Store
from bench.experiment.plan import graph_of
from bench.experiment.request import Request

METHODS = "naive,inerrant0,inerrant,uamt,cps,asdnet,bai,mean_teacher"
CLAIM = "filelock/2\npid=1\nhost=elsewhere\nmode=lease\ntoken=0\nduration=60.0\n"


def options(seeds: int) -> dict[str, str]:
    """Return an experiment with about 370 stages per seed."""
    return {
        "method": METHODS,
        "dataset": "phantom",
        "labelled": "all",
        "folds": "all",
        "seeds": f"0-{seeds - 1}",
        "profile": "smoke",
    }


def make(root: Path, seeds: int) -> int:
    """Fill a store and return the number of stages."""
    store = Store(root)
    grid = Request.of(None, options(seeds) | {"store": root}).grid()
    stages = graph_of(grid.runs(store)).in_order()
    store.register(stages)
    n_done = round(0.6 * len(stages))
    for number, stage in enumerate(stages):
        out = store.out(stage)
        if number < n_done:
            out.mkdir()
            (out / "result.json").write_text("[]")
            receipt = {
                "key": stage.key,
                "finished": "2026-01-01T00:00:00+0000",
                "wall_seconds": 1.0,
                "peak_memory_mb": 1.0,
                **dict.fromkeys(("device", "bench", "commit", "torch"), "none"),
            }
            text = json.dumps(receipt | integrity.contents(out))
            (out / integrity.RECEIPT).write_text(text)
        elif number < n_done + 500:
            store.attempts(stage).note_failure("ValueError: for the benchmark")
        elif number < n_done + 1000:
            (out.parent / "CLAIM").write_text(CLAIM)
    return len(stages)


def seconds(*arguments: str) -> float:
    """Return the wall time of a command, the start of Python included."""
    started = time.perf_counter()
    subprocess.run(["bench", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print a line per command and store."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    print(f"{'command':<9}{'stages':>8}{'seconds':>9}{'per stage':>11}")
    before: dict[str, float] = {}
    for n in (max(2, seeds // 8), seeds):
        with tempfile.TemporaryDirectory() as folder:
            n_stages = make(Path(folder), n)
            flags = [f for name, value in options(n).items() for f in (f"--{name}", value)]
            for command in (["status"], ["plan", *flags]):
                took = min(seconds(*command, "--store", folder) for _ in range(3))
                before.setdefault(command[0], took / n_stages)
                ratio = took / n_stages / before[command[0]]
                print(f"{command[0]:<9}{n_stages:>8}{took:>9.2f}{ratio:>11.2f}")


if __name__ == "__main__":
    main()
