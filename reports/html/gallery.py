"""A browser of cases for the page: the same slices for every method, right and wrong in colour."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from bench.evaluation.overlay import COLOURS, LEFT_OUT, MISSED, RIGHT, UNKNOWN, WRONG
from bench.reporting.style import MethodStyles
from bench.reporting.text import number
from bench.results.columns import CONDITION, GROUP

TEMPLATE = Path(__file__).with_name("gallery.html.j2")
SCRIPT = Path(__file__).with_name("gallery.js")
STYLE = Path(__file__).with_name("gallery.css")
KEY = {
    "right": COLOURS[RIGHT],
    "wrong": COLOURS[WRONG],
    "missed": COLOURS[MISSED],
    "truth unknown": COLOURS[UNKNOWN],
    "left out": COLOURS[LEFT_OUT],
}
ANCHOR = "cases"
PREDICTIONS = (
    "Test cases, on the grid of training; of several channels the first is shown. Slices are "
    "chosen by the complete labels, not by any prediction. DSC: mean over the case's annotated "
    "organs, on the grid of the scan. The case with the lowest DSC, mean over methods, comes first."
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
    own = _predicted(pictures, results)
    titles = [
        f"{styles.name(method)}, DSC {number(dsc, 1)} %"
        for method, dsc in zip(own["method"], own["dsc"], strict=True)
    ]
    return _browser(own.assign(title=titles), "Predictions", PREDICTIONS, styles, ANCHOR)


def anchors(pictures: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return where on the page each pictured test case is: columns ``CONDITION``, case and anchor.

    An anchor is numbers alone, as names of cases may be anything.
    """
    found = [
        {**dict(zip(CONDITION, key, strict=True)), "case": case, "anchor": f"case-{cell}-{place}"}
        for cell, (key, cases) in enumerate(_cells(_predicted(pictures, results)))
        for place, (case, _) in enumerate(cases)
    ]
    return pd.DataFrame(found, columns=[*CONDITION, "case", "anchor"])


def _predicted(pictures: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return the pictures of predictions with the mean DSC of method and case."""
    key = [*CONDITION, "method", "case"]
    dsc = results.groupby(key)["dsc"].mean().rename("dsc")
    return pictures[pictures["kind"] == "prediction"].join(dsc, on=key)


def relabelled(pictures: pd.DataFrame, styles: MethodStyles) -> str:
    """Return the browser of relabelled voxels and their scores, empty without pictures."""
    own = pictures[pictures["kind"].isin(["relabelling", "confidence"])]
    what = {"relabelling": "", "confidence": ": score"}
    titles = [
        f"{styles.name(method)}, round {round_}{what[kind]}"
        for method, round_, kind in zip(own["method"], own["round"], own["kind"], strict=True)
    ]
    own = own.assign(title=titles, dsc=float("nan"))
    return _browser(own, "Relabelled voxels", RELABELLED, styles)


def _browser(
    own: pd.DataFrame, title: str, caption: str, styles: MethodStyles, name: str = ""
) -> str:
    from jinja2 import Environment

    if own.empty:
        return ""
    cells = [
        {"name": _name(key), "cases": [_case(rows, styles) for _, rows in cases]}
        for key, cases in _cells(own)
    ]
    template = Environment(autoescape=True, trim_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    # Whatever ends or opens a script element starts with "<", in any context.
    data = json.dumps(cells, ensure_ascii=False).replace("<", "\\u003c")
    return template.render(title=title, caption=caption, data=data, key=KEY, name=name)


def _cells(own: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], list[tuple[str, pd.DataFrame]]]]:
    """Yield every ``CONDITION`` as its values, with its cases, that of the lowest DSC first."""
    grouped = own.assign(hidden=-own["label_pct"]).groupby([*GROUP, "hidden", "seed", "fold"])
    for _, rows in grouped:
        worst = rows.groupby("case")["dsc"].mean().sort_values(kind="stable").index
        key = tuple(rows[list(CONDITION)].iloc[0])
        yield key, [(str(case), rows[rows["case"] == case]) for case in worst]


def _name(key: tuple[Any, ...]) -> str:
    dataset, profile, backbone, label_pct, seed, fold = key
    with_seed = f", seed {seed}" if seed else ""
    return f"{dataset}, {profile}, {backbone}, {label_pct} % labelled, fold {fold}{with_seed}"


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
