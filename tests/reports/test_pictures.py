"""The pictures of the README are small, and show what the committed results say."""

import re

import pytest
from pictures import PICTURES, ROOT, page, words
from PIL import Image


def test_the_readme_shows_small_pictures_that_are_there() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = [ROOT / path for path in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", readme)]
    assert {path.name for path in shown} >= {path.name for path in PICTURES.iterdir()}
    for path in shown:
        assert path.stat().st_size < 100_000


def test_the_picture_of_the_page_is_current() -> None:
    with Image.open(PICTURES / "page.png") as picture:
        if picture.info["words"] != words(page()):
            pytest.fail("the page says something else: python tests/pictures.py")
