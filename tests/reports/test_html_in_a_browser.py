"""The page in a real browser: sorting, filtering, following a point to its case, accessibility."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tables import audit_table, curves_table, in_memory, pictures_table, result_table, sheets_table

from bench.reports.html import Html

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
HOSTILE = "case01</script><img src=x onerror=\"document.title='ran'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser found: none of {', '.join(BROWSERS)} on the PATH")
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        shown = started.chromium.launch(executable_path=found, args=options)
        yield shown
        shown.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    tables = in_memory(
        results=result_table(
            methods=("naive", "inerrant0", "inerrant", "full"),
            folds=range(3),
            organs=("liver", "spleen"),
        ).replace("case01", HOSTILE),
        audit=audit_table().assign(dataset="phantom"),
        curves=curves_table(),
        pictures=pictures_table().replace("case01", HOSTILE),
        sheets=sheets_table(),
    )
    (path,) = Html().build(tables).write(tmp_path_factory.mktemp("page"))
    return Path(path).as_uri()


@pytest.fixture
def shown(browser: Any, address: str) -> Iterator[Any]:
    """Yield the page; fails if the console has got an error by the end."""
    yield from _shown(browser, address, {"width": 1366, "height": 768})


def _shown(browser: Any, address: str, viewport: dict[str, int], **options: Any) -> Iterator[Any]:
    context = browser.new_context(viewport=viewport, **options)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert page.title() == "Training methods on partially labelled organs"
    context.close()


def texts(table: Any, column: int) -> list[str]:
    cells = table.locator(f"tbody tr:visible td:nth-child({column})")
    return [text.strip() for text in cells.all_inner_texts()]


def test_the_first_screen_holds_the_answer_and_three_views(shown: Any) -> None:
    panel = shown.locator(".panel:visible")
    assert panel.count() == 1
    assert panel.locator("li").count() == 3
    for part in (".look table", ".look figure >> nth=0", ".look figure >> nth=1"):
        box = panel.locator(part).bounding_box()
        assert box["width"] > 150
        assert box["y"] + box["height"] <= 768
        assert box["x"] + box["width"] <= 1366
    shown.get_by_role("radio", name="30 %").check()
    assert "30 % labelled" in shown.locator(".panel:visible h2").inner_text()


def test_a_heading_sorts_its_table_up_and_down(shown: Any) -> None:
    shown.get_by_role("link", name="Leaderboard").click()
    table = shown.locator("#chapter1 table").first
    heading = table.get_by_role("button", name="50 %")
    means = []
    for direction in ("descending", "ascending"):
        heading.click()
        assert table.locator(f"th[aria-sort={direction}]").count() == 1
        means.append([float(text.split()[0]) for text in texts(table, 2)])
    assert len(means[0]) == 4
    assert means[0] == sorted(means[0], reverse=True)
    assert means[1] == means[0][::-1]


def test_a_table_is_filtered_by_organ_method_and_fraction(shown: Any) -> None:
    shown.get_by_role("link", name="Leaderboard").click()
    organs = shown.locator("#chapter1 .scroll", has=shown.locator("th", has_text="organ"))
    table = organs.locator("table")
    bar = organs.locator("xpath=preceding-sibling::*[1]")
    assert len(texts(table, 1)) == 8
    bar.get_by_label("organ").select_option("spleen")
    assert texts(table, 1) == ["spleen"] * 4
    bar.get_by_label("method").select_option("INERRANT")
    assert texts(table, 2) == ["INERRANT"]
    assert bar.locator("output").inner_text() == "1 of 8 lines"
    bar.get_by_label("organ").select_option("all")
    assert texts(table, 1) == ["liver", "spleen"]
    bar.get_by_label("search").fill("SPL")
    assert texts(table, 1) == ["spleen"]
    assert table.get_by_role("button", name="50 %").is_visible()
    bar.get_by_label("fraction").select_option("30 %")
    assert not table.get_by_role("button", name="50 %").is_visible()
    assert table.get_by_role("button", name="30 %").is_visible()


def test_comparisons_are_filtered_by_method_and_fraction(shown: Any) -> None:
    shown.get_by_role("link", name="Significance").click()
    scroll = shown.locator("#chapter2 .scroll").first
    bar = scroll.locator("xpath=preceding-sibling::*[1]")
    bar.get_by_label("method").select_option("Naive")
    bar.get_by_label("fraction").select_option("30 %")
    assert texts(scroll.locator("table"), 2) == ["INERRANT⁰ − Naive", "INERRANT − Naive"]


def test_a_point_leads_to_its_case_and_the_worst_case_comes_first(shown: Any) -> None:
    shown.get_by_role("link", name="Boxplots").click()
    points = shown.locator("#chapter3 figure a")
    assert points.count() == 2 * 2 * 2 * 4  # pictured cases, fractions, organs, methods
    assert points.first.locator("title").text_content().startswith("case case0")
    points.first.focus()
    shown.keyboard.press("Enter")
    gallery = shown.locator("#cases")
    gallery.locator(".tile img").first.wait_for()
    target = shown.evaluate("location.hash")
    cell, case = target.removeprefix("#case-").split("-")
    assert gallery.get_by_label("Cell").input_value() == cell
    chosen = gallery.locator("select.case")
    assert chosen.input_value() == case
    assert gallery.bounding_box()["y"] < 768
    assert sorted(chosen.locator("option").all_inner_texts()) == ["case00", HOSTILE]
    scores = []
    for number in ("0", "1"):
        chosen.select_option(number)
        tiles = gallery.locator(".tile figcaption").all_inner_texts()
        own = [float(text.split("DSC ")[1].removesuffix(" %")) for text in tiles if "DSC" in text]
        scores.append(sum(own) / len(own))
    assert scores == sorted(scores)


def test_a_note_opens_at_its_number(shown: Any) -> None:
    shown.get_by_role("link", name="Leaderboard").click()
    link = shown.locator("#chapter1 .refs a").first
    note = shown.locator(f"{link.get_attribute('href')}")
    assert link.get_attribute("title") == note.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_the_page(browser: Any, address: str, scheme: str) -> None:
    for page in _shown(
        browser, address, {"width": 1366, "height": 768}, color_scheme=scheme, bypass_csp=True
    ):
        page.get_by_role("button", name="Open all").click()
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


def test_nothing_is_wider_than_a_phone(browser: Any, address: str) -> None:
    for page in _shown(browser, address, {"width": 390, "height": 844}):
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        for link in page.locator("nav a").all():
            box = link.bounding_box()
            assert box["x"] + box["width"] <= 390


def test_paper_has_every_chapter(browser: Any, address: str) -> None:
    for page in _shown(browser, address, {"width": 1366, "height": 768}):
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        assert page.locator(".panel:visible").count() == 2
        assert not page.locator("nav").is_visible()


def test_a_figure_fits_on_a_sheet_of_paper(browser: Any, address: str) -> None:
    for page in _shown(browser, address, {"width": 1366, "height": 400}):
        page.emulate_media(media="print")
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        heights = [
            svg.bounding_box()["height"] for svg in page.locator("figure > svg:visible").all()
        ]
        assert heights
        assert max(heights) <= 320
