"""The training grid: reduction, padding, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import Finished
from helpers import stage_of
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.grid import (
    Placement,
    centred,
    depth_parts,
    grid_shape,
    labels_to_grid,
    logits_to_native,
    reduced,
    resize_image,
)
from bench.data.image import read_image
from bench.data.index import SliceIndex

side = st.integers(1, 600)


@given(native=st.tuples(side, side), max_side=st.integers(16, 512))
def test_slices_are_reduced_to_the_limit_and_never_enlarged(
    native: tuple[int, int], max_side: int
) -> None:
    scaled = reduced(native, max_side)
    if max(native) <= max_side:
        assert scaled == native
    else:
        assert max(scaled) == max_side
        factor = max_side / max(native)
        for before, after in zip(native, scaled, strict=True):
            assert after == max(1, round(before * factor))


@given(depth=st.integers(1, 30), n_slices=st.integers(1, 40), at_once=st.integers(1, 9))
def test_parts_of_a_volume_are_resized_as_the_whole(
    depth: int, n_slices: int, at_once: int
) -> None:
    image_XYZ = np.random.default_rng(0).normal(0, 100, (5, 4, depth)).astype(np.float32)
    for scaled in ((5, 4), (3, 2), (7, 4)):
        parts = [
            resize_image(image_XYZ[..., rows], scaled, n)
            for rows, n in depth_parts(depth, n_slices, at_once)
        ]
        np.testing.assert_array_equal(
            np.concatenate(parts), resize_image(image_XYZ, scaled, n_slices)
        )


@given(shapes=st.lists(st.tuples(side, side), min_size=1, max_size=5), k=st.sampled_from([1, 16]))
def test_the_grid_is_the_smallest_that_holds_all(shapes: list[tuple[int, int]], k: int) -> None:
    grid = grid_shape(shapes, k)
    for axis in range(2):
        needed = max(shape[axis] for shape in shapes)
        assert grid[axis] % k == 0
        assert needed <= grid[axis] < needed + k
    for shape in shapes:
        placement = centred(shape, shape, grid)
        for (start, stop), size, total in zip(
            [(s.start, s.stop) for s in placement.window], shape, grid, strict=True
        ):
            assert stop - start == size
            assert start >= 0
            assert stop <= total
            assert abs(start - (total - stop)) <= 1


def test_images_are_averaged_over_areas_and_turned_to_slices() -> None:
    image_XYZ = np.arange(4 * 6 * 2, dtype=np.float32).reshape(4, 6, 2)
    slices = resize_image(image_XYZ, (2, 3))
    assert slices.shape == (2, 2, 3)
    assert slices[1, 0, 2] == image_XYZ[0:2, 4:6, 1].mean()
    same = resize_image(image_XYZ, (4, 6))
    assert np.array_equal(same, image_XYZ.transpose(2, 0, 1))


def test_labels_take_the_nearest_voxel_and_stay_labels() -> None:
    labels_XYZ = np.zeros((8, 8, 1), np.uint8)
    labels_XYZ[:4, :, 0] = 7
    placement = Placement(native=(8, 8), scaled=(4, 4), offset=(2, 1))
    on_grid = labels_to_grid(labels_XYZ, placement, (8, 6))
    assert on_grid.shape == (1, 8, 6)
    expected = np.zeros((8, 6), np.uint8)
    expected[2:4, 1:5] = 7
    assert np.array_equal(on_grid[0], expected)


def test_a_reduced_label_is_that_of_the_middle_voxel() -> None:
    labels_XYZ = np.arange(9 * 15, dtype=np.uint8).reshape(9, 15, 1)
    reduced_ZHW = labels_to_grid(labels_XYZ, Placement(native=(9, 15), scaled=(3, 3)), (3, 3))
    assert np.array_equal(reduced_ZHW[0], labels_XYZ[1::3, 2::5, 0])


@settings(deadline=None, max_examples=30)
@given(native=st.tuples(st.integers(2, 40), st.integers(2, 40)), max_side=st.integers(16, 40))
def test_image_and_labels_lie_at_the_same_place(native: tuple[int, int], max_side: int) -> None:
    x, y = native
    half_XYZ = np.zeros((x, y, 1), np.uint8)
    half_XYZ[x // 2 :] = 1
    scaled = reduced(native, max_side)
    grid = grid_shape([scaled], 16)
    placement = centred(native, scaled, grid)
    labels_HW = labels_to_grid(half_XYZ, placement, grid)[0][placement.window]
    image_HW = resize_image(half_XYZ.astype(np.float32), scaled)[0]
    assert np.abs(labels_HW - image_HW).sum(axis=0).max() <= 1.0  # the row the edge runs through


def test_logits_come_back_to_the_native_slices() -> None:
    placement = Placement(native=(10, 8), scaled=(5, 4), offset=(3, 2))
    logits = torch.full((2, 3, 16, 16), -9.0)
    logits[:, :, 3:8, 2:6] = 4.0
    native = logits_to_native(logits, placement)
    assert native.shape == (2, 3, 10, 8)
    assert torch.equal(native, torch.full_like(native, 4.0))
    whole = Placement(native=(5, 4), scaled=(5, 4), offset=(3, 2))
    assert torch.equal(logits_to_native(logits, whole), logits[:, :, 3:8, 2:6])


def test_a_prepared_data_set_is_the_windowed_ct_on_the_grid(finished: Finished) -> None:
    (images,) = stage_of(finished.runs, "Images")
    folder = finished.store.out(images)
    index = SliceIndex.read(folder)
    assert index.grid == (32, 32)
    pixels = np.load(folder / "images.npy").reshape(-1, *index.grid)
    ((low, high),) = index.value_ranges
    assert (pixels.min(), pixels.max()) == (low, high)
    for entry in index.cases:
        (image_XYZ,), _ = read_image(images.dataset.image(entry.case), entry.case.id)
        slices = pixels[entry.rows]
        expected = np.clip(image_XYZ, low, high).transpose(2, 0, 1)
        assert np.array_equal(slices[(slice(None), *entry.placement.window)], np.rint(expected))
        outside = np.ones(index.grid, bool)
        outside[entry.placement.window] = False
        assert (slices[:, outside] == low).all()
    with pytest.raises(StopIteration):
        index["no such case"]
