"""Training curves: logged values, averaged over twenty equal parts of a training.

It shows whether the part that makes a method what it is does anything: how many voxels it decides
on, how often it is right, how large its loss is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from bench.results.schema import Column, Schema
from bench.results.tables import CELL, RUN, RUN_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

PARTS = 20
"""Parts of equal length that a training is divided into."""

CURVES = Schema(
    name="curves",
    version=1,
    declared=RUN_COLUMNS
    | {
        "round": Column("int", low=0),
        "training": Column("text"),
        "stage": Column("text"),
        "name": Column("text"),
        "part": Column("int", low=0, high=PARTS - 1),
        "value": Column("float"),
    },
    key=(*RUN, "stage", "name", "part"),
    run=RUN,
)

CURVE = (*CELL, "round", "training", "name")


def parts(events: Iterable[Mapping[str, float]], steps: int) -> Iterator[tuple[str, int, float]]:
    """Yield name, part and mean of what a training of ``steps`` steps logged.

    Parameters
    ----------
    events
        Lines of :func:`bench.engine.events.read_events`.
    steps
        Length of the training.
    """
    logged: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for event in events:
        part = int(event["step"]) * PARTS // steps
        for name, value in event.items():
            if name not in ("step", "time"):
                logged[name, part].append(value)
    for (name, part), values in logged.items():
        yield name, part, sum(values) / len(values)


def curve_values(table: pd.DataFrame) -> pd.DataFrame:
    """Return the mean curves over seeds and folds.

    Returns
    -------
    pandas.DataFrame
        ``CURVE``, ``part``; ``mean``, ``std`` (NaN for a single run) and ``runs`` over seeds and
        folds.
    """
    groups = table.groupby([*CURVE, "part"])["value"]
    return groups.agg(["mean", "std"]).join(groups.size().rename("runs")).reset_index()
