"""The benchmark of a GPU, as far as it runs without one."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def main() -> Callable[[list[str]], None]:
    found: Callable[[list[str]], None] = runpy.run_path(str(PROGRAM))["main"]
    return found


def test_it_takes_a_few_steps_on_a_cpu(
    main: Callable[[list[str]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--device", "cpu", "--smoke", "--methods", "asdnet"])
    printed = capsys.readouterr()
    assert not printed.err
    assert "fails" not in printed.out
    (trainer,) = (row for row in printed.out.splitlines() if row.startswith("as the trainer "))
    milliseconds, slices_per_s, ratio = map(float, trainer.split()[3:])
    assert slices_per_s == pytest.approx(2000 / milliseconds, rel=0.1)
    assert ratio == 1.0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "has no GPU"),
        (["--device", "cpu"], "--smoke"),
        (["--methods", "inerrant0,nothing"], "unknown method nothing"),
    ],
)
def test_what_it_cannot_measure_it_says_in_one_line(
    arguments: list[str],
    said: str,
    main: Callable[[list[str]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
