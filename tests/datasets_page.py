"""The page of public data sets, ``docs/reference/datasets.md``, made of the adapters' facts.

``python tests/datasets_page.py`` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

from bench.data.release import PAPER7, Release, every_choice

PAGE = Path(__file__).parents[1] / "docs/reference/datasets.md"
HEAD = """# Public data sets

What the adapters state, made by `python tests/datasets_page.py`; `bench list datasets -v` prints
the table. How they are read, and their options: [data](data.md#public-releases). Read the terms of
a licence where you get the data.

"""


def page() -> str:
    """Return the text of the page."""
    found = [
        (name, one)
        for name, one in every_choice()
        if isinstance(one, Release) and type(one).__module__.startswith("bench.datasets.")
    ]
    lines = [
        "| data set | cases | organs | of `paper7` | annotated pairs | licence |",
        "|---|---|---|---|---|---|",
    ]
    for name, dataset in found:
        cases, _ = dataset.expected()
        seven = len(set(PAPER7) & set(dataset.own_organs))
        pairs = dataset.annotated_pairs() or "by its table"
        lines.append(
            f"| `{name}` | {cases} | {len(dataset.own_organs)} | {seven} | {pairs} |"
            f" {dataset.licence} |"
        )
    lines.append("")
    for called in dict.fromkeys(dataset.called for _, dataset in found):
        lines += section([one for one in found if one[1].called == called])
    return HEAD + "\n".join(lines)


def section(choices: list[tuple[str, Release]]) -> list[str]:
    """Return the lines about one adapter."""
    _, first = choices[0]
    rows = [
        ("get it", " or ".join(map(link, first.urls))),
        ("cite", first.citation),
        ("files", f"`{first.layout}`"),
        ("folder", ", ".join(f"`{name}`" for name in first.folders)),
    ]
    organs = {tuple(dataset.own_organs): name for name, dataset in reversed(choices)}
    for own, name in reversed(organs.items()):
        which = f"organs of `{name}`" if len(organs) > 1 else "organs"
        rows.append((which, ", ".join(own)))
    if first.present:
        shown = ", ".join(f"{organ} {count}" for organ, count in first.present.items())
        rows.append(("shown in fewer cases", shown))
    if first.unmeasured:
        rows.append(("no true voxel size", f"{len(first.unmeasured)} scans"))
    if first.no_labels:
        rows.append(("images without labels", f"{len(first.no_labels)}"))
    if first.archives:
        rows.append(("checksums known", ", ".join(f"`{name}`" for name in first.archives)))
    served = [name for name, archive in first.archives.items() if archive.url]
    if served:
        rows.append(("`bench data download`", ", ".join(f"`{name}`" for name in served)))
    return [
        f"## {first.called}",
        "",
        f"{first.summary}. {' '.join((type(first).__doc__ or '').split())}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in rows),
        "",
    ]


def link(url: str) -> str:
    """Return an address, and what is said of it, as Markdown."""
    address, _, more = url.partition(" ")
    return f"<{address}> {more}".strip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
