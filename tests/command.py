"""The command line in the process of the test, which is quicker than the installed one."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from bench.cli import main as cli
from bench.plugins.files import VARIABLE as PLUGINS


class Answer(NamedTuple):
    """What a command ended with and printed."""

    code: int
    out: str
    err: str


Bench = Callable[..., Answer]


@pytest.fixture
def bench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Bench:
    """Run the command line in this process, in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)
    for variable in ("BENCH_DATA", "BENCH_STORE", "COLUMNS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(PLUGINS, "")  # taken back, so that no other test sees a plug-in of this one
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Answer(code or 0, *capsys.readouterr())

    return run
