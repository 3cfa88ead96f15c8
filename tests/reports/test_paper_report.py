"""Tables 2 to 10 of the paper rebuilt from its numbers, and filled with ours."""

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.cbook import boxplot_stats
from tables import audit_table, in_memory, of_two_sites, pictures_table, result_table
from trees import shared_data

from bench.plugins import registry
from bench.reporting.report import Report
from bench.reporting.scores import of_results
from bench.reporting.style import MethodStyles
from bench.reports._figures import boxplots
from bench.reports.paper import Paper
from bench.reports.paper.layout import CELLS, LAYOUTS, fitting, measured, published, to_board
from bench.reports.paper.panels import figures
from bench.results.aggregate import Values, cell_values, final_models
from bench.results.tables import AUDIT

COUNTS = {2: 22, 3: 13, 4: 13, 5: 24, 6: 32, 7: 42, 8: 16, 9: 84, 10: 168}
STATS = "whislo", "q1", "med", "q3", "whishi"
NAMES = {
    "naive": "Naive",
    "inerrant0": "INERRANT⁰",
    "inerrant": "INERRANT",
    "bai_pseudo_labels": "Bai et al.",
    "asdnet_adversarial": "ASDNet",
    "uamt_consistency": "UA-MT",
    "learned_conf": "INERRANT",
    "mcp_smile": "INERRANT (MCP)",
}
METRICS = {
    "DSC": "DSC",
    "DSC_final": "DSC",
    "AUC": "AUC",
    "AP_success": "AP success",
    "AP_error": "AP error",
    "added_pixels": "added",
    "relabel_precision": "precision",
    "relabel_recall": "recall",
}


def rebuilt(number: int) -> pd.DataFrame:
    """Return a table as the report lays it out, with the published numbers alone."""
    (layout,) = (layout for layout in LAYOUTS if layout.number == number)
    cells = published()[published()["table"] == number]
    return to_board(layout, cells[list(CELLS)]).frame


def address(row: dict[str, str]) -> tuple[dict[str, str], str]:
    """Return the line (heading -> text) and the column in which a reference row has to stand."""
    line = {"source": "published", "method": NAMES[row["method"]]}
    pct = f"{row['proportion']} %"
    organ = "mean" if row["organ"].startswith("mean7") else row["organ"]
    match row["table"]:
        case "2" | "3" | "4" | "5":
            return line | {"network": f"U-Net {row['backbone'][-2:].upper()}"}, pct
        case "6":
            return line | {"labelled": pct}, METRICS[row["metric"]]
        case "7":
            step = re.search(r"step=(\d)", row["extra"]).group(1)
            line |= {"method": "INERRANT", "labelled": pct, "": f"round {step}"}
            return line, METRICS[row["metric"]]
        case "8":
            complete = "9 complete"
            if "only=82" in row["extra"]:
                complete += ", 82 with the pancreas"
            return line | {"": complete}, organ
        case "9":
            return line | {"labelled": pct}, organ
        case "10":
            return line | {"labelled": pct, "metric": METRICS[row["metric"]]}, organ
    raise AssertionError(row)


@pytest.mark.parametrize("number", COUNTS)
def test_a_table_is_rebuilt_cell_by_cell(number: int) -> None:
    path = shared_data("../reference") / "paper_results.csv"
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["table"] == str(number)]
    frame = rebuilt(number)
    assert len(rows) == COUNTS[number]
    places = set()
    for row in rows:
        line, column = address(row)
        chosen = frame[(frame[list(line)] == pd.Series(line)).all(axis=1)]
        assert len(chosen) == 1, line
        expected = f"{float(row['mean']):.2f}"
        if row["std"]:
            expected += f" ± {float(row['std']):.2f}"
        assert chosen[column].item() == expected, (line, column)
        places.add((chosen.index.item(), column))
    columns = [name for name in frame if not set(frame[name]) & set(NAMES.values())]
    filled = frame[columns].map(lambda text: bool(re.match(r"\d+\.\d\d( ±|$)", text)))
    assert len(places) == len(rows) == int(filled.sum().sum())


@pytest.mark.parametrize("number", COUNTS)
def test_the_published_numbers_are_complete(number: int) -> None:
    assert (published()["table"] == number).sum() == COUNTS[number]
    assert len(published()) == 414


