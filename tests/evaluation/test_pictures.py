"""Pictures of predictions and of relabelled voxels."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import Memory, plan
from PIL import Image

from bench.engine.launchers.inline import Inline
from bench.engine.store import Store
from bench.evaluation.overlay import (
    COLOURS,
    LEFT_OUT,
    MISSED,
    RIGHT,
    UNKNOWN,
    WRONG,
    body_box,
    choose_slices,
    overlay_png,
    scan_png,
    score_png,
    square_pixels,
    verdicts,
)
from bench.evaluation.sheet import SMALL
from bench.experiment.collect import collect
from bench.experiment.plan import Run, graph_of
from bench.labels import VOID
from bench.stages.pictures import PredictionPictures, RelabelPictures
from bench.stages.sheet import Sheet


def test_pixels_of_pictures_are_square() -> None:
    slices_SHW = np.arange(6).reshape(1, 3, 2)
    assert square_pixels(slices_SHW, (1.0, 1.0)).tolist() == slices_SHW.tolist()
    assert square_pixels(slices_SHW, (1.0, 2.0)).tolist() == [
        [[0, 0, 1, 1], [2, 2, 3, 3], [4, 4, 5, 5]]
    ]
    assert square_pixels(slices_SHW, (1.5, 1.0)).shape == (1, 4, 2)
    for n in range(1, 60):  # as many rows as it takes, and no row that there is not
        assert square_pixels(np.zeros((1, n, 2)), (4.5, 1.0)).shape == (1, round(4.5 * n), 2)


def test_a_voxel_is_right_wrong_or_missed() -> None:
    predicted = np.array([0, 1, 1, 2, 0, 3, 0, 2], np.uint8)
    truth = np.array([0, 1, 0, 1, 2, 0, 3, 3], np.uint8)
    judged = np.array([True, True, False])
    expected = [0, RIGHT, WRONG, WRONG, MISSED, 0, 0, WRONG]
    assert verdicts(predicted, truth, judged).tolist() == expected
    shown = verdicts(predicted, truth, judged, np.array([False, False, True]))
    assert shown.tolist() == [0, RIGHT, WRONG, WRONG, MISSED, UNKNOWN, 0, WRONG]
    truth[:3] = VOID
    shown = verdicts(predicted, truth, judged)
    assert shown.tolist() == [LEFT_OUT, LEFT_OUT, LEFT_OUT, WRONG, MISSED, 0, 0, WRONG]


def test_slices_split_what_is_shown_into_equal_parts() -> None:
    shown = np.zeros((30, 4, 4), bool)
    shown[10:20] = True
    assert choose_slices(shown).tolist() == [11, 14, 18]
    assert choose_slices(np.zeros((9, 2, 2), bool)).tolist() == [1, 4, 7]


def test_the_box_holds_the_body_and_not_the_table() -> None:
    slices = np.full((2, 40, 50), -200, np.int16)
    slices[0, 10:20, 12:30] = 40
    slices[1, 15:25, 20:32] = 40
    slices[:, 36:38, :] = 100  # the table
    assert body_box(slices, -200, margin=2) == (slice(8, 27), slice(10, 34))
    assert body_box(np.full((1, 4, 4), -200, np.int16), -200) == (slice(None), slice(None))


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def test_strips_are_in_radiological_view() -> None:
    scan = np.full((2, 3, 4), -100, np.int16)  # slices; X grows to the right, Y to the front
    scan[1, 0, 3] = 200  # the patient's left, front
    strip = pixels(scan_png(scan, (-100, 200)))
    assert strip.shape == (4, 6, 4)
    assert np.argwhere(strip[..., 0] == 255).tolist() == [[0, 5]]


def test_what_is_not_said_is_transparent() -> None:
    said = np.zeros((1, 3, 2), np.uint8)
    said[0, 0] = [RIGHT, MISSED]
    said[0, 1] = [WRONG, UNKNOWN]
    said[0, 2, 0] = LEFT_OUT
    strip = pixels(overlay_png(said)).reshape(-1, 4)
    assert sorted(strip[:, 3]) == [0, 255, 255, 255, 255, 255]
    colours = {"#" + bytes(pixel[:3]).hex().upper() for pixel in strip if pixel[3]}
    assert colours == set(COLOURS.values())


def test_scores_are_red_below_a_half_and_blue_at_one() -> None:
    score = np.array([[[0.2, 0.5], [1.0, 0.9]]], np.float32)
    strip = pixels(score_png(score, np.array([[[True, True], [True, False]]])))
    low, half, one, none = (strip[1 - y, 1 - x].tolist() for x, y in np.ndindex(2, 2))
    assert low == half == [255, 64, 0, 255]
    assert one == [0, 64, 255, 255]
    assert none[3] == 0


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[Run]]:
    store = Store(tmp_path_factory.mktemp("store"))
    runs = plan(store, Memory(), "inerrant0,inerrant")
    graph = graph_of(runs, pictures=True)
    store.register(graph.in_order())
    for event in Inline().run(graph, store):
        assert event.kind != "failed", event.message
    return store, runs


def test_pictures_are_of_test_cases_and_of_training_cases_with_hidden_organs(
    drawn: tuple[Store, list[Run]],
) -> None:
    store, runs = drawn
    for run in runs:
        for _, stage in run.pictures():
            records = stage.records(store.out(stage))
            split = json.loads((store.out(run.rounds[0].model.labels) / "split.json").read_text())
            cases = {record["case"] for record in records}
            if isinstance(stage, PredictionPictures):
                assert cases == set(split["test"])
            else:
                assert isinstance(stage, RelabelPictures)
                assert cases <= set(split["train"])
                assert 0 < len(cases) <= 3
            for record in records:
                scan, overlay = (
                    pixels(base64.b64decode(record[name])) for name in ("scan", "overlay")
                )
                assert scan.shape == overlay.shape


def test_all_methods_show_the_same_slices(drawn: tuple[Store, list[Run]]) -> None:
    store, runs = drawn
    table = collect(runs, store).pictures
    shown = table[table["kind"] == "prediction"]
    assert set(shown["method"]) == {"inerrant0", "inerrant"}
    assert (shown.groupby("case")[["slices", "scan"]].nunique() == 1).all(axis=None)
    for kind in ("relabelling", "confidence"):
        assert set(table.loc[table["kind"] == kind, "round"]) == {1, 2}
    assert (table[table["kind"] == "truth"].groupby("case")["overlay"].nunique() == 1).all()


def test_nothing_is_drawn_unless_asked_for(drawn: tuple[Store, list[Run]], tmp_path: Path) -> None:
    _, runs = drawn
    kinds = {type(stage) for stage in graph_of(runs).in_order()}
    assert not kinds & {PredictionPictures, RelabelPictures, Sheet}
    assert collect(runs, Store(tmp_path)).pictures.empty
    assert collect(runs, Store(tmp_path)).sheets.empty


def test_one_sheet_shows_the_data_of_all_methods_and_folds(
    drawn: tuple[Store, list[Run]],
) -> None:
    store, runs = drawn
    (row,) = collect(runs, store).sheets.to_dict("records")
    assert row["stage"] == runs[0].sheet.key
    assert "cases" in row["title"]
    shown = Image.open(io.BytesIO(base64.b64decode(row["png"])))
    assert shown.width <= SMALL.width
    both = plan(store, Memory(), "inerrant0", folds="all")
    sheets = [one for one in graph_of(both, pictures=True).in_order() if isinstance(one, Sheet)]
    assert len({run.condition.fold for run in both}) > 1
    assert [one.labels.fold for one in sheets] == [0]
