"""A picture to draw on: text that fits, and boxes in the pattern of an organ's state."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.evaluation.axial import Colour

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

State = Literal["drawn", "empty", "missing", "hidden", "unopened", "unread"]
"""Of an organ in a case: it has voxels; it is annotated and has none; it is not annotated; it is
annotated, but hidden by the simulation; it is annotated, and the scan has not been opened; or has
been, and cannot be read."""

INK, FAINT, PAPER, ALERT = (25, 25, 25), (115, 115, 115), (255, 255, 255), (190, 20, 30)
HATCH: Colour = (150, 150, 150)


class Canvas:
    """A white picture to draw on; boxes are left, top, right and bottom, the last two beyond it."""

    def __init__(self, size: tuple[int, int], text: int) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.new("RGB", size, PAPER)
        self._pen = ImageDraw.Draw(self.image)
        self.text_px = text
        rows, columns = np.ogrid[: size[1], : size[0]]
        stripes = ((rows % 8 + columns % 8) % 8 < 3) * np.uint8(255)
        self._stripes = Image.fromarray(stripes)

    def write(
        self,
        at: tuple[float, float],
        text: str,
        *,
        ink: Colour = INK,
        size: int = 0,
        bold: bool = False,
        anchor: str = "la",
        rim: Colour | None = None,
        rim_px: int = 1,
    ) -> None:
        """Write a line of text; with ``rim`` around the letters, to be read on any ground."""
        face = font(self.text_px + size, bold=bold)
        self._pen.text(
            at,
            _legible(text),
            fill=ink,
            font=face,
            anchor=anchor,
            stroke_width=0 if rim is None else rim_px,
            stroke_fill=rim,
        )

    def line(self, start: tuple[int, int], end: tuple[int, int], ink: Colour) -> None:
        """Draw a line one pixel wide."""
        self._pen.line([start, end], fill=ink)

    def pointer(self, tip: tuple[int, int], side: int) -> None:
        """Draw a triangle that points down."""
        x, y = tip
        self._pen.polygon([(x, y), (x - side, y - side), (x + side, y - side)], fill=INK)

    def bar(self, box: tuple[int, int, int, int], ink: Colour) -> None:
        """Fill a box."""
        self._pen.rectangle(_inclusive(box), fill=ink)

    def stripe(self, box: tuple[int, int, int, int], ink: Colour) -> None:
        """Fill a box with diagonals that go on in the box beside it."""
        self.image.paste(ink, box, self._stripes.crop(box))

    def state(self, box: tuple[int, int, int, int], state: State, own: Colour) -> None:
        """Fill a box as the legend says."""
        x0, y0, x1, y1 = box
        if state == "drawn":
            self.bar(box, own)
        elif state == "unopened":
            self.bar(box, _mixed(own, PAPER, 0.55))
        elif state == "unread":
            self._pen.rectangle(_inclusive(box), fill=PAPER, outline=ALERT)
            self.line((x0, y0), (x1 - 1, y1 - 1), ALERT)
            self.line((x0, y1 - 1), (x1 - 1, y0), ALERT)
        elif state == "empty":
            self._pen.rectangle(_inclusive(box), fill=PAPER, outline=own)
            if x1 - x0 > 5:
                middle = ((x0 + x1) // 2, (y0 + y1) // 2)
                self._pen.ellipse(
                    [middle[0] - 2, middle[1] - 2, middle[0] + 1, middle[1] + 1], outline=own
                )
        else:
            self.stripe(box, own if state == "hidden" else HATCH)
            if state == "hidden" and x1 - x0 > 5:
                self._pen.rectangle(_inclusive(box), outline=own)

    def chip(self, at: tuple[int, int], text: str, state: State, own: Colour) -> None:
        """Write a word in the pattern of a state."""
        x, y = at
        width, height = chip_size(text, self.text_px)
        self.state((x, y, x + width, y + height), state, own)
        middle = (x + width / 2, y + height / 2)
        if state == "drawn":
            self.write(middle, text, ink=_readable_on(own), size=-2, anchor="mm")
            return
        if state == "empty":  # the word stands where the ring of a cell would
            self.bar((x + 1, y + 1, x + width - 1, y + height - 1), PAPER)
        self.write(middle, text, size=-2, anchor="mm", rim=PAPER, rim_px=2)


@cache
def font(size: int, *, bold: bool = False) -> FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib, in pixels."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name
    return ImageFont.truetype(str(path), size)


@cache
def _has_glyph(character: str) -> bool:
    from matplotlib.ft2font import FT2Font

    faces = (FT2Font(str(font(12, bold=bold).path)) for bold in (False, True))
    return all(face.get_char_index(ord(character)) for face in faces)


def _legible(text: str) -> str:
    """Return a line with the characters that the font lacks by their numbers, ``U+809D``."""
    if text.isascii():
        return text
    return "".join(one if _has_glyph(one) else f"U+{ord(one):04X}" for one in text)


def text_width(text: str, face: FreeTypeFont) -> int:
    """Return the length of a line in pixels."""
    return int(np.ceil(face.getlength(_legible(text))))


def chip_size(text: str, text_px: int) -> tuple[int, int]:
    """Return width and height of the chip of a word."""
    return text_width(text, font(text_px - 2)) + 10, text_px + 4


def elided(text: str, face: FreeTypeFont, width: int) -> str:
    """Return a line with its middle left out if it is too long."""
    if text_width(text, face) <= width:
        return text
    kept = len(text)
    while kept > 2 and text_width(_without_middle(text, kept), face) > width:
        kept -= 1
    return _without_middle(text, kept)


def wrapped(text: str, width: int, face: FreeTypeFont) -> list[str]:
    """Return a text in lines that fit; words that do not are broken."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if text_width(joined, face) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        while text_width(word, face) > width and len(word) > 1:
            kept = max(1, int(len(word) * width / text_width(word, face)) - 1)
            lines[-1:] = [word[:kept], ""]
            word = word[kept:]
        lines[-1] = word
    return lines


def _without_middle(text: str, kept: int) -> str:
    head = kept // 2
    return f"{text[:head]}…{text[len(text) - (kept - head) :]}"


def _readable_on(ground: Colour) -> Colour:
    """Return black or white, whichever stands out."""
    red, green, blue = ground
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 130 else PAPER


def _mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _inclusive(box: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return a box with the last pixels in place of those after them."""
    return box[0], box[1], max(box[0], box[2] - 1), max(box[1], box[3] - 1)
