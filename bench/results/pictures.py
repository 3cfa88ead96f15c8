"""The pictures table: small pictures of predictions and of pseudo-labels.

It is empty unless ``bench run --pictures`` drew them.
"""

from __future__ import annotations

from bench.results.schema import Column, Schema
from bench.results.tables import RUN, RUN_COLUMNS

PICTURES = Schema(
    name="pictures",
    version=1,
    declared=RUN_COLUMNS
    | {
        "round": Column("int", low=0),
        "kind": Column("text", choices=("prediction", "truth", "relabelling", "confidence")),
        "case": Column("text"),
        "slices": Column("text"),
        "scan": Column("text"),
        "overlay": Column("text"),
        "stage": Column("text"),
    },
    key=(*RUN, "round", "kind", "case"),
    run=RUN,
)
