"""Tables 2 to 10 of the INERRANT paper: lines, columns and published numbers.

A cell of any table is a row of one frame with the columns ``CELLS``; layouts turn such frames into
boards, whether the numbers are published ones or those of a results table. Values are in percent.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from bench.params import parse_brackets, split_alias, split_outside_brackets, unquoted
from bench.reporting.board import Board
from bench.reporting.style import MethodStyle, MethodStyles
from bench.reporting.text import NONE, number
from bench.results.aggregate import Values, audit_cell_values
from bench.results.columns import CELL

CELLS = ("method", "network", "label_pct", "organ", "metric", "setting", "mean", "std", "source")
PUBLISHED, HERE = "published", "here"
MAIN = ("naive", "inerrant0", "inerrant")
OTHERS = ("bai", "asdnet", "uamt")
SCORES = ("inerrant_mcp", "inerrant")
PUBLISHED_STYLES = MethodStyles(
    {
        "naive": MethodStyle("Naive", order=5),
        "inerrant0": MethodStyle("INERRANT⁰", order=10),
        "inerrant": MethodStyle("INERRANT", order=15),
        "inerrant_mcp": MethodStyle("INERRANT (MCP)", order=25),
        "bai": MethodStyle("Bai et al.", order=30),
        "asdnet": MethodStyle("ASDNet", order=35),
        "uamt": MethodStyle("UA-MT", order=40),
    }
)
"""Methods of the paper, which may have no results here."""
RANKING = ("auc", "ap_success", "ap_error")
MEAN = "mean"
HEADINGS = {
    "dsc": "DSC",
    "auc": "AUC",
    "ap_success": "AP success",
    "ap_error": "AP error",
    "gamma": "added",
    "precision": "precision",
    "recall": "recall",
    "label_pct": "labelled",
    "setting": "",
}


@dataclass(frozen=True)
class Layout:
    """One table of the paper.

    Attributes
    ----------
    number, caption
        As in the paper.
    data
        The data set of the published table.
    lines, column
        Fields of ``CELLS`` that name a line, and the one whose values are columns.
    metrics
        The metrics shown.
    methods
        The methods; their variants are included.
    organs
        Whether it has values per organ.
    """

    number: int
    caption: str
    data: str
    lines: tuple[str, ...]
    column: str
    metrics: tuple[str, ...] = ("dsc",)
    methods: tuple[str, ...] = MAIN
    organs: bool = False


BY_FRACTION = (("method", "network"), "label_pct")
LAYOUTS = (
    Layout(2, "DSC on one organ", "TCIA-Pancreas-CT", *BY_FRACTION),
    Layout(3, "DSC on the liver", "LiTS", *BY_FRACTION),
    Layout(4, "DSC, mean over organs", "private multi-organ", *BY_FRACTION),
    Layout(
        5, "DSC of other methods", "TCIA-Pancreas-CT", *BY_FRACTION, methods=(*MAIN, *OTHERS)
    ),
    Layout(
        6, "What ranks the candidates, first round, and final DSC", "TCIA-Pancreas-CT",
        ("label_pct", "method"), "metric", metrics=(*RANKING, "dsc"), methods=SCORES,
    ),
    Layout(
        7, "Relabelled voxels and DSC, round by round", "private multi-organ",
        ("label_pct", "method", "setting"), "metric",
        metrics=("gamma", "precision", "recall", "dsc"), methods=("inerrant",),
    ),
    Layout(
        8, "Fusion of a complete and a partially labelled data set",
        "private multi-organ + TCIA-Pancreas-CT", ("method", "setting"), "organ", organs=True,
    ),
    Layout(
        9, "DSC per organ", "private multi-organ", ("label_pct", "method"), "organ", organs=True
    ),
    Layout(
        10, "What ranks the candidates, per organ, first round", "private multi-organ",
        ("label_pct", "metric", "method"), "organ", metrics=RANKING, methods=SCORES, organs=True,
    ),
)  # fmt: skip
JOINED = ("fusion", "union")
"""Data sets that join others: Table 8 is about them."""
SAME_DATA = {"lits": "LiTS"}
"""Data sets here that the paper used."""


class _Trained(NamedTuple):
    """A source of a training."""

    text: str
    keeps: tuple[str, ...]
    """The organs used of it; () if all are."""


@cache
def published() -> pd.DataFrame:
    """Return the published numbers (Petit et al. 2021): ``CELLS``, ``table`` and ``data``."""
    path = Path(__file__).with_name("published.csv")
    cells = pd.read_csv(path, keep_default_na=False, na_values={"std": [""]})
    return cells.assign(source=PUBLISHED)


def fitting(dataset: str, n_organs: int) -> list[Layout]:
    """Return the layouts for a data set: those of its own table, else of its kind."""
    if parse_brackets(dataset)[0] in JOINED:
        return [layout for layout in LAYOUTS if layout.number == 8]
    is_lits = SAME_DATA.get(parse_brackets(dataset)[0]) == "LiTS"
    numbers = {4, 5, 6, 7, 9, 10} if n_organs > 1 else {3 if is_lits else 2, 5, 6, 7}
    return [layout for layout in LAYOUTS if layout.number in numbers]


def measured(
    values: Values, audit: pd.DataFrame, layout: Layout, networks: Collection[str] | None = None
) -> pd.DataFrame:
    """Return the cells that results and audit of one data set and profile give for a layout.

    Parameters
    ----------
    values
        The cells of the results.
    audit
        Their audit.
    layout
        The table.
    networks
        Those that it shows; all by default.
    """
    parts = [_scores(values, layout)] if "dsc" in layout.metrics else []
    if layout.number == 8:
        parts = [_fused(part, str(values.table["dataset"].iloc[0])) for part in parts]
    if set(layout.metrics) - {"dsc"} and not audit.empty:
        parts.append(_audited(audit, layout))
    columns = [*CELLS[:-1], "backbone"]
    cells = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    kept = cells["method"].map(lambda method: parse_brackets(method)[0] in layout.methods)
    if networks is not None:
        kept &= cells["backbone"].isin(networks)
    return cells.loc[kept.astype(bool), list(CELLS[:-1])].assign(source=HERE)


def to_board(
    layout: Layout, cells: pd.DataFrame, styles: MethodStyles = PUBLISHED_STYLES, digits: int = 2
) -> Board:
    """Return a layout filled with cells of both sources, a line per source.

    Label fractions decrease, methods have the order of every table, the mean over organs is last.
    """
    field = layout.column
    lines = _sorted_lines(cells, (*layout.lines, "source"), styles)
    names = _sorted_columns(cells, layout, styles)
    text = {
        (tuple(key), column): _text(mean, std, digits)
        for *key, column, mean, std in cells[
            [*layout.lines, "source", field, "mean", "std"]
        ].itertuples(index=False)
    }
    labels = [
        {
            HEADINGS.get(name, name): _shown(name, value, styles)
            for name, value in zip((*layout.lines, "source"), line, strict=True)
        }
        for line in lines
    ]
    values = [
        {_shown(field, column, styles): text.get((line, column), NONE) for column in names}
        for line in lines
    ]
    frame = pd.DataFrame([label | value for label, value in zip(labels, values, strict=True)])
    return Board(
        title=f"Table {layout.number}. {layout.caption}",
        frame=frame,
        notes=(),
        labels=len(layout.lines) + 1,
        colours=styles.colours(str(line[layout.lines.index("method")]) for line in lines),
    )


def _scores(values: Values, layout: Layout) -> pd.DataFrame:
    rounds = ["round"] if "setting" in layout.lines else []
    found = values.cells(*rounds, *(["organ"] if layout.organs else []))
    if layout.organs:
        found = pd.concat([found, values.cells(*rounds).assign(organ=MEAN)], ignore_index=True)
    else:
        found = found.assign(organ=MEAN)
    dims = values.table[["backbone", "dims"]].drop_duplicates("backbone").set_index("backbone")
    network = dims["dims"].map(" ({}D)".format)
    return found.assign(
        network=found["backbone"] + found["backbone"].map(network),
        metric="dsc",
        setting=found["round"].map("round {}".format) if rounds else "",
    )[[*CELLS[:-1], "backbone"]]


def _fused(cells: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """Add to cells what each line of Table 8 was trained on; drop organs that it never saw."""
    sources = _sources(dataset)

    def trained_on(method: str) -> tuple[str, ...]:
        chosen = parse_brackets(method)[1]
        if chosen.get("volumes") == "complete":
            return (next(iter(sources)),)
        return (chosen["source"],) if chosen.get("source") in sources else tuple(sources)

    def seen(method: str, organ: str) -> bool:
        kept = [sources[name].keeps for name in trained_on(method)]
        return not all(kept) or any(organ in organs for organs in kept)

    found = cells.assign(
        setting=[
            ", ".join(sources[name].text for name in trained_on(method))
            for method in cells["method"]
        ]
    )
    return found[np.array([*map(seen, cells["method"], cells["organ"])], bool)]


def _sources(dataset: str) -> dict[str, _Trained]:
    """Return what a fusion or union joins, by name; the one with complete labels first."""
    name, options = parse_brackets(dataset)
    if name == "fusion":
        kept = tuple(options["keeps"].split(":"))
        return {
            "full": _Trained(f"{options['n_full']} complete", ()),
            "partial": _Trained(f"{options['partial']} with the {', '.join(kept)}", kept),
        }
    found = {}
    for source in split_outside_brackets(options["sources"], ":"):
        alias, part = split_alias(source)
        base, inner = parse_brackets(part)
        domain = alias or base
        kept = tuple(map(unquoted, split_outside_brackets(inner.get("organs", ""), ":")))
        drawn = "n_train" in options and domain == options["test"]
        text = f"{options['n_train']} of {domain}" if drawn else domain
        text += f" with the {', '.join(kept)}" if any(kept) else ""
        found[domain] = _Trained(text, kept if any(kept) else ())
    return found


def _audited(audit: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    by = [*CELL, "round", *(["organ"] if layout.organs else [])]
    found = audit_cell_values(audit, by)
    if not layout.organs:
        found["organ"] = MEAN
    if "setting" not in layout.lines:  # only there do both scores rank voxels of the same model
        found = found[found["round"] == 1]
    parts = [
        found.assign(
            network=found["backbone"],
            metric=metric,
            setting=found["round"].map("round {}".format) if "setting" in layout.lines else "",
            mean=100 * found[metric],
            std=100 * found[f"{metric}_std"],
        )[[*CELLS[:-1], "backbone"]]
        for metric in layout.metrics
        if metric != "dsc"
    ]
    return pd.concat(parts, ignore_index=True)


def _sorted_lines(
    cells: pd.DataFrame, fields: tuple[str, ...], styles: MethodStyles
) -> list[tuple[object, ...]]:
    found = {tuple(line) for line in cells[list(fields)].itertuples(index=False)}

    def place(line: tuple[object, ...]) -> list[object]:
        return [_place(field, value, styles) for field, value in zip(fields, line, strict=True)]

    return sorted(found, key=place)


def _sorted_columns(cells: pd.DataFrame, layout: Layout, styles: MethodStyles) -> list[object]:
    if layout.column == "metric":
        return list(layout.metrics)
    values = list(dict.fromkeys(cells[layout.column]))
    if layout.column == "organ":
        return sorted(values, key=lambda organ: organ == MEAN)  # stable: the paper's, then ours
    return sorted(values, key=lambda value: _place(layout.column, value, styles))


def _place(field: str, value: object, styles: MethodStyles) -> tuple[object, ...]:
    if field == "label_pct":
        return (-int(str(value)),)
    if field == "method":
        return styles.key(str(value))
    if field == "metric":
        return (list(HEADINGS).index(str(value)),)
    if field == "source":
        return (value == HERE,)
    return (value,)


def _shown(field: str, value: object, styles: MethodStyles) -> str:
    if field == "label_pct":
        return f"{value} %"
    if field == "method":
        return styles.name(str(value))
    return HEADINGS.get(str(value), str(value))


def _text(mean: float, std: float, digits: int) -> str:
    text = number(mean, digits)
    return text if np.isnan(std) or text == NONE else f"{text} ± {number(std, digits)}"
