"""Tables 1 and 11 of the paper: training targets under each rule, and the network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from bench.reporting.board import Board
from bench.reporting.text import NONE, number
from bench.results.columns import GROUP
from bench.results.tables import OUTCOMES, group_name, grouped

from .layout import PUBLISHED_STYLES

MEASURED, FORMULA, PAPER = "measured", "formula", "the paper's formula"
MEAN = "mean"
METHODS = {"background": "naive", "ignored": "inerrant0"}
"""Rule for voxels without a label -> the method that Table 1 names it after."""
OF_TARGETS = (
    "Share in % of the voxels of the training volumes, mean over folds and seeds. TP: the target "
    "is the organ, rightly; FN: the target is background, but the voxel is organ; FP: the target "
    "is the organ, wrongly; TN: the target is background, rightly. The rest to 100 % is ignored. "
    "Volumes without any annotation of an organ are left out for it.",
    "Formula, with a the share of volumes with the organ's label and b its fraction of the voxels: "
    "TP a b; FN (1 − a) b and TN 1 − b if naive; INERRANT⁰'s TN a (1 − b) + (1 − a) a times the "
    "fraction of all other organs. The paper's TN takes a (1 − b) plus that fraction, "
    "which counts voxels of other organs twice where the organ is labelled, and counts them where "
    "they are not labelled themselves.",
    "They agree in expectation over label subsets, not for each one: scans and organs of the "
    "labelled patients differ in size. With few patients a is not the percentage, but whole "
    "patients.",
)
OF_LAYERS = (
    "Published: of Table 11, for slices of 512 x 512. There an encoder block ends with its "
    "pooling, here it is listed before; upsampling and concatenation belong to a decoder block in "
    "both, but are no layers here.",
    "Parameters include biases. The published totals are 31M for the segmentation network, 0.8M "
    "for the confidence network.",
)


def shares(targets: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1 as numbers.

    Parameters
    ----------
    targets
        Rows of one data set, profile and network.

    Returns
    -------
    pandas.DataFrame
        ``label_pct``, ``rule``, ``outcome``, ``source``, ``organ`` (also ``mean``), ``value`` in %.
    """
    parts = [
        targets[["label_pct", "rule", "organ", "seed", "fold"]].assign(
            source=source, outcome=outcome, value=100 * value
        )
        for source, outcome, value in _values(targets)
    ]
    by = ["label_pct", "rule", "outcome", "source", "organ"]
    found = pd.concat(parts).dropna().groupby(by)["value"].mean().reset_index()
    means = found.groupby(by[:-1])["value"].mean().reset_index().assign(organ=MEAN)
    return pd.concat([found, means], ignore_index=True)


def table_1(targets: pd.DataFrame) -> Iterator[tuple[str, Board, pd.DataFrame]]:
    """Yield location, board and numbers per data set, profile and network."""
    for (_, _, backbone), rows in targets.groupby(list(GROUP)):
        found = shares(rows).replace({"rule": METHODS})
        nowhere = found.groupby(["rule", "outcome"])["value"].transform("max") == 0
        empty = found[nowhere].groupby("rule")["outcome"].unique()
        shown = found[~nowhere]
        lines = [
            {
                "labelled": f"{pct} %",
                "method": PUBLISHED_STYLES.name(rule),
                "voxels": outcome.upper(),
            }
            | {"source": source}
            | line.set_index("organ")["value"].map(lambda value: number(value, 3)).to_dict()
            for (pct, rule, outcome, source), line in _in_order(shown)
        ]
        runs = rows[["seed", "fold"]].drop_duplicates().shape[0]
        zeros = "; ".join(
            f"{PUBLISHED_STYLES.name(str(rule))}: {', '.join(sorted(map(str.upper, outcomes)))}"
            for rule, outcomes in empty.items()
        )
        where = group_name(rows)
        frame = pd.DataFrame(lines).fillna(NONE)
        columns = [*frame.columns.drop(MEAN), MEAN]
        yield (
            where,
            Board(
                title=f"{where}. Table 1. Training targets under each rule",
                frame=frame[columns],
                notes=(*OF_TARGETS, f"{runs} folds and seeds.", f"0 everywhere: {zeros}."),
                labels=4,
            ),
            found.rename(columns={"rule": "method", "outcome": "metric", "value": "mean"}).assign(
                table=1, network=str(backbone), setting="", std=float("nan")
            ),
        )


def table_11(layers: pd.DataFrame) -> Iterator[Board]:
    """Yield a board per data set, profile and network."""
    path = Path(__file__).with_name("published_layers.csv")
    published = pd.read_csv(path).set_index("block")
    for rows in grouped(layers):
        theirs = published.reindex(rows["block"]).fillna(NONE)
        frame = pd.DataFrame(
            {
                "block": rows["block"].to_numpy(),
                "layers": rows["layers"].to_numpy(),
                "output": rows["output"].to_numpy(),
                "published layers": theirs["layers"].to_numpy(),
                "published output": theirs["output"].to_numpy(),
                "parameters": [f"{count:,}" for count in rows["parameters"]],
            }
        )
        totals = rows.groupby("network", sort=False)["parameters"].sum()
        counted = ", ".join(f"{name} {count:,}" for name, count in totals.items())
        yield Board(
            title=f"{group_name(rows)}. Table 11. The network",
            frame=frame,
            notes=(f"Parameters in all: {counted}.", *OF_LAYERS),
            labels=5,
        )


def _values(targets: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series]]:
    """Yield source, outcome and the shares of every row; NaN where a source gives none."""
    for outcome in OUTCOMES:
        yield MEASURED, outcome, targets[outcome] / targets["voxels"]
    a, naive = targets["labelled"] / targets["volumes"], targets["rule"] == "background"
    b, others = targets["organ_voxels"] / targets["voxels"], targets["other_voxels"]
    others = others / targets["voxels"]
    yield FORMULA, "tp", a * b
    yield FORMULA, "fn", ((1 - a) * b).where(naive, 0.0)
    yield FORMULA, "fp", 0 * b
    yield FORMULA, "tn", (1 - b).where(naive, a * (1 - b) + (1 - a) * a * others)
    yield PAPER, "tn", (a * (1 - b) + others).mask(naive)


def _in_order(found: pd.DataFrame) -> list[tuple[tuple[int, str, str, str], pd.DataFrame]]:
    sources = (MEASURED, FORMULA, PAPER)

    def place(group: tuple[tuple[int, str, str, str], pd.DataFrame]) -> tuple[int, int, int, int]:
        pct, rule, outcome, source = group[0]
        return (
            -pct,
            list(METHODS.values()).index(rule),
            OUTCOMES.index(outcome),
            sources.index(source),
        )

    groups = found.groupby(["label_pct", "rule", "outcome", "source"], sort=False)
    return sorted(groups, key=place)  # type: ignore[arg-type]
