"""Drawings as files: what a PDF holds."""

import re
import subprocess
import sys
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


def test_lines_are_drawn_without_scipy_stats_which_stays_what_it_was() -> None:
    code = """if True:
        import sys
        import pandas as pd
        {before}
        from bench.reports._figures import curves
        from bench.reporting.style import MethodStyles

        values = pd.DataFrame({{"method": ["naive"] * 2, "training": "masked", "round": 0,
            "name": "segment/loss", "label_pct": 30, "part": [0, 1], "mean": [1.0, 0.5]}})
        figure = curves.losses(values, MethodStyles())
        print(len(figure.axes[0].lines), "seaborn" in sys.modules, "scipy.stats" in sys.modules)
        from scipy.stats import norm
        print(norm.cdf(0))
        """
    for before, there in (("", "False"), ("import scipy.stats", "True")):
        done = subprocess.run(
            [sys.executable, "-P", "-c", code.format(before=before)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == ["1", "True", there, "0.5"]
