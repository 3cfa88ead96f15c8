"""The map of the code in ``docs/explanation/architecture.md``, made of the modules' first lines.

``python tests/tree.py`` writes it anew.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/explanation/architecture.md"
START, END = "<!-- the tree: python tests/tree.py -->\n```text\n", "```\n<!-- end of the tree -->\n"
FOLDERS = ("bench", "methods", "datasets", "reports")


def title(file: Path) -> str:
    """Return the first docstring line of a module."""
    return (ast.get_docstring(ast.parse(file.read_text())) or "").split("\n")[0]


def lines(folder: Path, depth: int = 0) -> list[str]:
    """Return one line per package and module below a folder."""
    found = [("  " * depth + f"{folder.name}/", title(folder / "__init__.py"))]
    for file in sorted(folder.glob("*.py")):
        if file.name not in ("__init__.py", "__main__.py"):
            found.append(("  " * (depth + 1) + file.stem, title(file)))
    texts = [f"{name:<24} {text}".rstrip() for name, text in found]
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        texts += lines(inner, depth + 1)
    return texts


def tree() -> str:
    """Return the map as text."""
    return "\n".join(line for name in FOLDERS for line in lines(ROOT / name)) + "\n"


def written() -> str:
    """Return the map that the page holds."""
    return PAGE.read_text(encoding="utf-8").partition(START)[2].partition(END)[0]


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    PAGE.write_text(before + START + tree() + END + rest.partition(END)[2], encoding="utf-8")