def test_means_over_organs_agree_with_the_table_per_organ() -> None:
    cells = published()
    means = cells[cells["table"] == 4].set_index(["method", "label_pct"])["mean"]
    organs = cells[cells["table"] == 9].groupby(["method", "label_pct"])["mean"].mean()
    assert (means[organs.index] - organs).abs().max() < 0.0061
    assert len(organs) == 12


def test_data_sets_get_the_tables_that_fit_them() -> None:
    assert [layout.number for layout in fitting("lits[binary=true]", 1)] == [3, 5, 6, 7]
    assert [layout.number for layout in fitting("other", 1)] == [2, 5, 6, 7]
    assert [layout.number for layout in fitting("phantom", 6)] == [4, 5, 6, 7, 9, 10]


def test_our_cells_are_those_of_the_results() -> None:
    table = result_table(methods=("naive", "inerrant0", "inerrant", "bai", "full"))
    by_number = {layout.number: layout for layout in LAYOUTS}
    audit = AUDIT.frame([])
    five = measured(Values(table), audit, by_number[5])
    assert set(five["method"]) == {"naive", "inerrant0", "inerrant", "bai"}
    expected = cell_values(final_models(table)).set_index(["method", "label_pct"])["mean"]
    for _, cell in five.iterrows():
        assert cell["mean"] == pytest.approx(expected[cell["method"], cell["label_pct"]])
    nine = measured(Values(table), audit, by_number[9])
    assert set(nine["organ"]) == {"liver", "spleen", "mean"}
    seven = measured(Values(table), audit, by_number[7])
    assert set(seven["setting"]) == {"round 0", "round 1", "round 2"}
    ranked = measured(Values(table), audit_table(), by_number[10])
    assert set(ranked["metric"]) == {"auc", "ap_success", "ap_error"}
    assert ranked.loc[ranked["metric"] == "auc", "mean"].unique() == pytest.approx([80.0])


def test_files_say_what_is_missing_and_whose_data(tmp_path: Path) -> None:
    table = result_table(methods=("naive", "inerrant0"), dataset="lits", organs=("liver",))
    paths = Paper().build(in_memory(results=table)).write(tmp_path)
    assert [path.name for path in paths] == [
        "paper.md", "paper.csv", "paper.tex", "paper.html", "figure4-1.svg", "figure4-1.pdf",
        *(
            f"paper-{what}-{number}.{kind}"
            for number in (1, 2)
            for what in ("differences", "matrix")
            for kind in ("svg", "pdf")
        ),
    ]  # fmt: skip
    text = paths[0].read_text()
    assert "Same data: yes. Published on LiTS" in text
    assert "Same data: no. Published on TCIA-Pancreas-CT" in text
    assert "Not run here: Naive at 100, 10, 5, 1 %; INERRANT⁰ at 10, 5, 1 %; INERRANT." in text
    assert "93.12 ± 1.41" in text
    shuffled = table.sample(frac=1, random_state=1)
    again = Paper().build(in_memory(results=shuffled)).write(tmp_path / "again")
    for first, second in zip(paths, again, strict=True):
        assert first.read_bytes() == second.read_bytes()


def test_two_networks_do_not_share_a_line(tmp_path: Path) -> None:
    flat = result_table(methods=("inerrant0", "inerrant"))
    deep = flat.assign(backbone="unet3d", dims=3, stage=flat["stage"] + "3d")
    both = pd.concat([flat, deep], ignore_index=True)
    text = Paper().build(in_memory(results=both)).files["paper.md"]
    assert "unet3d (3D)" in text
    assert "phantom, profile smoke, unet3d. Table 9" in text
    assert "phantom, profile smoke, unet. Table 9" in text


def test_it_is_registered() -> None:
    assert registry.load("reports", "paper", Report) is Paper


@pytest.mark.parametrize(("across", "lines"), [(64, 1), (4, 2), (1, 3)])
def test_many_boxes_go_on_in_a_further_row(
    across: int, lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxplots, "BOXES_ACROSS", across)
    organs = ("kidney", "liver", "spleen")
    table = result_table(methods=("naive", "inerrant"), organs=organs)
    some = table[(table["organ"] != "spleen") | (table["label_pct"] == 50)]
    figure = boxplots.boxes(of_results(some), MethodStyles.of(some))
    shown = [
        (axis.get_title(), tick.get_text())
        for axis in figure.axes
        for tick in axis.get_xticklabels()
    ]
    assert shown == [(f"{pct} % labelled", organ) for pct in (50, 30) for organ in organs]
    assert len(figure.axes) == 2 * lines
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["Naive", "INERRANT"]


