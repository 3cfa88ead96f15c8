"""Counts of training targets and blocks of networks: stages, tables, Tables 1 and 11."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Finished
from helpers import stage_of

from bench.data.grid import labels_to_grid
from bench.data.hidden import CompleteLabels
from bench.data.index import SliceIndex
from bench.data.visible import TrainView
from bench.experiment.collect import collect
from bench.nets.catalogue import parse_network
from bench.reports.paper.descriptions import FORMULA, MEASURED, PAPER, shares, table_1, table_11
from bench.results.basis import BASIS
from bench.results.tables import OUTCOMES, TARGETS
from bench.stages.layers import blocks
from bench.stages.targets import target_counts
from bench.training.batch import organ_masks, targets


def test_counts_are_those_of_the_targets_that_training_builds(finished: Finished) -> None:
    store, stage = finished.store, next(stage_of(finished.runs, "Targets"))
    view = TrainView(store.out(stage.images), store.out(stage.labels))
    truth = CompleteLabels(store.out(stage.truth))
    index = SliceIndex.read(store.out(stage.images))
    K = len(stage.truth.organs)
    expected = {rule: np.zeros((K, len(OUTCOMES)), int) for rule in ("background", "ignored")}
    for case in view.cases:
        truth_SHW = labels_to_grid(truth.labels_XYZ(case.id), index[case.id].placement, index.grid)
        seen = torch.from_numpy(view.labels.gather(range(case.labels.start, case.labels.stop)))
        flags = torch.from_numpy(case.flags_K).expand(len(seen), -1)
        y, w = targets(seen.long(), torch.zeros_like(seen).long(), flags)
        t = organ_masks(torch.from_numpy(truth_SHW).long(), K)
        for rule, known in (("background", torch.ones_like(w)), ("ignored", w)):
            found = [y & t & known, ~y & t & known, y & ~t & known, ~y & ~t & known]
            for k in np.flatnonzero(truth[case.id].case.annotated):
                expected[rule][k] += [int(bits[:, k].sum()) for bits in found]
    records = json.loads((store.out(stage) / "targets.json").read_text())
    assert len(records) == 2 * K
    for record in records:
        k = stage.truth.organs.index(record["organ"])
        assert [record[name] for name in OUTCOMES] == expected[record["rule"]][k].tolist()
    assert any(record["fn"] for record in records if record["rule"] == "background")


def test_an_organ_annotated_by_nobody_is_not_counted() -> None:
    pairs = np.array([[[90, 0], [10, 0]], [[95, 0], [0, 5]]])
    flags = np.array([[False], [True]])
    naive, masked = target_counts(pairs, flags, np.array([[True], [True]]))
    assert {name: naive[name] for name in OUTCOMES} == {"tp": 5, "fn": 10, "fp": 0, "tn": 185}
    assert {name: masked[name] for name in OUTCOMES} == {"tp": 5, "fn": 0, "fp": 0, "tn": 95}
    naive, masked = target_counts(pairs, flags, np.array([[False], [True]]))
    assert (naive["volumes"], naive["fn"], naive["voxels"]) == (1, 0, 100)


def taught(pct: int, n_volumes: int, b: float, n_organs: int) -> pd.DataFrame:
    """Return counts of equal organs, each labelled in other volumes than the rest, on average."""
    voxels = 1_000_000 * n_volumes
    cell: dict[str, Any] = {"dataset": "d", "profile": "p", "backbone": "n", "seed": 0, "fold": 0}
    cell |= {"label_pct": pct, "volumes": n_volumes, "labelled": n_volumes * pct // 100}
    cell |= {"voxels": voxels, "organ_voxels": round(b * voxels)}
    cell |= {"other_voxels": round((n_organs - 1) * b * voxels)}
    counts = dict.fromkeys(OUTCOMES, 0) | dict.fromkeys(BASIS, "")
    return TARGETS.frame(
        cell | counts | {"rule": rule, "organ": f"organ{k}"}
        for rule in ("background", "ignored")
        for k in range(n_organs)
    )


def test_the_formulas_are_those_of_table_1() -> None:
    # Seven organs of 2 %, 70 % labelled: the paper's TN is 0.806, the right one 0.711.
    found = shares(taught(70, 10, 0.02, 7)).set_index(["rule", "outcome", "source", "organ"])
    value = found["value"]
    assert value["ignored", "tn", PAPER, "mean"] == pytest.approx(80.6, abs=0.05)
    assert value["ignored", "tn", FORMULA, "organ3"] == pytest.approx(71.1, abs=0.05)
    assert value["ignored", "tp", FORMULA, "mean"] == pytest.approx(1.4)
    assert value["background", "fn", FORMULA, "mean"] == pytest.approx(0.6)
    assert value["background", "tn", FORMULA, "mean"] == pytest.approx(98)
    assert ("background", "tn", PAPER, "mean") not in value


def test_formula_and_measurement_agree_over_many_draws() -> None:
    rng = np.random.default_rng(0)
    K, V, draws, size = 3, 10, 400, np.array([50, 30, 20])
    truth = np.diag([900, *size])
    rows = []
    for fold in range(draws):
        flags = np.array([rng.permutation(V) < 4 for _ in range(K)]).T
        pairs = np.zeros((V, K + 1, K + 1), int)
        seen = np.concatenate([np.ones((V, 1), bool), flags], axis=1)
        for v in range(V):
            pairs[v] = truth * seen[v]
            pairs[v][:, 0] += np.diag(truth) * ~seen[v]
        for record in target_counts(pairs, flags, np.ones_like(flags)):
            rows.append(
                {"dataset": "d", "profile": "p", "backbone": "n", "seed": 0, "label_pct": 40}
                | record
                | {"fold": fold, "organ": f"organ{record['organ']}"}
                | dict.fromkeys(BASIS, "")
            )
    value = shares(TARGETS.frame(rows)).set_index(["rule", "outcome", "source", "organ"])["value"]
    for rule in ("background", "ignored"):
        for outcome in OUTCOMES:
            found = value[rule, outcome, MEASURED, "organ0"]
            assert found == pytest.approx(value[rule, outcome, FORMULA, "organ0"], abs=0.15)
    off = value["ignored", "tn", PAPER, "organ0"] - value["ignored", "tn", MEASURED, "organ0"]
    assert off > 3


def test_the_network_has_the_blocks_of_table_11() -> None:
    found = blocks(parse_network("unet_t11"), 1, 7, (512, 512))
    parameters = [37_696, 221_696, 885_760, 3_540_992, 16_258_560, 7_604_992, 1_901_952, 475_840]
    assert [block["parameters"] for block in found] == [*parameters, 110_720, 455, 769_487]
    rows = (
        {"dataset": "d", "profile": "p", "backbone": "unet_t11", "position": n} | block
        for n, block in enumerate(found)
    )
    (board,) = table_11(pd.DataFrame(rows))
    frame = board.frame.replace({"published layers": {r"\(K\)": "(7)"}}, regex=True)
    frame = frame.replace({"published output": {"xK": "x7"}}, regex=True)
    heads = frame["block"].isin(["final_prediction", "output", "confidence_network"])
    assert (frame["layers"] == frame["published layers"])[heads].all()
    decoders = frame["block"].str.startswith("decoder")
    assert (frame["output"] == frame["published output"])[heads | decoders].all()
    assert "31,038,663" in board.notes[0]
    assert "769,487" in board.notes[0]


@pytest.mark.parametrize(
    "name",
    ["unet/resnet18", "segformer/mit_b0", "unet3d_t11[width=4]", "dynunet[width=4]", "segresnet"],
)
def test_any_network_is_listed(name: str) -> None:
    network = parse_network(name)
    size = (64, 64) if network.dims == 2 else (48, 64, 64)
    found = blocks(network, 1, 3, size)
    net = network.build(1, 3)
    segmentation = [block for block in found if block["network"] == "segmentation"]
    assert len(segmentation) >= 3
    total = sum(parameter.numel() for parameter in net.parameters())
    assert sum(block["parameters"] for block in segmentation) == total
    assert found[-1]["output"].endswith("x3")


def test_both_tables_stand_beside_the_results(finished: Finished) -> None:
    tables = collect(finished.runs, finished.store)
    cells = tables.targets.groupby(["label_pct", "fold", "rule"]).size()
    assert (cells == len(finished.runs[0].condition.source.dataset.organs)).all()
    ((_, board, numbers),) = table_1(tables.targets)
    assert {MEASURED, FORMULA, PAPER} == set(board.frame["source"])
    assert set(numbers["method"]) == {"naive", "inerrant0"}
    (network,) = table_11(tables.layers)
    assert network.frame["block"].iloc[-1] == "confidence_network"
