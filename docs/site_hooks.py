"""What the site holds beside ``docs/``: README, CONTRIBUTING, boards and their drawings, the API.

Links are written for the forge, where every file of the checkout can be opened. The site has the
pages; a link to code becomes its text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
MATHEMATICS = "explanation/specification.md"
FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL)
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def _pages() -> dict[str, str]:
    boards = _found("leaderboard/**/*.md", "leaderboard/**/*.svg")
    docs = _found("docs/**/*.md", "docs/pictures/*.png")
    return (
        PAGES
        | {path: path.replace("README.md", "index.md") for path in boards}
        | {path: path.removeprefix("docs/") for path in docs}
    )


def _found(*patterns: str) -> list[str]:
    return [
        path.relative_to(ROOT).as_posix() for pattern in patterns for path in ROOT.glob(pattern)
    ]


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and drawings from outside ``docs/``, and the API."""
    for source, page in _pages().items():
        if not source.startswith("docs/"):
            text = (ROOT / source).read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=text))
    files.append(File.generated(config, "reference/api.md", content=_api()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at pages of the site."""
    del config, files
    pages = _pages()
    sources = {target: source for source, target in pages.items()}
    here = page.file.src_uri
    if here not in sources:
        return markdown
    folder = Path(sources[here]).parent

    def link(match: re.Match[str]) -> str:
        target, anchor = match["target"], match["anchor"] or ""
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = os.path.normpath(folder / target)
        path = f"{path}/README.md" if (ROOT / path).is_dir() else path
        if path not in pages:
            return match["text"]
        return f"[{match['text']}]({os.path.relpath(pages[path], Path(here).parent)}{anchor})"

    if here == MATHEMATICS:
        markdown = FORMULA.sub(_to_mathml, markdown)
    return LINK.sub(link, markdown)


def _to_mathml(match: re.Match[str]) -> str:
    """Return a formula as MathML, which browsers render without a script."""
    from latex2mathml.converter import convert

    if block := match["block"]:
        return str(convert(block, display="block"))
    # In a span: at the start of a line a formula alone would be a paragraph.
    return f"<span>{convert(match['inline'])}</span>"


def _api() -> str:
    stub = (ROOT / "bench/api.pyi").read_text()
    parts = ["# What plug-ins import\n\nEvery name can be imported from `bench.api`.\n"]
    for module, name in re.findall(r"^from \.([\w.]+) import (\w+) as", stub, re.MULTILINE):
        parts.append(f"::: bench.{module}.{name}\n")
    return "\n".join(parts)
