"""Contact sheets: cases with their organs in colour, and what is annotated in each.

A page has a title, the table of organs against cases (its colours are the legend), and a card per
case: some axial slices, and a chip per organ in the pattern of its state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bench.evaluation.axial import Cut, choose, colour, cut, paint
from bench.evaluation.canvas import (
    ALERT,
    FAINT,
    PAPER,
    Canvas,
    State,
    chip_size,
    elided,
    font,
    text_width,
    wrapped,
)
from bench.evaluation.counts import areas
from bench.labels import VOID

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

MEANING: dict[State, str] = {
    "drawn": "drawn",
    "empty": "annotated, but absent from the scan",
    "missing": "not annotated",
    "hidden": "hidden by the simulation (dotted in the pictures)",
    "unopened": "annotated, not on this page",
    "unread": "annotated, scan cannot be read",
}

PER_PAGE = 24
"""Cards on a page."""
MOST_COLUMNS = 300
"""Cases in the table; of more, those with a card alone."""

BAR_MM = 50
"""Length of the bar in every picture."""

MARGIN, GAP, BETWEEN = 24, 18, 4
NARROWEST = 860
"""Pixels of a page's width."""


@dataclass(frozen=True)
class Card:
    """A case on a sheet."""

    case: str
    states: tuple[State, ...]
    """Of each organ."""
    facts: tuple[str, ...] = ()
    """Lines below the name of the case."""
    cut: Cut | None = None
    fault: str = ""
    """Why there is no picture."""

    def hidden(self) -> list[int]:
        """Return the organs (0..K-1) that the simulation hides."""
        return [k for k, state in enumerate(self.states) if state == "hidden"]


class Row(NamedTuple):
    """A case in the table of organs against cases."""

    case: str
    states: tuple[State, ...]
    tested: bool = False
    """Whether the simulation tests it, so that no training sees it."""


@dataclass(frozen=True)
class Heading:
    """What stands above the cards of every page."""

    title: str
    lines: tuple[str, ...]
    organs: tuple[str, ...]
    meaning: Mapping[State, str] = field(default_factory=lambda: MEANING)
    """The states in words."""
    rows: tuple[Row, ...] = ()
    """Every case of the data set; no table without any."""
    counts: tuple[str, ...] = ()
    """Of each organ, at the end of its line in the table."""
    counted: str = ""
    """What they count."""


@dataclass(frozen=True)
class Style:
    """Sizes in pixels."""

    panel: int = 240
    """Longest side of a slice."""
    text: int = 13
    width: int = 1640
    """Most that a page is wide."""


SMALL = Style(panel=150, text=12, width=1240)
"""For a page of the report, which is as wide."""


def card(
    case: str,
    facts: Iterable[str],
    image_SHW: NDArray[np.float32] | NDArray[np.int16],
    labels_SHW: NDArray[np.uint8],
    pixel_mm: tuple[float, float],
    value_range: tuple[float, float],
    annotated: Sequence[bool],
    hidden: Sequence[bool],
    n_slices: int,
) -> Card:
    """Return the card of a case; nothing of the volume is kept but some slices.

    Parameters
    ----------
    image_SHW, labels_SHW
        Axial slices from below, complete labels; H is canonical X, W is canonical Y.
    pixel_mm
        Sides of a pixel along X and Y.
    value_range
        Values shown as black and white.
    annotated, hidden
        Per organ: it is annotated; the simulation hides it.
    n_slices
        Most slices.
    """
    area_SK = areas(labels_SHW, len(annotated))
    states = tuple(
        state_of(*flags)
        for flags in zip(annotated, hidden, np.any(area_SK, axis=0).tolist(), strict=True)
    )
    shown = cut(image_SHW, labels_SHW, choose(area_SK, n_slices), pixel_mm, value_range)
    return Card(case, states, tuple(facts), shown)


def state_of(annotated: bool, hidden: bool, drawn: bool | None) -> State:
    """Return the state of an organ; ``drawn`` is None where nobody has looked."""
    if not annotated:
        return "missing"
    if hidden:
        return "hidden"
    if drawn is None:
        return "unopened"
    return "drawn" if drawn else "empty"


