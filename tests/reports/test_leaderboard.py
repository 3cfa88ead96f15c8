import re
import subprocess
import sys

import pandas as pd
import pytest
from rich.console import Console
from tables import in_memory, of_two_sites, result_table, two_patients

from bench.errors import BenchError
from bench.plugins import registry
from bench.reporting import board
from bench.reporting.latex import to_latex
from bench.reporting.report import Report
from bench.reporting.scored import Measured
from bench.reporting.style import MethodStyles
from bench.reports.leaderboard import Leaderboard, leaderboards, numbers
from bench.results.columns import CELL, GROUP


def boards_by(table, metric="dsc", by="method", **options):
    return leaderboards(Measured(table, metric), by, **options)


def only_frame(table):
    (shown,) = boards_by(table)
    return shown.frame


def marks_of(shown: board.Board, column: str) -> list[str]:
    position = shown.frame.columns.get_loc(column)
    return [line[position][1] for line in shown.lines()]


def test_rows_columns_and_cells():
    values = {("naive", 0): 10, ("naive", 1): 14, ("inerrant0", 0): 50, ("inerrant0", 1): 60}
    table = two_patients(
        {(method, fold, f"p{fold}", "liver"): dsc for (method, fold), dsc in values.items()}
    )
    frame = only_frame(table)
    assert frame.columns.tolist() == ["method", "30 %", "n", "folds", "steps", "time"]
    assert frame["method"].tolist() == ["Naive", "INERRANT⁰"]
    assert frame["30 %"].tolist() == ["12.0 ± 2.8", "55.0 ± 7.1"]
    assert frame.iloc[0, 2:].tolist() == ["2", "2", "10", "1 s"]


def test_fractions_descend_and_methods_keep_the_fixed_order():
    methods = ["full", "inerrant[rounds=3]", "inerrant", "bai", "inerrant0", "naive"]
    frame = only_frame(result_table(methods=methods, fractions=(10, 100, 30)))
    assert frame.columns[1:4].tolist() == ["100 %", "30 %", "10 %"]
    assert frame["method"].tolist() == [
        "Naive",
        "INERRANT⁰",
        "INERRANT",
        "INERRANT [rounds=3]",
        "Bai et al.",
        "Full labels",
    ]


def test_one_fold_shows_no_spread():
    cells = only_frame(result_table(folds=[1]))["30 %"]
    assert cells.map(lambda cell: bool(re.fullmatch(r"\d+\.\d", cell))).all()


def incomplete_table():
    table = result_table(folds=range(3))
    gone = (table["method"] == "inerrant") & (table["fold"] == 1) & (table["label_pct"] == 30)
    never = (table["method"] == "naive") & (table["label_pct"] == 50)
    return table[~(gone & table["final"]) & ~never]


def test_incomplete_cells_are_named_and_not_bold():
    (shown,) = boards_by(incomplete_table())
    frame = shown.frame.set_index("method")
    assert "Missing: inerrant fold 1 at 30 %." in shown.notes
    assert "No final model: naive at 50 %." in shown.notes
    assert frame.loc["INERRANT", "30 %"].endswith("(2/3 folds)")
    assert frame.loc["Naive", "50 %"] == "–"
    marks = dict(zip(frame.index, marks_of(shown, "30 %"), strict=True))
    # INERRANT lacks a fold and is ahead on the others: nothing is best, it is not beaten.
    assert marks == {"Naive": "", "INERRANT⁰": "", "INERRANT": "tied"}


def test_a_method_that_lacks_a_patient_is_named_and_never_best():
    table = result_table(folds=range(3))
    best = (table["method"] == "inerrant") & (table["label_pct"] == 30) & table["final"]
    (shown,) = boards_by(table[~(best & (table["case"] == "case00"))])
    frame = shown.frame.set_index("method")
    assert frame.loc["INERRANT", "30 %"].endswith(" (incomplete)")
    assert "incomplete" not in frame.loc["INERRANT", "50 %"]
    (note,) = (note for note in shown.notes if note.startswith("Not scored"))
    assert "inerrant 2 pairs at 30 % (case00)." in note
    marks = dict(zip(frame.index, marks_of(shown, "30 %"), strict=True))
    assert marks["INERRANT"] == "tied"
    assert marks["INERRANT⁰"] == ""


