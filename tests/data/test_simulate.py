"""The simulator of missing labels (specification: Missing labels)."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from conftest import Finished
from helpers import stage_of
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.dataset import Case
from bench.data.simulate import Split, assign_folds, labelled_patients, make_split, n_labelled
from bench.errors import BenchError


def cases(
    n: int,
    n_organs: int = 3,
    per_patient: int = 1,
    gaps: Sequence[tuple[int, int]] = (),
) -> list[Case]:
    """Return ``n`` cases; ``gaps`` lists (case, organ) pairs that nobody annotated."""
    return [
        Case(
            id=f"case{i:03d}",
            patient=f"patient{i // per_patient:03d}",
            annotated=tuple((i, k) not in gaps for k in range(n_organs)),
        )
        for i in range(n)
    ]


def split(found: Sequence[Case], pct: int = 50, fold: int = 0, **other: Any) -> Split:
    arguments = {"dataset": "set", "n_folds": 5, "seed": 0} | other
    organs = [f"organ{k}" for k in range(len(found[0].annotated))]
    return make_split(found, organs, label_pct=pct, fold=fold, **arguments)


def counts(found: Split) -> list[int]:
    """Return per organ how many training cases show it."""
    return [sum(column) for column in zip(*found.flags.values(), strict=True)]


@pytest.mark.parametrize(
    ("n_cases", "pct", "expected"),
    [
        # Table of: TCIA, multi-organ and LiTS, the count in each of the five folds.
        (82, 70, {46}), (82, 50, {33}), (82, 30, {20}), (82, 10, {7}), (82, 100, {65, 66}),
        (90, 70, {50}), (90, 50, {36}), (90, 30, {22}), (90, 10, {7}), (90, 100, {72}),
        (131, 30, {31, 32}), (131, 10, {10, 11}), (131, 5, {5}), (131, 1, {1}),
    ],
)  # fmt: skip
def test_counts_of_the_paper(n_cases: int, pct: int, expected: set[int]) -> None:
    found = cases(n_cases)
    assert {count for fold in range(5) for count in counts(split(found, pct, fold))} == expected


@given(pct=st.integers(1, 100), n=st.integers(1, 500))
def test_rounding_is_half_up_and_never_to_nobody(pct: int, n: int) -> None:
    exact = (Decimal(pct) * n / 100).quantize(Decimal(1), ROUND_HALF_UP)
    assert n_labelled(pct, n) == max(1, int(exact))


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(10, 60),
    per_patient=st.integers(1, 3),
    fold=st.integers(0, 2),
    pcts=st.lists(st.integers(1, 100), min_size=2, max_size=5),
    seed=st.integers(0, 5),
    gaps=st.lists(st.tuples(st.integers(0, 59), st.integers(0, 1)), max_size=12, unique=True),
)
def test_split_properties(
    n: int,
    per_patient: int,
    fold: int,
    pcts: list[int],
    seed: int,
    gaps: list[tuple[int, int]],
) -> None:
    found = cases(n, per_patient=per_patient, gaps=gaps)
    by_id = {case.id: case for case in found}
    if n // per_patient < 3:
        return
    folds = assign_folds([case.patient for case in found], 3, seed, "set")
    training = [case for case in found if folds[case.patient] != fold]
    if not all(any(column) for column in zip(*(c.annotated for c in training), strict=True)):
        return  # refused, see below
    splits = [split(found, pct, fold, n_folds=3, seed=seed) for pct in sorted(pcts)]
    for one in splits:
        assert sorted(one.train + one.test) == sorted(by_id)
        assert set(one.flags) == set(one.train)
        assert not {by_id[i].patient for i in one.train} & {by_id[i].patient for i in one.test}
        for k in range(3):
            annotated = {by_id[i].patient for i in one.train if by_id[i].annotated[k]}
            kept = {by_id[i].patient for i in one.train if one.flags[i][k]}
            assert len(kept) == n_labelled(one.label_pct, len(annotated))
            for i in one.train:  # all or nothing within a patient, but for natural gaps
                assert one.flags[i][k] == (by_id[i].annotated[k] and by_id[i].patient in kept)
    for small, large in itertools.pairwise(splits):
        assert small.train == large.train
        for i in small.train:
            assert all(b or not a for a, b in zip(small.flags[i], large.flags[i], strict=True))


def test_folds_test_everybody_once_and_are_of_equal_size() -> None:
    patients = [f"p{i}" for i in range(17)]
    folds = assign_folds(patients * 2, 5, 0, "set")
    assert set(folds) == set(patients)
    assert sorted(Counter(folds.values()).values()) == [3, 3, 3, 4, 4]
    found = cases(34, per_patient=2)
    tests = [set(split(found, fold=fold).test) for fold in range(5)]
    assert sum(map(len, tests)) == len(set.union(*tests)) == 34


def test_the_order_of_the_cases_does_not_matter() -> None:
    found = cases(30)
    assert split(found).flags == split(found[::-1]).flags
    assert assign_folds(["a", "b", "c"], 3, 0, "s") == assign_folds(["c", "b", "a"], 3, 0, "s")


def test_full_labels_are_the_natural_ones() -> None:
    found = cases(20, gaps=[(3, 0), (7, 2)])
    one = split(found, 100)
    assert one.flags == {case.id: case.annotated for case in found if case.id in one.train}


def test_the_share_is_taken_of_those_annotated_by_nature() -> None:
    gaps = [(i, 0) for i in range(0, 40, 2)]
    one = split(cases(40, gaps=gaps), 50)
    annotated = sum(int(i.removeprefix("case")) % 2 for i in one.train)
    assert counts(one)[0] == n_labelled(50, annotated)
    assert counts(one)[1] == n_labelled(50, 32)


def test_organs_folds_seeds_and_data_sets_are_independent() -> None:
    patients = [f"p{i:02d}" for i in range(60)]

    def kept(seed: int = 0, name: str = "set", fold: int = 0, organ: int = 0) -> frozenset[str]:
        return labelled_patients(patients, 50, seed, name, fold, organ)

    assert kept() == kept()
    others = [kept(organ=1), kept(organ=2), kept(fold=1), kept(seed=1), kept(name="other")]
    # Independent halves of 60 share 15 on average, 6.6 standard deviations from all or none.
    for other in others:
        assert 5 < len(kept() & other) < 25


def test_the_manifest_survives_the_disk_and_knows_its_content() -> None:
    one = split(cases(30), 30)
    again = Split.model_validate_json(one.model_dump_json())
    assert again == one
    assert again.sha256 == one.sha256
    flags = {**one.flags, one.train[0]: tuple(not flag for flag in one.flags[one.train[0]])}
    assert one.model_copy(update={"flags": flags}).sha256 != one.sha256
    assert split(cases(30), 31).sha256 != one.sha256


def test_a_known_manifest_stays_as_it_is() -> None:
    # A change here changes every number ever computed: raise the version of Labels with it.
    one = split(cases(10), 30)
    assert one.test == ("case004", "case005")
    shown = [[i for i in one.train if one.flags[i][k]] for k in range(3)]
    assert shown == [["case008", "case009"], ["case003", "case009"], ["case006", "case007"]]


@pytest.mark.parametrize(
    ("found", "arguments", "message"),
    [
        (cases(4), {}, "4 patients cannot be split into 5 folds"),
        (cases(12, per_patient=3), {}, "4 patients cannot be split into 5 folds"),
        (cases(2, per_patient=2), {}, "all cases are of one patient, .* add cases of others"),
        (cases(10), {"fold": 5}, "fold 5 does not exist: folds are 0 to 4"),
        (cases(10, 1, gaps=[(i, 0) for i in range(10)]), {}, "no organ is annotated in any case"),
    ],
)
def test_impossible_splits_are_refused(
    found: list[Case], arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        split(found, **arguments)


def test_an_organ_that_only_test_patients_have_is_refused_but_one_that_nobody_has_is_not() -> None:
    found = cases(10, gaps=[(i, 1) for i in range(1, 10)])
    (tested,) = (fold for fold in range(5) if "case000" in split(cases(10), fold=fold).test)
    for fold in set(range(5)) - {tested}:
        assert sum(flags[1] for flags in split(found, fold=fold).flags.values()) == 1
    with pytest.raises(BenchError, match="organ1 is annotated in no training patient of fold"):
        split(found, fold=tested)
    nobody = split(cases(10, gaps=[(i, 1) for i in range(10)]), pct=100)
    assert not any(flags[1] for flags in nobody.flags.values())
    assert all(flags[0] and flags[2] for flags in nobody.flags.values())


def test_all_methods_of_a_cell_read_one_manifest(finished: Finished) -> None:
    in_cell = [s for s in stage_of(finished.runs, "Labels") if s.label_pct == 50]
    assert len(in_cell) == 1
    written = finished.store.out(in_cell[0])
    manifest = Split.model_validate_json((written / "split.json").read_text())
    assert (written / "split.sha256").read_text() == manifest.sha256 + "\n"
    condition = finished.runs[0].condition
    known = make_split(
        condition.source.dataset.cases(),
        condition.source.dataset.organs,
        dataset=condition.source.dataset.name,
        fold=0,
        n_folds=2,
        label_pct=50,
        seed=0,
    )
    assert known == manifest