def page(heading: Heading, cards: Sequence[Card], style: Style | None = None) -> Image:
    """Draw a page."""
    style = style or Style()
    cards_at = _Cards(cards, heading.organs, style)
    width = max(NARROWEST, cards_at.width + 2 * MARGIN)
    head = _Head(heading, cards, style, width)
    sheet = Canvas((width, head.height + cards_at.height + MARGIN), style.text)
    head.draw(sheet)
    cards_at.draw(sheet, head.height)
    return sheet.image


class _Head:
    """Title, lines, legend of states, and the table of organs against cases."""

    def __init__(
        self, heading: Heading, cards: Sequence[Card], style: Style, page_width: int
    ) -> None:
        self._heading, self._cards, self._style = heading, cards, style
        self._inner = page_width - 2 * MARGIN
        text = style.text
        self._line = text + 6
        self._lines = [
            part for line in heading.lines for part in wrapped(line, self._inner, font(text))
        ]
        found = {row.case: row for row in heading.rows}
        opened = {one.case: one for one in cards}
        kept = heading.rows
        if len(kept) > MOST_COLUMNS:
            kept = tuple(found[one.case] for one in cards if one.case in found)
        self._columns = tuple(
            row._replace(states=opened[row.case].states) if row.case in opened else row
            for row in kept
        )
        states = {state for row in self._columns for state in row.states}
        states |= {state for one in cards for state in one.states}
        self._legend = [state for state in MEANING if state in states]
        self._void = any((one.cut.labels_SHW == VOID).any() for one in cards if one.cut)
        names = [f"{k} {organ}" for k, organ in enumerate(heading.organs, start=1)]
        longest = max(text_width(name, font(text)) for name in names)
        self._names = [elided(name, font(text), 260) for name in names]
        self._left = min(longest, 260) + 30
        ends = (*heading.counts, heading.counted)
        counts = max(text_width(words, font(text)) for words in ends)
        room = self._inner - self._left - counts - 16
        self._cell = max(2, min(22, room // max(1, len(self._columns))))
        self._row = 17 if len(heading.organs) <= 40 else 13
        self._legend_lines = self._placed_legend()

    @property
    def _table_height(self) -> int:
        if not self._columns:
            return 0
        return 30 + self._row * len(self._names) + (18 if self._any_tested else 0)

    @property
    def _any_tested(self) -> bool:
        return any(row.tested for row in self._columns)

    @property
    def height(self) -> int:
        legend = len(self._legend_lines) * (self._line + 4)
        lines = 34 + self._line * len(self._lines)
        return MARGIN + lines + 8 + legend + self._table_height + GAP

    def _placed_legend(self) -> list[list[tuple[int, str, State | None]]]:
        """Return the entries of the legend in lines: place, words, state or None for VOID."""
        words_of = self._heading.meaning
        entries: list[tuple[str, State | None]] = [(words_of[one], one) for one in self._legend]
        if self._void:
            entries.append(("left out (ignore)", None))
        lines: list[list[tuple[int, str, State | None]]] = [[]]
        x = 0
        for words, state in entries:
            width = 34 + text_width(words, font(self._style.text)) + 22
            if x and x + width > self._inner:
                lines.append([])
                x = 0
            lines[-1].append((x, words, state))
            x += width
        return lines

    def draw(self, sheet: Canvas) -> None:
        y = MARGIN
        face = font(sheet.text_px + 8, bold=True)
        title = elided(self._heading.title, face, self._inner)
        sheet.write((MARGIN, y), title, size=8, bold=True)
        y += 34
        for line in self._lines:
            sheet.write((MARGIN, y), line, ink=FAINT)
            y += self._line
        y += 8
        for entries in self._legend_lines:
            for x, words, state in entries:
                box = (MARGIN + x, y, MARGIN + x + 26, y + 15)
                if state is None:
                    sheet.bar(box, (70, 70, 70))
                    sheet.stripe(box, PAPER)
                else:
                    sheet.state(box, state, colour(1))
                sheet.write((MARGIN + x + 34, y), words)
            y += self._line + 4
        if self._columns:
            self._draw_table(sheet, y)

    def _draw_table(self, sheet: Canvas, y: int) -> None:
        first = MARGIN + self._left
        numbers = {one.case: number for number, one in enumerate(self._cards, start=1)}
        x_of = {row.case: first + place * self._cell for place, row in enumerate(self._columns)}
        free = 0
        for case, x in x_of.items():
            if case not in numbers:
                continue
            middle = x + self._cell // 2
            number = str(numbers[case])
            half = text_width(number, font(sheet.text_px - 3)) // 2
            if middle - half > free:
                sheet.write((middle, y), number, size=-3, anchor="ma")
                free = middle + half + 2
            sheet.pointer((middle, y + 21), 4 if self._cell > 9 else 3)
        end = first + self._cell * len(self._columns) + 10
        sheet.write((end, y + 20), self._heading.counted, ink=FAINT, anchor="ls")
        y += 24
        for k, name in enumerate(self._names):
            top = y + k * self._row
            own = colour(k)
            sheet.bar((MARGIN, top + 1, MARGIN + 18, top + self._row - 1), own)
            sheet.write((MARGIN + 24, top + self._row // 2), name, anchor="lm")
            for row in self._columns:
                x = x_of[row.case]
                gap = 1 if self._cell > 4 else 0
                box = (x, top + 1, x + self._cell - gap, top + self._row - 1)
                sheet.state(box, row.states[k], own)
            if self._heading.counts:
                at = (end, top + self._row // 2)
                sheet.write(at, self._heading.counts[k], ink=FAINT, anchor="lm")
        if self._any_tested:
            top = y + self._row * len(self._names) + 4
            sheet.write((first - 8, top + 4), "tested", ink=FAINT, size=-2, anchor="rm")
            for row in self._columns:
                if row.tested:
                    x = x_of[row.case]
                    sheet.bar((x, top, x + max(2, self._cell - 1), top + 7), FAINT)


class _Cards:
    """The cards of a page, in a grid."""

    def __init__(self, cards: Sequence[Card], organs: Sequence[str], style: Style) -> None:
        self._cards, self._style = cards, style
        shown = [one.cut for one in cards if one.cut is not None]
        most = max((len(one.chosen.numbers) for one in shown), default=1)
        needed = max((one.chosen.needed for one in shown), default=1)
        self._n = most if len(cards) == 1 or not needed else needed
        self._panel = self._panel_size(shown)
        beside = max(1, (style.width - 2 * MARGIN + BETWEEN) // (self._panel[0] + BETWEEN))
        self._in_line = -(-self._n // -(-self._n // beside))  # lines of equal length
        self._card_width = self._in_line * (self._panel[0] + BETWEEN) - BETWEEN
        fits = (style.width - 2 * MARGIN + GAP) // (self._card_width + GAP)
        self._across = max(1, min(fits, len(cards)))
        self._line = style.text + 5
        self._words = list(organs)
        if len(cards) > 1 and len(self._chip_lines()) > 2:
            self._words = [str(k) for k in range(1, len(organs) + 1)]
        self._chips = self._chip_lines()
        self._facts = max(len(one.facts) for one in cards)

    def _panel_size(self, cuts: Sequence[Cut]) -> tuple[int, int]:
        """Return width and height of the box that every slice is fitted into."""
        if not cuts:
            return self._style.panel, self._style.panel // 2
        sizes_mm = np.array([one.size_mm for one in cuts])
        ratio = float(np.median(sizes_mm[:, 1] / sizes_mm[:, 0]))
        side = self._style.panel
        width = side if ratio <= 1.3 else round(1.3 * side / min(ratio, 2.6))
        return width, round(min(side * 1.3, max(0.4 * side, side * ratio)))

    @property
    def width(self) -> int:
        return self._across * (self._card_width + GAP) - GAP

    @property
    def _chip_height(self) -> int:
        return chip_size("x", self._style.text)[1] + 3

    @property
    def _card_height(self) -> int:
        text = self._line * (1 + self._facts)
        return text + 4 + self._slices_height + 5 + len(self._chips) * self._chip_height + GAP

    @property
    def _slices_height(self) -> int:
        return -(-self._n // self._in_line) * (self._panel[1] + BETWEEN) - BETWEEN

    @property
    def height(self) -> int:
        return -(-len(self._cards) // self._across) * self._card_height

    def _chip_lines(self) -> list[list[tuple[int, int]]]:
        """Return the chips in lines: organ and place."""
        lines: list[list[tuple[int, int]]] = [[]]
        x = 0
        for k, word in enumerate(self._words):
            width = chip_size(word, self._style.text)[0]
            if x and x + width > self._card_width:
                lines.append([])
                x = 0
            lines[-1].append((k, x))
            x += width + 3
        return lines

    def draw(self, sheet: Canvas, top: int) -> None:
        for place, one in enumerate(self._cards):
            row, column = divmod(place, self._across)
            x = MARGIN + column * (self._card_width + GAP)
            self._draw_card(sheet, one, place + 1, x, top + row * self._card_height)

    def _draw_card(self, sheet: Canvas, one: Card, number: int, x: int, y: int) -> None:
        face = font(sheet.text_px, bold=True)
        name = f"{number}  {one.case}" if len(self._cards) > 1 else one.case
        sheet.write((x, y), elided(name, face, self._card_width), bold=True)
        for place, fact in enumerate(one.facts, start=1):
            line = elided(fact, font(sheet.text_px - 2), self._card_width)
            sheet.write((x, y + place * self._line), line, ink=FAINT, size=-2)
        y += self._line * (1 + self._facts) + 4
        if one.cut is None:
            self._draw_fault(sheet, one.fault, x, y)
        else:
            numbers = sorted(one.cut.chosen.numbers[: self._n])
            for place, slice_number in enumerate(numbers):
                row, column = divmod(place, self._in_line)
                dx, dy = column * (self._panel[0] + BETWEEN), row * (self._panel[1] + BETWEEN)
                self._draw_slice(sheet, one, slice_number, (x + dx, y + dy))
        y += self._slices_height + 5
        for chips in self._chips:
            for k, dx in chips:
                sheet.chip((x + dx, y), self._words[k], one.states[k], colour(k))
            y += self._chip_height

    def _draw_fault(self, sheet: Canvas, fault: str, x: int, y: int) -> None:
        width, height = self._card_width, self._panel[1]
        sheet.bar((x, y, x + width, y + height), (248, 232, 232))
        sheet.write((x + 8, y + 8), "not drawn", ink=ALERT, bold=True)
        lines = wrapped(fault, width - 16, font(sheet.text_px - 2))
        most = max(1, (height - 34) // (sheet.text_px + 3))
        if len(lines) > most:
            lines = [*lines[: most - 1], f"{lines[most - 1]} ..."]
        for number, line in enumerate(lines):
            at = (x + 8, y + 30 + number * (sheet.text_px + 3))
            sheet.write(at, line, ink=ALERT, size=-2)

    def _draw_slice(self, sheet: Canvas, one: Card, number: int, at: tuple[int, int]) -> None:
        from PIL import Image

        assert one.cut is not None
        (x, y), (width, height) = at, self._panel
        sheet.bar((x, y, x + width, y + height), (0, 0, 0))
        width_mm, height_mm = one.cut.size_mm
        px_per_mm = min(width / width_mm, height / height_mm)
        size = max(1, round(width_mm * px_per_mm)), max(1, round(height_mm * px_per_mm))
        place = one.cut.chosen.numbers.index(number)
        picture = paint(
            one.cut.grey_SHW[place], one.cut.labels_SHW[place], size, dotted=one.hidden()
        )
        sheet.image.paste(
            Image.fromarray(picture), (x + (width - size[0]) // 2, y + (height - size[1]) // 2)
        )
        rim = (0, 0, 0)
        middle = y + height // 2
        sheet.write((x + 4, middle), "R", ink=PAPER, size=-1, anchor="lm", rim=rim)
        sheet.write((x + width - 4, middle), "L", ink=PAPER, size=-1, anchor="rm", rim=rim)
        words = f"{number + 1}/{one.cut.depth}"
        sheet.write((x + 4, y + height - 3), words, ink=PAPER, size=-3, anchor="ls", rim=rim)
        bar = round(BAR_MM * px_per_mm)
        if bar < width - 12:
            end = (x + width - 5, y + height - 6)
            sheet.bar((end[0] - bar, end[1], end[0], end[1] + 2), PAPER)
