"""The page with everything: complete, offline, the same for the same tables."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from public import public_scores
from tables import audit_table, curves_table, in_memory, pictures_table, result_table, sheets_table

from bench.errors import BenchError
from bench.plugins import registry
from bench.reporting import page, scores
from bench.reporting.column import columns
from bench.reporting.comparison import Compared, compare
from bench.reporting.page import Chapter, Part
from bench.reporting.report import Report
from bench.reporting.sentences import sentences
from bench.reporting.style import MethodStyles
from bench.reports._figures import boxplots, curves, rendering
from bench.reports.html import Html
from bench.results.aggregate import audit_cell_values, curve_values, final_models
from bench.results.columns import CELL
from bench.results.files import Tables

METHODS = ("naive", "inerrant0", "inerrant", "bai", "full")


def svg_of(draw: Callable[[], Figure]) -> str:
    return rendering.drawing(draw, "", "", "", formats=["svg"]).svg


class Structure(HTMLParser):
    """Collects identifiers, links and loaded addresses, and checks that tags are closed."""

    VOID = frozenset({"meta", "br", "img", "input", "hr", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag in ("img", "script", "link"):
            self.loaded += [str(given[name]) for name in ("src", "href") if name in given]
        if tag in ("section", "details", "table", "li"):
            self.ids.append(str(given.get("id")))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass


@pytest.fixture(scope="module")
def tables() -> Tables:
    found = result_table(methods=METHODS, folds=range(5))
    audit = audit_table().assign(dataset="phantom")
    return in_memory(
        results=found,
        audit=audit,
        curves=curves_table(),
        pictures=pictures_table(),
        sheets=sheets_table(),
    )


def built(tables: Tables) -> str:
    return str(Html().build(tables).files["report.html"])


@pytest.fixture(scope="module")
def text(tables: Tables) -> str:
    return built(tables)


def test_the_page_is_whole_and_loads_nothing(text: str) -> None:
    structure = Structure(text)
    assert not structure.open
    assert all(address.startswith("data:image/png;base64,") for address in structure.loaded)
    assert not re.findall(r"(?:src|href)=['\"]https?:|url\((?!#)|@import", text)
    assert {link.removeprefix("#") for link in structure.links} <= set(structure.ids)
    tables_ids = [name for name in structure.ids if name.startswith("T_")]
    assert len(set(tables_ids)) == len(tables_ids) > 8
    for chapter in (
        "Leaderboard", "Significance", "Boxplots", "Training", "Relabelling", "Data", "Cases",
        "Fairness", "Provenance",
    ):  # fmt: skip
        assert f"<h2>{chapter}</h2>" in text
    assert "INERRANT exceeds INERRANT⁰ by" in text


def test_a_browser_runs_the_script_of_the_page_and_no_other(text: str) -> None:
    (policy,) = re.findall(r'Content-Security-Policy\' content="([^"]*)"', text)
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}';" in policy
    assert not re.search(r"<[^>]* on\w+=", text)


def test_the_first_screen_says_what_the_statistics_say(tables: Tables, text: str) -> None:
    opening = unescape(text[text.index("<section class='opening'>") : text.index("<details")])
    found = list(columns(scores.of_results(tables.results), MethodStyles.of(tables.results)))
    answers = [re.findall("<li>(.*?)</li>", one) for one in opening.split("<article")[1:]]
    assert len(answers) == len(found) == 2
    for column, told in zip(found, answers, strict=True):
        compared = Compared(column, compare(column, column.pairs))
        said = sentences(compared)
        assert told[0] == said[0]
        assert len(told) == 3
        for text_ in told[1:]:
            assert any(one.endswith(text_) for one in said)


def test_the_answer_on_two_methods_is_not_said_twice() -> None:
    text = built(in_memory(results=result_table(methods=["naive", "inerrant"], fractions=[30])))
    opening = text[text.index("<section class='opening'>") : text.index("<details")]
    assert len(re.findall("<li>", opening)) == 1


def test_one_method_is_said_to_be_alone() -> None:
    score = r"[\d.]+ %"
    for methods, told in (
        (["inerrant"], rf"INERRANT {score}"),
        (["inerrant", "full"], rf"INERRANT {score} and Full labels {score} \(upper bound\)"),
    ):
        text = built(in_memory(results=result_table(methods=methods, fractions=[30])))
        (said,) = re.findall("<li>(At 30 %.*?)</li>", text)
        end = r"\(3 folds, 9 patients\)\. To compare, run a second method\."
        assert re.fullmatch(rf"At 30 %: mean DSC: {told} {end}", said)


def test_conditions_are_chosen_task_by_task() -> None:
    two = [result_table(dataset=name, methods=["naive", "bai"]) for name in ("amos", "btcv[a, b]")]
    text = built(in_memory(results=pd.concat(two, ignore_index=True)))
    rows = text[text.index("<fieldset") : text.index("</fieldset>")].split("<div>")[1:]
    assert [re.findall("<span>(.*?)</span>", row) for row in rows] == [["amos"], ["btcv[a, b]"]]
    for row in rows:
        assert re.findall("> (\\d+ %): ", row) == ["50 %", "30 %"]


def test_notes_are_printed_once(text: str) -> None:
    notes = re.findall(r"<li id='note\d+'>(.*?)</li>", text)
    assert len(set(notes)) == len(notes) > 10
    assert text.count("A difference that is not significant is not shown to be absent") == 1
    assert "<p class='refs'>Notes <a href='#note1'>1</a>, <a href='#note2'>2</a>" in text


def test_equal_tables_give_equal_bytes(tables: Tables, text: str) -> None:
    names = ("results", "audit", "curves", "pictures", "sheets")
    rows = {name: getattr(tables, name).sample(frac=1, random_state=4) for name in names}
    shuffled = in_memory(**rows)
    assert built(shuffled) == text


def test_boards_with_too_many_methods_to_compare_are_named() -> None:
    methods = [f"inerrant0[lr={number}]" for number in range(26)]
    table = result_table(methods=methods, folds=[0], fractions=[30], organs=["liver"])
    text = built(in_memory(results=table))
    assert "phantom, profile smoke, unet, 30 %. `bench report" in text


def test_chapters_without_data_are_left_out() -> None:
    text = built(in_memory(results=result_table(methods=["naive"], folds=[0])))
    assert "<h2>Leaderboard</h2>" in text
    for chapter in ("Significance", "Training", "Relabelling", "Data", "Cases"):
        assert f"<h2>{chapter}</h2>" not in text


def test_the_data_are_shown_once_for_all_folds(text: str) -> None:
    chapter = text[text.index("<h2>Data</h2>") : text.index("<h2>Cases</h2>")]
    assert re.findall(r"alt='phantom: 12 of 40 cases (\d+) (\d)'", chapter) == [
        ("50", "0"),
        ("30", "0"),
    ]
    assert "phantom, profile smoke, 30 % labelled, fold 0<" in chapter


@pytest.mark.parametrize(
    "png", ["x' onerror='alert(1)", "<script>", "", base64.b64encode(b"GIF89a").decode()]
)
def test_only_a_png_gets_onto_the_page(png: str) -> None:
    sheets = sheets_table().assign(png=png)
    tables = in_memory(results=result_table(methods=["naive"], folds=[0]), sheets=sheets)
    with pytest.raises(BenchError, match="a picture in the sheets table is no PNG"):
        built(tables)


def test_words_instead_of_a_sheet_are_words() -> None:
    sheets = sheets_table().assign(title="' onerror='alert(1)<script>")
    tables = in_memory(results=result_table(methods=["naive"], folds=[0]), sheets=sheets)
    assert "alt='&#x27; onerror=&#x27;alert(1)&lt;script&gt;'" in built(tables)


def test_cases_are_browsed_with_every_method_beside_the_others(tables: Tables, text: str) -> None:
    found = re.findall(r"<script type='application/json'>(.*?)</script>", text, re.DOTALL)
    predictions, relabelled = map(json.loads, found)
    assert [cell["name"] for cell in predictions] == [
        f"phantom, smoke, unet, {pct} % labelled, fold 0" for pct in (50, 30)
    ]
    case = predictions[0]["cases"][1]
    assert case["name"] == "case01"
    dsc = final_models(tables.results).query(
        "method == 'inerrant' and label_pct == 50 and fold == 0 and case == 'case01'"
    )["dsc"]
    assert [tile["title"] for tile in case["tiles"]][1] == f"INERRANT, DSC {dsc.mean():.1f} %"
    titles = [tile["title"] for tile in relabelled[0]["cases"][0]["tiles"]]
    assert titles[:3] == ["INERRANT, round 1", "INERRANT, round 1: score", "INERRANT, round 2"]
    assert len(titles) == 8


def test_no_name_ends_the_data_of_the_browser(tables: Tables) -> None:
    evil = "</script><b><!--<script>"
    pictures = tables.pictures.replace("case00", evil)
    few = tables.results.query("method == 'naive' and fold == 0")
    text = built(in_memory(results=few, pictures=pictures))
    assert evil not in text
    assert "<!--" not in text
    Structure(text)


def test_scores_of_a_csv_get_all_that_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "public.csv"
    public_scores(methods=4, organs=2, cases=30).assign(task="CT").to_csv(path, index=False)
    text = Html(csv=path).build(in_memory()).files["report.html"]
    assert isinstance(text, str)
    Structure(text)
    assert re.findall("<h2>(.*?)</h2>", text) == [
        *("CT", "Leaderboard", "Significance", "Boxplots", "Notes")
    ]
    absent = "training curves, relabelling by round, pictures, costs and provenance"
    assert f"4 methods, 30 cases. Not in these results, and so not on this page: {absent}." in text
    opening = text[text.index("<section class='opening'>") : text.index("<details")]
    assert opening.count("<svg") == 2
    assert "%" not in re.sub("style='[^']*'|95 % (CI|interval)", "", opening.split("<svg")[0])


def test_failures_without_any_score_are_shown(tmp_path: Path) -> None:
    rows = [f"k,c{case},{method},,missed" for case in range(2) for method in "xy"]
    path = tmp_path / "s.csv"
    path.write_text("\n".join(["task,case,method,value,status", *rows]))
    text = str(Html(csv=path).build(in_memory()).files["report.html"])
    assert "<h2>Boxplots</h2>" in text


def test_names_are_escaped() -> None:
    table = result_table(methods=["naive", "inerrant0"]).replace("phantom", "<b>&")
    text = built(in_memory(results=table))
    assert "<b>&" not in text
    assert "&lt;b&gt;&amp;" in text
    part = Part("<p>as it is</p>", ("n < m",))
    rendered = page.render("a < b", [Chapter("<i>", (part,))], ["x & y"])
    assert "n &lt; m" in rendered
    assert "a &lt; b" in rendered
    assert "<p>as it is</p>" in rendered
    assert "x &amp; y" in rendered


def test_it_is_registered() -> None:
    assert registry.load("reports", "html", Report) is Html


HOSTILE = "<script>document.title='ran'</script><!--<script> $\\frac{ $x_$ " + "name " * 60


@pytest.mark.filterwarnings("error::UserWarning")
def test_losses_have_numbers_at_their_axis(tables: Tables) -> None:
    values = curve_values(tables.curves)
    values["mean"] /= 9
    svg = svg_of(partial(curves.losses, values, MethodStyles()))
    assert re.search(r">0\.0\d+<", svg)
    assert "mathdefault" not in svg


@pytest.mark.filterwarnings("error::UserWarning")
def test_names_of_strangers_are_text_in_figures(tables: Tables) -> None:
    audit = tables.audit.assign(method=tables.audit["method"] + HOSTILE, organ=HOSTILE)
    rows = final_models(tables.results).query("fold == 0 and label_pct == 30")
    rows = rows.assign(method=rows["method"] + HOSTILE, organ=HOSTILE, title="")
    values = audit_cell_values(audit, (*CELL, "round"))
    table, styles = scores.of_results(rows), MethodStyles.of(rows)
    for draw in (
        partial(boxplots.boxes, table, styles),
        partial(curves.rounds, values, MethodStyles()),
    ):
        svg = svg_of(draw)
        assert "&lt;script&gt;" in svg
        assert "<script" not in svg
