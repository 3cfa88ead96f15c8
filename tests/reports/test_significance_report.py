"""The significance report: files, sentences, options."""

import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from tables import in_memory, of_two_sites, result_table

from bench.cli.main import main
from bench.errors import BenchError
from bench.plugins import registry
from bench.reporting.report import Report
from bench.reports.significance import Significance
from bench.results.tables import RESULTS

METHODS = ("naive", "inerrant0", "inerrant", "bai", "full")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return result_table(methods=METHODS, folds=range(5))


def built(report: Significance, table: pd.DataFrame, out: Path) -> dict[str, str]:
    paths = report.build(in_memory(results=table)).write(out)
    return {path.suffix: path.read_text() for path in paths[:4]}


def test_domains_are_compared_one_by_one(table: pd.DataFrame, tmp_path: Path) -> None:
    sites = of_two_sites(table)
    texts = built(Significance(), sites, tmp_path / "both")
    assert "paired differences by domain" in texts[".md"]
    assert "of several domains and averaged together" in texts[".md"]
    found = pd.read_csv(tmp_path / "both/significance.csv").query("domain == 'north'")
    assert len(found) == 2 * 6  # fractions, pairs
    built(Significance(), sites[sites["domain"] == "north"], tmp_path / "north")
    alone = pd.read_csv(tmp_path / "north/significance.csv").query("organ == 'mean'")
    assert set(alone["domain"]) == {"all"}
    pair = ["label_pct", "a", "b"]
    for measured in ("diff", "p", "p_holm", "ranks_p"):
        one, other = (rows.set_index(pair)[measured].sort_index() for rows in (found, alone))
        pd.testing.assert_series_equal(one, other)


