"""A second process draws: the same files, also where it dies."""

import os
import signal
import time
from functools import partial
from itertools import count

import pytest
from joblib import cpu_count
from tables import in_memory, result_table

from bench.reporting.helper import helper, start
from bench.reports.leaderboard import Leaderboard

needs_two_cores = pytest.mark.skipif(cpu_count() < 2, reason="needs two cores")


def test_without_a_helper_work_is_done_once_where_it_is_asked_for() -> None:
    numbers = count()
    result = start(partial(next, numbers))
    assert next(numbers) == 0
    assert [result(), result()] == [1, 1]


@needs_two_cores
def test_a_helper_works_elsewhere_and_its_death_costs_nothing() -> None:
    with helper():
        first = start(os.getpid)
        time.sleep(0.5)  # it is taken back from a helper that has not come to it
        elsewhere = first()
        assert elsewhere != os.getpid()
        begun = start(partial(time.sleep, 30)), start(os.getpid)
        time.sleep(0.5)
        os.kill(elsewhere, signal.SIGKILL)
        assert begun[1]() == os.getpid()
        assert start(os.getpid)() == os.getpid()
    assert start(os.getpid)() == os.getpid()


@needs_two_cores
def test_a_system_without_room_for_a_process_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("loky.ProcessPoolExecutor.submit", refuse)
    with helper():
        assert start(os.getpid)() == os.getpid()


@needs_two_cores
def test_a_fault_in_the_work_is_told_here() -> None:
    with helper(), pytest.raises(ValueError, match="invalid literal"):
        start(partial(int, "no number"))()


@needs_two_cores
def test_a_report_is_the_same_whoever_draws_it() -> None:
    tables = in_memory(results=result_table())
    alone = dict(Leaderboard().build(tables).files)
    with helper():
        assert dict(Leaderboard().build(tables).files) == alone
    assert any(name.endswith(".pdf") for name in alone)
