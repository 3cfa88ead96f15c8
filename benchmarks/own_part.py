"""How much of what a method would trust is right, where training cannot know?

``python benchmarks/own_part.py -m 'inerrant0[budget=long],fixmatch,unimatch,bcp' -d phantom -l 30``
trains what the store lacks, then lets the last model of each method label the training scans in
which an organ is hidden, and compares with the hidden labels. Per organ, summed over folds: recall
and precision of all it predicts, and of what it predicts with a probability of at least 0.95.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.engine.graph import StageGraph
from bench.engine.launchers.inline import Inline
from bench.engine.store import Store
from bench.experiment.method import Recipe
from bench.experiment.plan import Run
from bench.experiment.request import Request
from bench.stages.audit import Audit
from bench.training.relabelling import RelabelRule

COUNTED = ("gt_missing", "candidates", "right", "sure", "sure_right")
COLUMNS = ("recall", "precision", "sure recall", "sure precision")


def audit_of(run: Run) -> Audit:
    """Return the audit of what the last model of a method predicts."""
    recipe = Recipe(run.condition)
    model = run.rounds[-1].model
    labelled = recipe.relabel(model, RelabelRule(), gamma=1.0)
    return Audit(images=recipe.images, truth=recipe.truth, relabelling=labelled)


def audited(runs: Sequence[Run], store: Store) -> Iterator[tuple[str, str, Counter[str]]]:
    """Compute the audits; yield method, organ and counts, summed over the other conditions."""
    stages = [audit_of(run) for run in runs]
    graph = StageGraph(stages)
    store.register(graph.in_order())
    for event in Inline().run(graph, store):
        if event.kind in ("failed", "refused"):
            raise SystemExit(f"{event.stage.title}: {event.message}")
        print(event.kind, event.stage.title, file=sys.stderr)
    found: dict[tuple[str, str], Counter[str]] = {}
    for run, stage in zip(runs, stages, strict=True):
        for row in Audit.records(store.out(stage)):
            right = {"right": row["tp"]}  # all candidates are added
            counts = Counter({name: (row | right)[name] for name in COUNTED})
            for organ in (row["organ"], "all organs"):
                found.setdefault((run.method, organ), Counter()).update(counts)
    for (method, organ), counts in found.items():
        yield method, organ, counts


def shares(counts: Counter[str]) -> list[float]:
    """Return the values of :data:`COLUMNS` in %, NaN where there is nothing to divide by."""
    pairs = (
        ("right", "gt_missing"),
        ("right", "candidates"),
        ("sure_right", "gt_missing"),
        ("sure_right", "sure"),
    )
    return [
        100 * counts[part] / counts[whole] if counts[whole] else float("nan")
        for part, whole in pairs
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-m", "--method", required=True)
    parser.add_argument("-d", "--dataset", default="phantom")
    parser.add_argument("-l", "--labelled", default="30")
    parser.add_argument("-f", "--folds", default="0")
    parser.add_argument("-p", "--profile", default="quick")
    parser.add_argument("-b", "--backbone")
    parser.add_argument("--store", type=Path)
    options = parser.parse_args()
    request = Request.of(None, vars(options))
    store = Store(request.store)
    print(f"| method | organ | {' | '.join(COLUMNS)} |")
    print("|---|---|" + "---|" * len(COLUMNS))
    for method, organ, counts in audited(request.grid().runs(store), store):
        values = " | ".join(f"{value:.1f}" for value in shares(counts))
        print(f"| `{method}` | {organ} | {values} |")


if __name__ == "__main__":
    main()