@pytest.mark.parametrize("size", [1, 2, 4, 5, 61])
def test_boxes_are_those_of_matplotlib(size: int) -> None:
    rng = np.random.default_rng(size)
    values = np.append(rng.standard_cauchy(size).round(1), np.nan)
    rows = pd.DataFrame({"value": values, "patient": [f"p{n}" for n in range(size + 1)]})
    scores = rows.assign(organ="liver", method="naive", seed=0, label_pct=30)
    summary, points = boxplots._boxed(scores, None)
    (expected,) = boxplot_stats(values[:-1])
    (found,) = summary[["least", "low", "median", "high", "most"]].to_numpy()
    assert list(found) == pytest.approx([expected[name] for name in STATS])
    assert sorted(points["value"]) == sorted(expected["fliers"])
    anchors = pd.Series("case-3", scores.index[-2:])
    _, linked = boxplots._boxed(scores, anchors)
    assert len(linked) == len(set(points["patient"]) | {f"p{size - 1}"})


def test_figures_come_from_pictures(tmp_path: Path) -> None:
    table = result_table(methods=("inerrant0", "inerrant"))
    pictures = pictures_table()
    drawn = []
    for name, rows in (("a", pictures), ("b", pictures.sample(frac=1, random_state=0))):
        paths = Paper().build(in_memory(results=table, pictures=rows)).write(tmp_path / name)
        drawn.append({path.name: path.read_bytes() for path in paths})
    panels = {"figure5-1.png", "figure6-1.png", "figure8-1.png"}
    assert panels < set(drawn[0])
    assert drawn[0] == drawn[1]
    only = pictures[pictures["method"] == "inerrant0"]
    few = Paper().build(in_memory(results=table, pictures=only))
    assert not set(few.files) & panels


def test_captions_stay_within_their_figure() -> None:
    organs = "+".join(["pancreas"] * 12)
    long = f"fusion[full=phantom,partial=phantom[seed=1],keeps={organs},n_full=9]"
    pictures = pictures_table().assign(dataset=long, case="a_case_with_quite_a_long_name")
    for _, figure in figures(pd.concat([pictures, pictures.assign(dataset="phantom")])):
        figure.canvas.draw()
        (caption,) = figure.texts
        box = caption.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width


def test_table_8_says_how_much_of_what_each_line_was_trained_on() -> None:
    name = "union[sources=near=a:far=b[organs=liver],test=near,n_train=2]"
    methods = ("inerrant0[source=near]", "inerrant0[source=far]", "inerrant0", "inerrant")
    table = result_table(methods=methods, fractions=(100,), dataset=name)
    (eight,) = Paper().build(in_memory(results=table)).boards
    ours = eight.frame[eight.frame["source"] == "here"].set_index("method")
    both = "2 of near, far with the liver"
    assert ours[""].to_dict() == {
        "INERRANT⁰": both,
        "INERRANT⁰ [source=far]": "far with the liver",
        "INERRANT⁰ [source=near]": "2 of near",
        "INERRANT": both,
    }
    assert ours.loc["INERRANT⁰ [source=far]", ["spleen", "mean"]].tolist() == ["–", "–"]
    notes = " ".join(eight.notes)
    assert (
        "Steps of training: 600 INERRANT⁰, INERRANT⁰ [source=far], INERRANT⁰ [source=near]; "
        "1000 INERRANT."
    ) in notes
    assert "domains" not in notes
    shorter = Paper().build(in_memory(results=table[table["method"] != "inerrant"])).boards
    assert "Steps of training" not in " ".join(shorter[0].notes)
    assert "2 domains" in " ".join(
        Paper().build(in_memory(results=of_two_sites(table))).boards[0].notes
    )


def test_figure_7_shows_the_partial_cases_of_a_fusion(tmp_path: Path) -> None:
    name = "fusion[full=a,partial=b,keeps=liver,n_full=2]"
    table = result_table(fractions=(100,), dataset=name)
    pictures = pictures_table()
    pictures = pictures[pictures["label_pct"] == 50].assign(dataset=name, label_pct=100)
    written = Paper().build(in_memory(results=table, pictures=pictures)).write(tmp_path)
    drawn = {path.name for path in written if path.suffix == ".png"}
    assert drawn == {"figure7-1.png"}
    text = (tmp_path / "paper.md").read_text(encoding="utf-8")
    assert "Table 8." in text
    assert "Table 4." not in text