def test_fold_without_any_value_is_named():
    nan = float("nan")
    table = two_patients({("m", 0, "a", "liver"): 80, ("m", 1, "b", "liver"): nan})
    (shown,) = boards_by(table)
    assert shown.frame["30 %"].tolist() == ["80.0 (1/2 folds)"]
    assert "Every pair NaN: m fold 1 at 30 %." in shown.notes
    assert any(
        note.startswith("Of 2 (case, organ) pairs 0 are 0 and 1 are NaN") for note in shown.notes
    )


def test_organs_that_lack_a_value_in_a_fold_are_mentioned():
    table = two_patients(
        {
            ("m", 0, "a", "liver"): 80,
            ("m", 0, "a", "spleen"): 60,
            ("m", 1, "b", "liver"): 40,
            ("m", 1, "b", "spleen"): float("nan"),
        }
    )
    (shown,) = boards_by(table)
    assert shown.frame["30 %"].tolist() == ["55.0 ± 21.2"]
    assert any(note.startswith("Organs behind a fold value: 1 to 2") for note in shown.notes)
    (organs,) = boards_by(table, by="organ")
    assert organs.frame["30 %"].tolist() == ["60.0 ± 28.3", "60.0 (1/2 folds)"]


def test_upper_bound_is_never_the_best():
    (shown,) = boards_by(result_table(methods=["inerrant0", "bai", "full"]))
    assert marks_of(shown, "30 %") == ["", "best", ""]
    assert marks_of(boards_by(result_table(methods=["inerrant0", "full"]))[0], "30 %") == [
        "",
        "",
    ]


def test_lower_hd95_is_better_and_missed_organs_are_counted():
    (shown,) = boards_by(result_table(methods=["naive", "inerrant0"]), "hd95_mm")
    assert marks_of(shown, "30 %") == ["", "best"]
    assert any(note.startswith("Of 72 (case, organ) pairs 6 are NaN") for note in shown.notes)


def test_notes_say_what_the_numbers_are():
    (shown,) = boards_by(result_table(seeds=[0, 1]))
    notes = " ".join(shown.notes)
    for text in (
        "DSC in %",
        "9 test patients (n), folds 0, 1, 2, seed 0, 1, 2 organs: liver, spleen.",
        "one of them empty is 0",
        "Computed on cpu with bench 0.1.0, torch 2.14.1.",
        "Holm's correction",
    ):
        assert text in notes


def test_zeros_and_nan_are_counted_by_method_and_cause():
    table = two_patients(
        {
            ("m", 0, "a", "liver"): float("nan"),
            ("m", 0, "a", "spleen"): 60,
            ("m", 1, "b", "liver"): 0,
            ("m", 1, "b", "spleen"): 0,
            ("naive", 0, "a", "liver"): float("nan"),
            ("naive", 0, "a", "spleen"): 60,
            ("naive", 1, "b", "liver"): 50,
            ("naive", 1, "b", "spleen"): 50,
        }
    )
    (shown,) = boards_by(table, by="failures")
    assert shown.title.endswith(": DSC, zeros and NaN")
    assert shown.frame.to_dict("records") == [
        {"method": "Naive", "30 %": "1/4", "apart": "0", "both empty": "1"},
        {"method": "m", "30 %": "3/4", "apart": "2", "both empty": "1"},
    ]
    (main,) = boards_by(table)
    assert any(
        note.startswith("Of 8 (case, organ) pairs 2 are 0 and 2 are NaN") for note in main.notes
    )
    assert boards_by(table[table["dsc"] > 0], by="failures") == []
    missed = result_table(methods=["naive", "inerrant0"])
    (distances,) = boards_by(missed, "hd95_mm", "failures")
    assert distances.frame.to_dict("records") == [
        {"method": "Naive", "50 %": "3/18", "30 %": "3/18", "missed": "6"},
        {"method": "INERRANT⁰", "50 %": "0/18", "30 %": "0/18", "missed": "0"},
    ]


def test_pairs_without_a_voxel_size_are_counted_apart_where_the_metric_needs_it():
    table = result_table(methods=["naive", "inerrant0"])
    lost = table["patient"] == table["patient"].iloc[0]
    table.loc[lost, ["spacing_known", "hd95_mm", "nsd"]] = False, float("nan"), float("nan")
    (distances,) = boards_by(table, "hd95_mm", "failures")
    unmeasured = lost.groupby(table["method"]).sum()
    assert list(distances.frame["not measurable"]) == [
        str(unmeasured[method]) for method in ("naive", "inerrant0")
    ]
    assert any(note.startswith("Not measurable: the release gives no") for note in distances.notes)
    for shown in boards_by(table, "dsc", "failures"):
        assert "not measurable" not in shown.frame


