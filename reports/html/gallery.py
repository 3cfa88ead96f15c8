"""A browser of cases for the page: the same slices for every method, right and wrong in colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from bench.evaluation.overlay import COLOURS, LEFT_OUT, MISSED, RIGHT, UNKNOWN, WRONG
from bench.reporting.style import MethodStyles
from bench.reporting.text import number
from bench.results.tables import GROUP

TEMPLATE = Path(__file__).with_name("gallery.html.j2")
KEY = {
    "right": COLOURS[RIGHT],
    "wrong": COLOURS[WRONG],
    "missed": COLOURS[MISSED],
    "truth unknown": COLOURS[UNKNOWN],
    "left out": COLOURS[LEFT_OUT],
}
CELL = [*GROUP, "label_pct", "seed", "fold"]
PREDICTIONS = (
    "Test cases, on the grid of training; of several channels the first is shown. Slices are "
    "chosen by the complete labels, not by any prediction. DSC: mean over the case's annotated "
    "organs, on the grid of the scan."
)
RELABELLED = (
    "Training cases with hidden organs: voxels relabelled up to a round, compared with the hidden "
    "labels, which training never sees. Organs that were not hidden are not shown. Score: of the "
    "candidates of the round, red at 0.5 and below, blue at 1."
)


def predictions(pictures: pd.DataFrame, results: pd.DataFrame, styles: MethodStyles) -> str:
    """Return the browser of the final models' predictions, empty without pictures.

    Parameters
    ----------
    pictures
        The pictures table (``bench.results.tables.PICTURES``).
    results
        Final models of the results table.
    styles
        How the methods are shown.
    """
    key = [*CELL, "method", "case"]
    dsc = results.groupby(key)["dsc"].mean().rename("dsc")
    own = pictures[pictures["kind"] == "prediction"].join(dsc, on=key)
    titles = [
        f"{styles.name(method)}, DSC {number(dsc, 1)} %"
        for method, dsc in zip(own["method"], own["dsc"], strict=True)
    ]
    return _browser(own.assign(title=titles), "Predictions", PREDICTIONS, styles)


def relabelled(pictures: pd.DataFrame, styles: MethodStyles) -> str:
    """Return the browser of relabelled voxels and their scores, empty without pictures."""
    own = pictures[pictures["kind"].isin(["relabelling", "confidence"])]
    what = {"relabelling": "", "confidence": ": score"}
    titles = [
        f"{styles.name(method)}, round {round_}{what[kind]}"
        for method, round_, kind in zip(own["method"], own["round"], own["kind"], strict=True)
    ]
    return _browser(own.assign(title=titles), "Relabelled voxels", RELABELLED, styles)


def _browser(own: pd.DataFrame, title: str, caption: str, styles: MethodStyles) -> str:
    from jinja2 import Environment

    if own.empty:
        return ""
    grouped = own.assign(hidden=-own["label_pct"]).groupby([*GROUP, "hidden", "seed", "fold"])
    cells = [_cell(rows, styles) for _, rows in grouped]
    template = Environment(autoescape=True, trim_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    # Whatever ends or opens a script element starts with "<", in any context.
    data = json.dumps(cells, ensure_ascii=False).replace("<", "\\u003c")
    return template.render(title=title, caption=caption, data=data, key=KEY)


def _cell(rows: pd.DataFrame, styles: MethodStyles) -> dict[str, Any]:
    first = rows.iloc[0]
    seed = f", seed {first['seed']}" if first["seed"] else ""
    name = (
        f"{first['dataset']}, {first['profile']}, {first['backbone']}, {first['label_pct']} % "
        f"labelled, fold {first['fold']}{seed}"
    )
    return {"name": name, "cases": [_case(case, styles) for _, case in rows.groupby("case")]}


def _case(rows: pd.DataFrame, styles: MethodStyles) -> dict[str, Any]:
    ordered = rows.sort_values(
        ["method", "round", "kind"], ascending=[True, True, False], key=styles.by_method
    )
    first = ordered.iloc[0]
    tiles = [
        {"title": row["title"], "colour": styles.colour(row["method"]), "overlay": row["overlay"]}
        for _, row in ordered.iterrows()
    ]
    return {
        "name": first["case"],
        "slices": first["slices"],
        "scan": first["scan"],
        "tiles": tiles,
    }