def test_nothing_is_called_better_where_nothing_was_tested(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    texts = built(Significance(), table[table["fold"] == 0], tmp_path)
    assert "the best mean is that of INERRANT" in texts[".md"]
    assert "%, not tested." in texts[".md"]
    assert "better than every other" not in texts[".md"]


def test_every_pair_of_competitors_in_every_column(table: pd.DataFrame, tmp_path: Path) -> None:
    texts = built(Significance(), table, tmp_path)
    rows = pd.read_csv(tmp_path / "significance.csv")
    assert len(rows) == 2 * 3 * 6  # fractions, organs and their mean, pairs
    assert "full" not in set(rows["a"]) | set(rows["b"])
    overall = rows[rows["organ"] == "mean"]
    assert overall.notna().drop(columns=["note", "mixed_note"]).all(axis=None)
    for text in ("Nadeau & Bengio 2003", "Corrected 95 % CI", "REML", "Kendall", "Friedman p"):
        assert text in texts[".md"]
    assert "At 30 %: the best mean is that of INERRANT" in texts[".md"]
    assert "](significance-matrix-2.svg)" in texts[".md"]
    fit = "max width=\\linewidth,max totalheight=0.7\\textheight"
    assert f"\\includegraphics[{fit}]{{significance-differences-1.pdf}}" in texts[".tex"]
    assert texts[".html"].count("<svg") == 4  # fractions, drawings
    assert not re.search("(src|href)=.?https?:", texts[".html"])


def test_a_reference_makes_a_smaller_family(table: pd.DataFrame, tmp_path: Path) -> None:
    built(Significance(reference="inerrant0"), table, tmp_path)
    rows = pd.read_csv(tmp_path / "significance.csv")
    assert set(rows["b"]) == {"inerrant0"}
    assert len(rows) == 2 * 3 * 3
    with pytest.raises(BenchError, match="unknown reference"):
        built(Significance(reference="full"), table, tmp_path)


def test_equal_rows_give_equal_bytes(table: pd.DataFrame, tmp_path: Path) -> None:
    for name, rows in (("a", table), ("b", table.sample(frac=1, random_state=2))):
        built(Significance(metric="nsd"), rows, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert (tmp_path / "a" / "significance-nsd.md").exists()


def test_what_is_missing_is_said(table: pd.DataFrame, tmp_path: Path) -> None:
    gone = (table["method"] == "bai") & (table["fold"] == 2) & (table["label_pct"] == 30)
    texts = built(Significance(), table[~gone], tmp_path)
    assert "Missing: 30 % Bai et al. fold 2." in texts[".md"]
    rows = pd.read_csv(tmp_path / "significance.csv")
    own = rows[(rows["label_pct"] == 30) & ((rows["a"] == "bai") | (rows["b"] == "bai"))]
    assert set(own["n"]) == {4}


def test_a_mixed_model_that_is_impossible_is_said(tmp_path: Path) -> None:
    table = result_table(
        methods=("naive", "inerrant0"), folds=range(5), fractions=[30], organs=["liver"]
    )
    of_fold = 50 + table["fold"] * (table["method"] == "naive")
    built(Significance(metric="nsd"), table.assign(nsd=of_fold.astype(float)), tmp_path)
    text = (tmp_path / "significance-nsd.md").read_text()
    assert "No mixed model 30 %: no variance within runs." in text


def test_more_pairs_than_anyone_reads_need_a_reference(tmp_path: Path) -> None:
    scores = [f"t,c{case},m{method},{case + method}" for case in range(3) for method in range(26)]
    (tmp_path / "many.csv").write_text("task,case,method,value\n" + "\n".join(scores))
    many = Significance(csv=tmp_path / "many.csv")
    with pytest.raises(BenchError, match=r"^t: 26 methods are 325 pairs, at most 300 .*reference="):
        many.build(in_memory())


def test_the_terminal_shows_at_most_thirty_pairs_or_the_first_against_all(
    tmp_path: Path,
) -> None:
    for methods, printed in ((8, 28), (9, 8)):
        scores = [
            f"t,c{case},m{method},{method + case % 3 * (method % 2) / 10}"
            for case in range(9)
            for method in range(methods)
        ]
        (tmp_path / "s.csv").write_text("task,case,method,value\n" + "\n".join(scores))
        document = Significance(csv=tmp_path / "s.csv").build(in_memory())
        (shown,) = document.boards
        assert len(shown.frame) == printed
        document.write(tmp_path)
        assert len(pd.read_csv(tmp_path / "significance.csv")) == methods * (methods - 1) / 2
    assert all("m8" in pair for pair in shown.frame["comparison"])
    assert "Shown are 8 of 36 comparisons, those with the first method" in shown.notes[0]


def test_one_method_is_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="nothing to compare"):
        built(Significance(), result_table(methods=["inerrant", "full"]), tmp_path)


def test_the_command_takes_results_or_a_csv(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    RESULTS.save(table, tmp_path / "r.parquet")
    lines = [f"k,c{i},{m},{70 + i * (m == 'x')}" for m in "xy" for i in range(8)]
    (tmp_path / "mine.csv").write_text("task,case,method,value\n" + "\n".join(lines))

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["bench", "report", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        output = capsys.readouterr()
        return int(stopped.value.code or 0), output.out + output.err

    code, text = run("significance[reference=inerrant0]", "r.parquet")
    assert code == 0
    assert "INERRANT exceeds INERRANT⁰ by" in text
    code, text = run("significance[csv=mine.csv]")
    assert code == 0
    assert "x exceeds y" in text
    assert (tmp_path / "bench-report" / "significance" / "significance.html").is_file()
    for report in ("leaderboard", "html"):
        code, text = run(report, "--csv", "mine.csv")
        assert code == 0
        assert re.search(r"x +73\.5 ± 2\.4 +8\ny +70\.0 ± 0\.0 +8", text)
    code, text = run("fairness", "--csv", "mine.csv")
    assert (code, text) == (
        2,
        "error: report fairness takes no CSV: it shows what scores alone do not say\n",
    )
    assert run("html", "mine.csv") == (
        2,
        "error: mine.csv: a CSV of scores is given as --csv mine.csv\n",
    )
    code, text = run("leaderboard[csv=mine.csv]", "r.parquet")
    assert code == 2
    assert "error: a CSV and r.parquet are given: a report takes scores, or results" in text


def test_it_is_registered_and_does_not_import_torch() -> None:
    assert registry.load("reports", "significance", Report) is Significance
    modules = "bench.reports.significance, bench.stats.mixed, bench.stats.ranks"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_dark_ring_has_a_line_around_it_that_a_dark_page_shows(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    pair = table[table["method"].isin(["naive", "inerrant"]) & (table["label_pct"] == 30)].copy()
    noise = pair["fold"].map({0: 30.0, 1: -30.0}).fillna(0) * (pair["method"] == "naive")
    pair["dsc"] = 50 + noise
    paths = Significance().build(in_memory(results=pair)).write(tmp_path)
    (svg,) = (path.read_text() for path in paths if path.name == "significance-differences-1.svg")
    painted = re.findall(r"fill: #ffffff; stroke: #([0-9a-f]{6}); stroke-width: ([0-9.]+)", svg)
    assert painted == [("000000", "3.2"), ("009e73", "2")]


def test_boards_have_their_own_figures_whatever_the_names(tmp_path: Path) -> None:
    """`CT+MR` comes before `CT,` as text, and after it as the name of a data set."""
    table = pd.concat(
        [result_table(methods=METHODS[:3], dataset=name) for name in ("CT", "CT+MR")],
        ignore_index=True,
    )
    for report in ("leaderboard", "significance"):
        plugin = registry.load("reports", report, Report)  # type: ignore[type-abstract]
        plugin().build(in_memory(results=table)).write(tmp_path)
        text = (tmp_path / f"{report}.md").read_text()
        for part in text.split("\n## ")[1:]:
            heading, figures = part.partition("\n")[0], re.findall(r"^\*(\S+),", part, re.MULTILINE)
            assert set(figures) <= {heading.split(",")[0]}
        assert len(re.findall(r"^\*CT", text, re.MULTILINE)) >= 4
    plugin = registry.load("reports", "html", Report)  # type: ignore[type-abstract]
    plugin().build(in_memory(results=table[table["label_pct"] == 50])).write(tmp_path)


def test_a_board_without_the_reference_is_left_out_and_named(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    other = result_table(methods=("naive", "inerrant"), folds=range(5), dataset="other")
    both = pd.concat([table, other], ignore_index=True)
    texts = built(Significance(reference="bai"), both, tmp_path)
    assert "Left out, without bai: other, profile" in texts[".md"]
    with pytest.raises(BenchError, match="unknown reference 'bay': did you mean bai"):
        Significance(reference="bay").build(in_memory(results=both))


def test_two_seeds_of_a_fold_are_not_called_folds(tmp_path: Path) -> None:
    table = result_table(methods=METHODS[:2], folds=[0], seeds=[0, 1])
    text = built(Significance(), table, tmp_path)[".md"]
    assert "Two runs leave a test over runs one degree of freedom" in text
    assert "wo folds" not in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"csv": "s.csv", "metric": "hd95_mm"}, "metric is of results"),
        ({"higher_is_better": "false", "unit": "mm"}, "higher_is_better and unit: of a CSV alone"),
    ],
)
def test_options_of_the_other_kind_of_scores_are_refused(
    options: dict[str, str], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        Significance.from_overrides("report", "significance", options)
