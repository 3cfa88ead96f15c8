from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.labels import BACKGROUND
from bench.training.batch import targets
from bench.training.relabelling import (
    RelabelRule,
    Selection,
    add_positives,
    count_new,
    find_candidates,
    gamma_at,
    relabel,
    select,
)

RULES = st.builds(
    RelabelRule,
    gamma_mode=st.sampled_from(["cumulative", "remaining"]),
    scope=st.sampled_from(["volume", "slice"]),
    background=st.sampled_from(["ambiguous", "predicted", "confident"]),
)
SEEDS = st.integers(0, 2**32 - 1)
GAMMAS = st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 2 / 3, 1.0])


@dataclass
class Held:
    """A volume whose arrays lie in memory."""

    pred_SHW: NDArray[np.uint8]
    score_SHW: NDArray[np.float32]
    lab_SHW: NDArray[np.uint8]
    ps_SHW: NDArray[np.uint8]
    flags_K: NDArray[np.bool_]
    id: str = "case"

    def known(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return self.lab_SHW, self.ps_SHW

    def predicted(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        return self.pred_SHW, self.score_SHW


def relabel_volume(
    *arrays: NDArray[Any], gamma: float, rule: RelabelRule, rng: np.random.Generator, **named: Any
) -> tuple[NDArray[np.uint8], list[Selection]]:
    """Return the pseudo-labels of one volume after a round, and what was selected from."""
    (found,) = relabel([Held(*arrays, **named)], gamma, rule, lambda *_name: rng)
    return found


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def line(*values: int) -> NDArray[np.uint8]:
    return np.array(values, np.uint8).reshape(1, 1, -1)


def scores(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(1, 1, -1)


def volume(seed: int, coarse: bool = False) -> dict[str, Any]:
    """A random volume of up to four organs, one of them missing, with all that is known of it."""
    draw = rng(seed)
    K = int(draw.integers(1, 5))
    shape = tuple(draw.integers(1, 7, 3))
    flags_K = draw.random(K) < 0.4
    flags_K[draw.integers(K)] = False
    missing = np.append(0, np.flatnonzero(~flags_K) + 1)
    annotated = np.append(0, np.flatnonzero(flags_K) + 1)
    lab = draw.choice(annotated, shape).astype(np.uint8)
    ps = draw.choice(np.append(missing, BACKGROUND), shape).astype(np.uint8)
    score = draw.random(shape, np.float32)
    return {
        "pred_SHW": draw.integers(0, K + 1, shape).astype(np.uint8),
        "score_SHW": np.round(score, 1) if coarse else score,
        "lab_SHW": lab,
        "ps_SHW": np.where(lab == 0, ps, 0).astype(np.uint8),
        "flags_K": flags_K,
    }


def weights(lab: NDArray[np.uint8], ps: NDArray[np.uint8], flags_K: NDArray[np.bool_]) -> Any:
    """y and w as training derives them, shape [K, S, H, W]."""
    tensors = (torch.from_numpy(array.astype(np.int64)) for array in (lab, ps))
    flags = torch.from_numpy(flags_K).expand(len(lab), -1)
    return tuple(tensor.transpose(0, 1).numpy() for tensor in targets(*tensors, flags))


def test_schedule_and_counts_of_the_example() -> None:
    gammas = [gamma_at(step, 3, 1.0) for step in (1, 2, 3)]
    assert gammas == pytest.approx([1 / 3, 2 / 3, 1])
    assert [gamma_at(step, 2, 2 / 3) for step in (1, 2)] == pytest.approx(gammas[:2])
    for mode, expected in (("cumulative", [4, 5, 6]), ("remaining", [4, 7, 6])):
        done, new = 0, []
        for gamma, n_candidates in zip(gammas, (12, 10, 6), strict=True):
            new.append(count_new(gamma, n_candidates, done, mode))  # type: ignore[arg-type]
            done += new[-1]
        assert new == expected


def test_count_rounds_half_up_and_stays_within_the_candidates() -> None:
    assert count_new(0.5, 5, 0, "remaining") == 3
    assert count_new(0.5, 1, 9, "cumulative") == 0  # more is relabelled already than wanted
    assert count_new(1.0, 4, 9, "cumulative") == 4


def test_a_round_by_hand() -> None:
    lab = line(1, 0, 0, 0, 0, 0, 0, 0)
    ps = line(0, 3, 0, 0, 0, 0, BACKGROUND, 0)
    pred = line(2, 2, 2, 2, 2, 1, 2, 0)
    score = scores(0.99, 0.99, 0.6, 0.8, 0.7, 0.99, 0.9, 0.5)
    flags = np.array([True, False, False])
    new, (two, three) = relabel_volume(
        pred, score, lab, ps, flags, gamma=0.5, rule=RelabelRule(), rng=rng()
    )
    # Not the labelled voxel 0, not the pseudo-label of voxel 1, not organ 1 which is annotated.
    assert two.organ == 2
    assert two.index_E.tolist() == [2, 3, 4, 6]
    assert two.score_E.tolist() == pytest.approx([0.6, 0.8, 0.7, 0.9])
    assert two.selected_E.tolist() == [False, True, False, True]
    assert (three.organ, len(three.index_E)) == (3, 0)
    assert new.ravel().tolist() == [0, 3, 0, 2, 0, 0, 2, 0]


@pytest.mark.parametrize(
    ("background", "expected"),
    [
        ("ambiguous", [0, 0, 0, 0, 2, 0]),
        ("predicted", [0, 255, 255, 255, 2, 0]),
        ("confident", [0, 255, 0, 255, 2, 0]),
    ],
)
def test_background_modes(background: str, expected: list[int]) -> None:
    lab = line(1, 0, 0, 0, 0, 0)
    ps = line(0, 0, BACKGROUND, 0, 0, BACKGROUND)
    pred = line(0, 0, 0, 0, 2, 1)
    score = scores(0.99, 0.9, 0.6, 0.8, 0.5, 0.9)
    rule = RelabelRule(background=background)  # type: ignore[arg-type]
    new, _ = relabel_volume(
        pred, score, lab, ps, np.array([True, False]), gamma=0.6, rule=rule, rng=rng()
    )
    assert new.ravel().tolist() == expected


@settings(deadline=None)
@given(SEEDS, GAMMAS, RULES)
def test_properties_of_a_round(seed: int, gamma: float, rule: RelabelRule) -> None:
    case = volume(seed)
    pred, lab, ps, flags = (case[name] for name in ("pred_SHW", "lab_SHW", "ps_SHW", "flags_K"))
    inputs = {name: array.copy() for name, array in case.items()}
    new, selections = relabel_volume(**case, gamma=gamma, rule=rule, rng=rng(seed))

    assert all(np.array_equal(case[name], inputs[name]) for name in case)
    assert new.dtype == np.uint8
    assert not (new[lab != 0]).any()  # disjoint from the visible labels
    was_organ = (ps != 0) & (ps != BACKGROUND)
    assert np.array_equal(new[was_organ], ps[was_organ])  # nothing withdrawn or re-assigned
    assert [selection.organ for selection in selections] == (np.flatnonzero(~flags) + 1).tolist()

    _, w_old = weights(lab, np.where(was_organ, ps, 0), flags)
    y_new, w_new = weights(lab, new, flags)
    for selection in selections:
        k = selection.organ
        added = np.flatnonzero((new == k) & (ps != k))
        assert np.array_equal(added, selection.index_E[selection.selected_E])
        assert (pred.ravel()[added] == k).all()
        assert not w_old[k - 1].ravel()[added].any()  # only where the organ was ambiguous
        assert y_new[k - 1].ravel()[added].all()
        assert w_new[:, new == k].all()
        if rule.scope == "volume":
            n_done = int((ps == k).sum())
            n = count_new(gamma, len(selection.index_E), n_done, rule.gamma_mode)
            assert selection.selected_E.sum() == n
            kept, left = (selection.score_E[selection.selected_E == is_in] for is_in in (1, 0))
            assert kept.min(initial=np.inf) >= left.max(initial=-np.inf)
        if gamma == 1:
            assert selection.selected_E.all()
    if gamma == 1:
        assert not np.isin(pred[(new == 0) & (lab == 0)], np.flatnonzero(~flags) + 1).any()

    marked = new == BACKGROUND
    assert not (pred[marked]).any()
    eligible = (pred == 0) & (lab == 0) & ~was_organ
    share = {"ambiguous": 0.0, "predicted": 1.0, "confident": gamma}[rule.background]
    expected = int(np.floor(share * eligible.sum() + 0.5))
    assert marked.sum() == expected


@settings(deadline=None)
@given(SEEDS, GAMMAS, RULES)
def test_rounds_only_add_positives_and_decide_background_anew(
    seed: int, gamma: float, rule: RelabelRule
) -> None:
    case = volume(seed)
    first, _ = relabel_volume(**case, gamma=gamma, rule=rule, rng=rng(1))
    case["ps_SHW"] = first
    case["pred_SHW"] = rng(seed + 1).permutation(case["pred_SHW"].ravel()).reshape(first.shape)
    second, _ = relabel_volume(**case, gamma=1.0, rule=rule, rng=rng(2))
    organ = (first != 0) & (first != BACKGROUND)
    assert np.array_equal(second[organ], first[organ])
    missing = np.flatnonzero(~case["flags_K"]) + 1
    grown = (first == BACKGROUND) & np.isin(case["pred_SHW"], missing)
    assert np.array_equal(second[grown], case["pred_SHW"][grown])


@settings(deadline=None)
@given(SEEDS, GAMMAS, st.sampled_from(["cumulative", "remaining"]))
def test_slice_scope_is_volume_scope_slice_by_slice(seed: int, gamma: float, mode: str) -> None:
    case = volume(seed)
    args: dict[str, Any] = {"gamma_mode": mode, "background": "ambiguous"}
    whole, _ = relabel_volume(
        **case, gamma=gamma, rule=RelabelRule(scope="slice", **args), rng=rng()
    )
    flags = case.pop("flags_K")
    for s in range(len(whole)):
        part = {name: array[s : s + 1] for name, array in case.items()}
        alone, _ = relabel_volume(
            **part, flags_K=flags, gamma=gamma, rule=RelabelRule(**args), rng=rng()
        )
        assert np.array_equal(whole[s], alone[0])


@settings(deadline=None)
@given(SEEDS, GAMMAS, st.sampled_from(["cumulative", "remaining"]))
def test_dataset_scope_ranks_all_volumes_together(seed: int, gamma: float, mode: str) -> None:
    cases = [volume(seed + i) for i in range(3)]
    found = [find_candidates(**case) for case in cases]
    rule = RelabelRule(scope="dataset", gamma_mode=mode)  # type: ignore[arg-type]
    selections = select(found, gamma, rule, rng(seed))
    for organ in range(1, 5):
        mine = [chosen for volume in selections for chosen in volume if chosen.organ == organ]
        if not mine:
            continue
        score = np.concatenate([chosen.score_E for chosen in mine])
        selected = np.concatenate([chosen.selected_E for chosen in mine])
        n_done = sum(
            int((case["ps_SHW"] == organ).sum())
            for case in cases
            if organ <= len(case["flags_K"]) and not case["flags_K"][organ - 1]
        )
        assert selected.sum() == count_new(gamma, len(score), n_done, rule.gamma_mode)
        assert score[selected].min(initial=np.inf) >= score[~selected].max(initial=-np.inf)
    for case, chosen in zip(cases, selections, strict=True):
        new = add_positives(case["ps_SHW"], chosen)
        added = np.concatenate([s.index_E[s.selected_E] for s in chosen] or [np.empty(0, int)])
        changed = np.flatnonzero((new != case["ps_SHW"]) & (new != 0))
        assert np.array_equal(changed, np.sort(added))


def test_predictions_of_a_data_set_are_not_kept() -> None:
    alive: list[str] = []

    class Once(Held):
        """Says when it is predicted; its arrays could be dropped between the two times."""

        def predicted(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
            alive.append(self.id)
            return super().predicted()

    volumes = [Once(**volume(seed), id=f"case{seed}") for seed in (3, 4)]
    rule = RelabelRule(scope="dataset", background="predicted")
    results = relabel(volumes, 0.5, rule, lambda *_name: rng())
    assert len(list(results)) == 2
    assert alive == ["case3", "case4", "case3", "case4"]


def test_volumes_have_random_numbers_of_their_own_or_share_them_where_they_compete() -> None:
    names: list[tuple[str, ...]] = []

    def generator(*name: str) -> np.random.Generator:
        names.append(name)
        return rng()

    volumes = [Held(**volume(seed), id=f"case{seed}") for seed in (3, 4)]
    for scope in ("slice", "dataset"):
        list(relabel(volumes, 0.5, RelabelRule(scope=scope), generator))  # type: ignore[arg-type]
    assert names == [("case3",), ("case4",), ()]


def test_equal_confidences_select_a_seeded_random_subset() -> None:
    shape = (10, 10, 10)
    case = {
        "pred_SHW": np.ones(shape, np.uint8),
        "score_SHW": np.ones(shape, np.float32),
        "lab_SHW": np.zeros(shape, np.uint8),
        "ps_SHW": np.zeros(shape, np.uint8),
        "flags_K": np.array([False]),
    }
    news = [
        relabel_volume(**case, gamma=0.5, rule=RelabelRule(), rng=rng(seed))[0]  # type: ignore[arg-type]
        for seed in (0, 0, 1)
    ]
    assert np.array_equal(news[0], news[1])
    assert not np.array_equal(news[0], news[2])
    for new in news:
        assert new.sum() == 500
        for axis in range(3):  # spread over the organ, no first voxels: 50 of 100 on average
            per_plane = new.sum(axis=tuple({0, 1, 2} - {axis}))
            assert per_plane.min() > 25
            assert per_plane.max() < 75


def test_ties_at_the_limit_never_displace_a_higher_score() -> None:
    for seed in range(20):
        case = volume(seed, coarse=True)
        _, selections = relabel_volume(**case, gamma=0.5, rule=RelabelRule(), rng=rng(seed))
        for chosen in selections:
            kept, left = (chosen.score_E[chosen.selected_E == is_in] for is_in in (1, 0))
            assert kept.min(initial=np.inf) >= left.max(initial=-np.inf)


def test_float32_scores_just_below_one_are_told_apart() -> None:
    below = np.nextafter(np.float32(1), np.float32(0))
    zeros = line(0, 0)
    new, _ = relabel_volume(
        line(1, 1),
        scores(below, 1),
        zeros,
        zeros,
        np.array([False]),
        gamma=0.5,
        rule=RelabelRule(),
        rng=rng(),
    )
    assert new.ravel().tolist() == [0, 1]


def test_a_confidence_that_is_not_a_number_is_refused() -> None:
    zeros = line(0, 0)
    with pytest.raises(BenchError, match="not a number"):
        relabel_volume(
            line(1, 1),
            scores(0.5, np.nan),
            zeros,
            zeros,
            np.array([False]),
            gamma=0.5,
            rule=RelabelRule(),
            rng=rng(),
        )


def test_background_of_the_rest_supervises_every_voxel_and_keeps_known_negatives() -> None:
    draw = rng()
    pred, lab = (draw.integers(0, 4, (5, 8, 8)).astype(np.uint8) for _ in range(2))
    flags = np.array([True, False, False])
    lab[lab > 1] = 0  # organ 1 alone is annotated
    ps, selections = relabel_volume(
        pred,
        draw.random(pred.shape, np.float32),
        lab,
        np.zeros_like(pred),
        flags,
        gamma=1.0,
        rule=RelabelRule(background="rest"),
        rng=rng(),
    )
    assert all(selection.selected_E.all() for selection in selections)
    y, w = targets(
        torch.from_numpy(lab).long(), torch.from_numpy(ps).long(), torch.from_numpy(flags)[None]
    )
    assert w.sum() == w.numel()
    for organ in (2, 3):
        assert torch.equal(y[:, organ - 1], torch.from_numpy((pred == organ) & (lab == 0)))
    assert torch.equal(y[:, 0], torch.from_numpy(lab == 1))
    assert set(np.unique(ps[lab != 0])) <= {0}
    assert BACKGROUND in ps


# --- one connected object per organ -------------------------------------------------------------


def test_only_the_largest_object_of_an_organ_is_plausible() -> None:
    pred = np.zeros((4, 8, 8), np.uint8)
    pred[1:3, 3:6, 3:6] = 1
    pred[0, 0, 0] = 1
    pred[3, 6, 6] = 1  # touches the large one at a corner
    pred[0, 7, 7] = 2
    expected = pred.copy()
    expected[0, 0, 0] = 0
    assert np.array_equal(RelabelRule(one_object=True).plausible(pred), expected)
    assert np.array_equal(RelabelRule().plausible(pred), pred)
    nothing = np.zeros_like(pred)
    assert np.array_equal(RelabelRule(one_object=True).plausible(nothing), nothing)


def test_smaller_objects_stay_ambiguous() -> None:
    pred = line(1, 0, 1, 1, 0)
    known = {"lab_SHW": line(0, 0, 0, 0, 0), "ps_SHW": line(0, 0, 0, 0, 0)}
    score = scores(0.9, 0.9, 0.8, 0.7, 0.9)
    for background, elsewhere in (("ambiguous", 0), ("predicted", BACKGROUND)):
        rule = RelabelRule(one_object=True, background=background)  # type: ignore[arg-type]
        ps, _ = relabel_volume(pred, score, **known, flags_K=np.array([False]), gamma=1.0,
                               rule=rule, rng=rng())  # fmt: skip
        assert np.array_equal(ps, line(0, elsewhere, 1, 1, elsewhere))
