"""The pictures of the README, ``docs/pictures``, drawn by the suite itself.

``python tests/pictures.py`` draws them anew; the page needs Chromium and playwright. The matrix of
the README lies in ``leaderboard/`` and is written with the reports there.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path

from PIL import Image, PngImagePlugin

from bench.reports.html import Html
from bench.results.files import Tables
from bench.results.sources import tables_of

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs/pictures"
RESULTS = ROOT / "leaderboard/published-loss-5-folds"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
PHANTOM = "bench data preview phantom -l 50 --cases 6 --slices 1 -o"
COLOURS = 96
"""Of a picture: few make a small file."""
SCREEN = {"width": 1366, "height": 620}


def page() -> str:
    """Return the page of the committed results."""
    return str(Html().build(Tables.read(tables_of(RESULTS))).files["report.html"])


def words(html: str) -> str:
    """Return a digest of all words on the first screen of a page."""
    opening = html[html.index("<section class='opening'>") : html.index("<details")]
    texts = re.findall(r">([^<>]*\w[^<>]*)<", re.sub("<style.*?</style>", "", opening, flags=re.S))
    return hashlib.sha256(unescape(" ".join(texts)).encode()).hexdigest()


def save(picture: Image.Image, name: str, said: str = "") -> None:
    """Save a picture in few colours, with what it says as text in the file."""
    text = PngImagePlugin.PngInfo()
    if said:
        text.add_text("words", said)
    path = PICTURES / name
    few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=2)
    few.save(path, optimize=True, pnginfo=text)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")


def draw_phantom() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phantom.png"
        subprocess.run([*PHANTOM.split(), path], check=True)
        save(Image.open(path), path.name)


def draw_page() -> None:
    from playwright.sync_api import sync_playwright

    html = page()
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as started:
        shown = started.chromium.launch(executable_path=browser, args=options)
        tab = shown.new_page(viewport=SCREEN)
        tab.set_content(html)
        data = tab.screenshot()
        shown.close()
    save(Image.open(io.BytesIO(data)), "page.png", words(html))


if __name__ == "__main__":
    PICTURES.mkdir(exist_ok=True)
    draw_phantom()
    draw_page()
