"""Slices in colour and the sheets made of them."""

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.evaluation import sheet
from bench.evaluation.axial import Chosen, choose, colour, cut, paint
from bench.evaluation.canvas import Canvas, elided, font, text_width, wrapped
from bench.evaluation.counts import areas
from bench.evaluation.sheet import Card, Heading, Row, card, page
from bench.labels import VOID


def near(picture: NDArray[np.uint8], wanted: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.all(np.abs(picture.astype(int) - wanted) < 3, axis=-1)


def test_one_slice_is_enough_where_it_shows_every_organ() -> None:
    area_SK = np.array([[0, 0], [9, 1], [8, 8], [0, 9]])
    assert choose(area_SK, 1) == Chosen((2,), 1)
    assert choose(area_SK, 3).needed == 1
    assert choose(area_SK, 3).numbers[0] == 2


def test_every_slice_adds_organs_that_were_barely_cut_before() -> None:
    area_SK = np.array([[50, 0, 0], [40, 40, 1], [0, 50, 0], [0, 0, 50], [0, 0, 0]])
    assert choose(area_SK, 3) == Chosen((1, 3, 0), 2)
    assert choose(area_SK, 1).numbers == (1,)


def test_where_nothing_is_drawn_the_middle_comes_first() -> None:
    assert choose(np.zeros((9, 2), np.int64), 3) == Chosen((4, 1, 7), 0)
    assert choose(np.zeros((2, 1), np.int64), 3).numbers == (0, 1)
    assert choose(np.zeros((1, 1), np.int64), 3).numbers == (0,)


def test_the_patients_right_is_on_the_left_and_front_is_up() -> None:
    grey_HW = np.zeros((40, 30), np.uint8)
    grey_HW[30:, 20:] = 255  # right (X grows to the right) and front (Y grows to the front)
    labels_HW = np.zeros_like(grey_HW)
    labels_HW[:10, :10] = 1
    picture = paint(grey_HW, labels_HW, (40, 30))
    assert picture.shape == (30, 40, 3)
    assert (picture[:9, :9] == 255).all()
    assert (picture[:, 15:25] == 0).all()
    assert near(picture[[20, 29], 30:], colour(0)).all()  # the outline; inside it is paler
    assert near(picture[25, 35], tuple(int(0.3 * part) for part in colour(0)))


def test_an_organ_thinner_than_a_pixel_of_the_picture_is_seen() -> None:
    grey_HW = np.zeros((400, 400), np.uint8)
    labels_HW = np.zeros_like(grey_HW)
    labels_HW[203, 50:350] = 3
    assert near(paint(grey_HW, labels_HW, (100, 100)), colour(2)).sum() > 70


def test_hidden_organs_are_dotted_and_unknown_voxels_striped() -> None:
    grey_HW = np.zeros((60, 60), np.uint8)
    labels_HW = np.zeros_like(grey_HW)
    labels_HW[5:25, 5:25] = 2
    labels_HW[35:55, 35:55] = VOID
    plain, hidden = (paint(grey_HW, labels_HW, (60, 60), dotted) for dotted in ((), (1,)))
    outline = near(plain, colour(1)).sum()
    assert 0.3 * outline < near(hidden, colour(1)).sum() < 0.7 * outline
    assert (hidden[38:52, 38:52] == 0).all()
    stripes = (plain[5:25, 5:25] == 255).all(axis=2)
    assert 0.2 < stripes.mean() < 0.5


def test_what_is_labelled_outside_the_body_is_not_cropped() -> None:
    image_SHW = np.full((2, 50, 40), -1000, np.int16)
    image_SHW[:, 10:30, 10:30] = 40
    labels_SHW = np.zeros(image_SHW.shape, np.uint8)
    labels_SHW[1, 45, 20] = 1
    chosen = choose(areas(labels_SHW, 1), 2)
    assert chosen.numbers[0] == 1
    shown = cut(image_SHW, labels_SHW, chosen, (2.0, 1.0), (-160, 240))
    assert shown.grey_SHW.shape == (1, 46 - 7, 33 - 7)
    assert shown.size_mm == (78.0, 26.0)
    assert shown.labels_SHW.sum() == 1
    assert set(np.unique(shown.grey_SHW)) == {0, 127}


def made(case: str, annotated: tuple[bool, ...], n_slices: int = 2) -> Card:
    image_SHW = np.full((3, 30, 20), 40, np.int16)
    labels_SHW = np.zeros(image_SHW.shape, np.uint8)
    for k, flag in enumerate(annotated[:5]):
        if flag and k != 1:
            labels_SHW[1, 5 * k + 2 : 5 * k + 5, 5:10] = k + 1
    hidden = tuple(flag and k == 2 for k, flag in enumerate(annotated))
    return card(
        case, ("a fact",), image_SHW, labels_SHW, (1, 1), (-160, 240), annotated, hidden, n_slices
    )


def test_states_tell_absent_from_not_annotated_and_hidden() -> None:
    assert made("one", (True, True, True, False)).states == ("drawn", "empty", "hidden", "missing")


def test_every_state_looks_different_in_the_table() -> None:
    states = tuple(sheet.MEANING)
    cells = []
    for state in states:
        canvas = Canvas((20, 16), 13)
        canvas.state((0, 0, 20, 16), state, colour(4))
        cells.append(np.asarray(canvas.image, int))
    for first in range(len(cells)):
        for second in range(first):
            assert np.abs(cells[first] - cells[second]).mean() > 5, (states[first], states[second])


@pytest.mark.parametrize("n_organs", [1, 24, 117])
@pytest.mark.parametrize("n_cases", [1, 3, 24])
def test_pages_stay_within_their_width(n_organs: int, n_cases: int) -> None:
    annotated = tuple(k % 3 > 0 for k in range(n_organs))
    cards = [made(f"case {number}", annotated) for number in range(n_cases)]
    cards[-1] = Card("x" * 300, cards[-1].states, fault="no file " + "y" * 500)
    rows = tuple(Row(f"case {number}", cards[0].states, number == 2) for number in range(400))
    names = tuple(f"an organ of many words {k}" for k in range(n_organs))
    heading = Heading("z" * 500, ("a line",), names, rows=rows, counts=("1 of 2",) * n_organs)
    picture = page(heading, cards)
    assert picture.width <= sheet.Style().width
    assert picture.height < 6000
    edge = np.asarray(picture)[:, -sheet.MARGIN // 2 :]
    assert (edge == 255).all()


def test_slices_have_the_proportions_of_the_patient() -> None:
    heading = Heading("t", (), ("organ",))
    image_SHW = np.full((1, 50, 50), 40, np.int16)
    labels_SHW = np.zeros(image_SHW.shape, np.uint8)
    colour_of_body = 127  # 40 HU between -160 and 240
    one = card("", (), image_SHW, labels_SHW, (1.0, 3.0), (-160, 240), (False,), (False,), 1)
    picture = np.asarray(page(heading, [one]))
    grey = (picture == colour_of_body).all(axis=2)
    height, width = np.sum(grey.sum(axis=1) > 20), np.sum(grey.sum(axis=0) > 20)
    assert height == pytest.approx(3 * width, abs=3)


def test_text_fits() -> None:
    face = font(13)
    assert elided("short", face, 100) == "short"
    assert text_width(elided("a very long name of a case", face, 80), face) <= 80
    lines = wrapped("some words and " + "w" * 90, 120, face)
    assert all(text_width(line, face) <= 120 for line in lines)
    assert "".join(lines).replace(" ", "") == "somewordsand" + "w" * 90


def test_characters_without_a_glyph_are_written_by_their_numbers() -> None:
    pictures = []
    for text in ("\u00fc \u809d", "\u00fc U+809D"):
        canvas = Canvas((200, 20), 13)
        canvas.write((2, 2), text)
        pictures.append(np.asarray(canvas.image))
    assert np.array_equal(*pictures)
    assert text_width("\u809d", font(13)) == text_width("U+809D", font(13))
    assert text_width("\u00fc", font(13)) < text_width("U+00FC", font(13))