def test_each_version_behind_a_board_is_named_once():
    table = result_table()
    old, new = "bench 0.1.0, torch 2.14.1", "bench 0.2.0, torch 2.14.1"
    table.loc[table["fold"] == 0, "software"] = f"{old}; {new}"
    (shown,) = boards_by(table)
    assert f"Computed on cpu with {old}; {new}." in shown.notes


def test_views_by_round_and_by_organ():
    table = result_table(methods=["naive", "inerrant"])
    (rounds,) = boards_by(table, by="round")
    assert rounds.frame[["method", "round"]].to_numpy().tolist() == [
        ["INERRANT", "0"],
        ["INERRANT", "1"],
        ["INERRANT", "2"],
    ]
    assert rounds.frame["steps"].tolist() == ["600", "800", "1000"]
    (organs,) = boards_by(table, by="organ")
    assert organs.frame[["organ", "method"]].to_numpy().tolist() == [
        ["liver", "Naive"],
        ["liver", "INERRANT"],
        ["spleen", "Naive"],
        ["spleen", "INERRANT"],
    ]
    assert marks_of(organs, "30 %") == ["", "best", "", "best"]
    assert boards_by(result_table(methods=["naive"]), by="round") == []
    assert boards_by(result_table(organs=["liver"]), by="organ") == []


def test_a_method_without_any_final_model_is_listed():
    table = result_table()
    table["final"] &= table["method"] != "inerrant"
    (shown,) = boards_by(table)
    assert shown.frame.iloc[-1].tolist() == ["INERRANT", *["–"] * 6]
    assert "No final model: inerrant at 50 %; inerrant at 30 %." in shown.notes
    (nothing,) = boards_by(table[table["method"] == "inerrant"])
    assert set(nothing.frame["30 %"]) == {"–"}


def test_several_data_sets_make_several_boards():
    first, second = result_table(), result_table(dataset="other", organs=["liver"])
    both = pd.concat([second, first], ignore_index=True)
    assert [shown.title.split(",")[0] for shown in boards_by(both)] == ["other", "phantom"]
    with pytest.raises(BenchError, match="no row"):
        boards_by(first.iloc[:0])


def test_files_are_the_same_for_the_same_rows(tmp_path):
    table = incomplete_table()
    for name, rows in (("a", table), ("b", table.sample(frac=1, random_state=3))):
        paths = Leaderboard().build(in_memory(results=rows)).write(tmp_path / name)
        assert [path.suffix for path in paths[:4]] == [".md", ".csv", ".tex", ".html"]
        assert {path.suffix for path in paths[4:]} == {".svg", ".pdf"}
    for path in paths:
        assert path.read_bytes() == (tmp_path / "a" / path.name).read_bytes()
        if path.suffix == ".pdf":  # each face of the font once: regular, and bold in a matrix
            assert path.read_bytes().count(b"/FontFile2") <= (2 if "matrix" in path.name else 1)
    other = Leaderboard(metric="nsd").build(in_memory(results=table))
    assert "leaderboard-nsd.md" in other.files


@pytest.mark.parametrize(("folds", "grey"), [([0], True), (range(3), False)])
def test_what_one_fold_cannot_test_is_grey_in_the_matrix(folds, grey):
    tables = in_memory(results=result_table(methods=["naive", "inerrant0"], folds=folds))
    drawing = Leaderboard().build(tables).files["leaderboard-matrix-1.svg"]
    assert ("#8a8a8a" in str(drawing)) == grey


def test_renderings_escape_and_keep_every_cell():
    boards = boards_by(result_table(methods=["inerrant0", "inerrant[score=a_b]"]))
    cells = [cell for line in boards[0].lines() for cell, _ in line]
    markdown, html = board.to_markdown(boards, "L"), board.to_html(boards, "L & <b>")
    assert all(cell.replace("_", r"\_") in markdown for cell in cells)
    assert all(cell in html for cell in cells)
    assert "<h1>L &amp; &lt;b&gt;</h1>" in html
    assert "http:" not in html
    assert "https:" not in html
    latex = to_latex(boards)
    assert r"INERRANT\textsuperscript{0}" in latex
    assert r"[score=a\_b]" in latex
    assert r"\textbf{" in latex
    assert latex.isascii()
    assert latex.count("{") == latex.count("}")


