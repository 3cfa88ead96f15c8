"""Code that computes numbers does not change without the version of what it computes."""

from __future__ import annotations

import json

import versions


def test_code_changes_with_the_version_of_what_it_computes() -> None:
    before, now = json.loads(versions.RECORD.read_text()), versions.record()
    assert not versions.changed(before, now), (
        "code that computes numbers has changed: raise the version of the parts whose numbers "
        f"change, of {versions.stale(before, now)}, and run python tests/versions.py"
    )
    assert before["parts"] == now["parts"], "run python tests/versions.py"


def test_a_part_is_stale_until_its_version_is_raised() -> None:
    before = json.loads(versions.RECORD.read_text())
    loss, objective = "bench.training.losses", "bench.training.confidence.LearnedConfidence"
    now = {"modules": before["modules"] | {loss: "edited"}, "parts": before["parts"]}
    assert versions.changed(before, now) == {loss}
    assert objective in versions.stale(before, now)
    assert "bench.stages.truth.Truth" not in versions.stale(before, now)
    raised = now | {"parts": before["parts"] | {objective: 99}}
    assert objective not in versions.stale(before, raised)


def test_comments_and_docstrings_are_no_code() -> None:
    text = 'def f(x):\n    """Doc."""\n    return x + 1  # why\n\n\n# end\n'
    assert versions.code(text) == "def f(x):\n    return x + 1"
    assert versions.code(text.replace("1", "2")) != versions.code(text)
