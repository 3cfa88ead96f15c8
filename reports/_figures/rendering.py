"""From a figure to its files: laid out once, names as they are, no date in any."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from bench.reporting.drawing import Drawing, Format
from bench.reporting.helper import start

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

POINTS = 72
"""In an inch."""
MARGIN = 0.1
"""Around what is drawn, in inches."""
Drawn = ParamSpec("Drawn")


@contextmanager
def _names_as_text(**params: Any) -> Iterator[None]:
    """Draw names as they are: a dollar sign in one starts no formula, a long one is no warning."""
    import matplotlib as mpl

    chosen: Any = {"text.parse_math": False} | params
    with mpl.rc_context(chosen), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def names_as_text(draw: Callable[Drawn, Figure]) -> Callable[Drawn, Figure]:
    """Let a function draw names as they are, whatever they hold."""

    @wraps(draw)
    def drawn(*args: Drawn.args, **options: Drawn.kwargs) -> Figure:
        with _names_as_text():
            return draw(*args, **options)

    return drawn


def drawing(
    draw: Callable[[], Figure],
    name: str,
    title: str,
    caption: str,
    instead: str = "",
    formats: Sequence[Format] = ("svg", "pdf"),
) -> Drawing:
    """Return a drawing that is begun at once where a process is free for it.

    Parameters
    ----------
    draw
        Returns the figure; it is sent to that process, with all that it holds.
    name, title, caption, instead
        As in :class:`Drawing`.
    formats
        Those that are needed.
    """
    return Drawing(name, title, caption, start(partial(_files, draw, tuple(formats))), instead)


def _files(draw: Callable[[], Figure], formats: Sequence[Format]) -> dict[Format, bytes]:
    """Return a figure in several formats and close it."""
    from matplotlib import pyplot as plt

    figure = draw()
    frame = _lay_out(figure)
    write = {"svg": _to_svg, "pdf": _to_pdf}
    files = {ending: write[ending](figure, frame) for ending in formats}
    plt.close(figure)
    return files


def _lay_out(figure: Figure) -> Bbox:
    """Place the parts of a figure once for all its files and return what these show, in inches."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)  # measures text as it will be drawn
    figure.set_dpi(POINTS)
    with _names_as_text():
        if engine := figure.get_layout_engine():
            engine.execute(figure)
            figure.set_layout_engine(None)
        return figure.get_tightbbox().padded(MARGIN)


def _to_svg(figure: Figure, frame: Bbox) -> bytes:
    data = io.BytesIO()
    # No date, version or random identifiers; text stays text.
    with _names_as_text(**{"svg.hashsalt": "bench", "svg.fonttype": "none"}):
        dated = {"Date": None, "Creator": None}
        figure.savefig(data, format="svg", metadata=dated, bbox_inches=frame)
    return data.getvalue()


@contextmanager
def _fonts_without_layout() -> Iterator[None]:
    """Embed fonts without what lays text out, as it is already: reading that takes longest."""
    from fontTools.subset import Options

    usual = getattr(Options, "_drop_tables_default", [])  # matplotlib passes no options on
    Options._drop_tables_default = [*usual, "GDEF", "GPOS", "GSUB", "MATH"]
    try:
        yield
    finally:
        Options._drop_tables_default = usual


def _to_pdf(figure: Figure, frame: Bbox) -> bytes:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_fontfeatures(["-liga"])  # each face is cut once; ligatures would be another
    data = io.BytesIO()
    # Letters stay letters. The PDF reads the size of a font from the second.
    kinds = dict.fromkeys(["pdf.fonttype", "ps.fonttype"], 42)
    with _names_as_text(**kinds), _fonts_without_layout():
        dated = {"CreationDate": None, "Creator": None, "Producer": None}
        figure.savefig(data, format="pdf", metadata=dated, bbox_inches=frame)
    return data.getvalue()


def to_png(figure: Figure) -> bytes:
    """Return a figure as PNG and close it."""
    from matplotlib import pyplot as plt

    data = io.BytesIO()
    with _names_as_text():
        figure.savefig(data, format="png", dpi=150, metadata={"Software": None})
    plt.close(figure)
    return data.getvalue()
