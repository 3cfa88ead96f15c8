"""Drawings as files: what a PDF holds."""

import re
import zlib

from matplotlib.figure import Figure

from bench.reports._figures import rendering


def test_letters_of_a_pdf_stay_letters_of_fonts_that_lay_out_nothing() -> None:
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.5, "INERRANT⁰ office")
    data = rendering.drawing(lambda: figure, "a", "a", "a").files()["pdf"]
    streams = [
        zlib.decompressobj().decompress(found)
        for found in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
        if found[:1] == b"x"
    ]
    fonts = [stream for stream in streams if b"glyf" in stream[:400]]
    assert fonts
    assert not any(name in font[:400] for font in fonts for name in (b"GSUB", b"GPOS", b"GDEF"))