def test_a_board_names_organs_with_next_to_no_label():
    table = result_table(methods=["naive"], fractions=[30], folds=[0, 1])
    run = table[[*GROUP, "label_pct"]].iloc[0].to_dict() | {"seed": 0, "rule": "ignored"}
    counts = {("liver", 0): 9, ("liver", 1): 7, ("spleen", 0): 1, ("spleen", 1): 4}
    targets = pd.DataFrame(
        [run | {"organ": o, "fold": f, "labelled": n} for (o, f), n in counts.items()]
    )
    told = "Labelled in fewer than 3 training scans of a fold: spleen at 30 % (1 to 4)."
    for by in ("method", "organ"):
        (shown,) = boards_by(table, by=by, targets=targets)
        assert told in shown.notes
    elsewhere = targets.assign(profile="other")
    (shown,) = boards_by(table, targets=elsewhere)
    assert not any(note.startswith("Labelled in") for note in shown.notes)


def test_a_board_says_what_its_noise_floor_is_or_that_it_has_none():
    missing = "No noise floor, which takes two methods with all scores of several seeds."
    (shown,) = boards_by(result_table(methods=["inerrant0", "inerrant"]))
    assert missing in shown.notes
    table = result_table(methods=["inerrant0", "inerrant"], seeds=[0, 1], fractions=[30, 10])
    (shown,) = boards_by(table)
    assert missing not in shown.notes
    (told,) = [note for note in shown.notes if note.startswith("Noise floor: ")]
    assert re.search(r"[\d.]+ points at 30 % and [\d.]+ points at 10 %\. Means over 2 seeds ", told)
    (alone,) = boards_by(result_table(methods=["inerrant0"], fractions=[30]))
    assert not any("noise" in note.lower() for note in alone.notes)


def test_test_cases_of_several_domains_are_also_shown_domain_by_domain():
    table = of_two_sites(result_table(methods=["naive", "inerrant"]))
    (whole,) = boards_by(table)
    mixed = "Test patients are of 2 domains and averaged together: north 3, south 6."
    assert mixed in whole.notes
    (shown,) = boards_by(table, by="domain")
    assert mixed not in shown.notes
    assert shown.frame[["domain", "method"]].to_numpy().tolist() == [
        ["north", "Naive"],
        ["north", "INERRANT"],
        ["south", "Naive"],
        ["south", "INERRANT"],
    ]
    assert shown.frame["n"].tolist() == ["3", "3", "6", "6"]
    for domain, rows in table.groupby("domain"):
        (alone,) = boards_by(rows)
        lines = shown.frame["domain"] == domain
        assert (shown.frame.loc[lines, "30 %"].to_numpy() == alone.frame["30 %"]).all()
        assert (shown.marks[lines.to_numpy(), 2:4] == alone.marks[:, 1:3]).all()
    cells = numbers(Measured(table))
    assert set(cells["domain"]) == {"all", "north", "south"}
    assert not cells.duplicated([*CELL, "organ", "domain", "round"]).any()
    assert boards_by(result_table(), by="domain") == []
    assert set(numbers(Measured(result_table()))["domain"]) == {"all"}


@pytest.mark.parametrize("width", [60, 100])
def test_terminal_table_loses_no_digit(width):
    boards = boards_by(result_table(fractions=(100, 70, 50, 30, 10)))
    console = Console(width=width, file=None, record=True, quiet=False)
    with console.capture() as capture:
        console.print(board.to_console(boards))
    text = capture.get()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for line in boards[0].lines():
        for number in re.findall(r"\d+\.\d", " ".join(cell for cell, _ in line)):
            assert number in text


def test_csv_holds_the_numbers():
    found = numbers(Measured(result_table(methods=["inerrant"], fractions=[30])))
    assert set(found[["organ", "round"]].itertuples(index=False, name=None)) == {
        ("mean", "final"), ("liver", "final"), ("spleen", "final"),
        ("mean", "0"), ("mean", "1"), ("mean", "2"),
    }  # fmt: skip


def test_the_report_is_registered_and_light():
    assert registry.load("reports", "leaderboard", Report) is Leaderboard
    code = "import sys, bench.reports.leaderboard; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = (
        "import sys, bench.results.tables, bench.reporting.board; sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_colours_are_fixed_and_distinct():
    shown = ["naive", "inerrant0", "inerrant", "inerrant[rounds=3]", "mine", "mine[lr=0.1]"]
    styles = MethodStyles.of(result_table(methods=("naive", "inerrant0", "inerrant")))
    colours = dict(zip(shown, styles.colours(shown), strict=True))
    assert colours["inerrant0"] == "#D55E00"
    assert len(set(colours.values())) == len(shown)
    assert styles.sort(reversed(shown)) == shown
    assert all(re.fullmatch("#[0-9A-F]{6}", colour) for colour in colours.values())
