"""A sample of the malformed inputs of ``tests/fuzz.py``, which hands in hundreds."""

from __future__ import annotations

import fuzz


def test_no_malformed_input_ends_in_a_traceback_or_hangs():
    kinds = {kind: spoil for kind, spoil in fuzz.KINDS.items() if kind != "store"}  # takes a run
    ended = list(fuzz.run(kinds, inputs=3))
    assert {one.outcome for _, _, one in ended} == {"refused", "accepted"}, ended
