"""What networks see of a scan: HU for CT, the volume's own range for anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trees

from bench.data.catalogue import parse_dataset
from bench.data.intensity import RULES, Rule, stored_range, to_stored

WINDOW = (-160.0, 240.0)


@pytest.mark.parametrize("rule", RULES)
def test_stored_values_lie_in_their_range(rule: Rule) -> None:
    volume = np.random.default_rng(0).normal(300, 900, (8, 9, 10)).astype(np.float32)
    stored = to_stored(volume, rule, WINDOW)
    low, high = stored_range(rule, WINDOW)
    assert stored.dtype == np.float32
    assert low <= stored.min() < stored.max() <= high


@pytest.mark.parametrize("rule", ["percentile", "zscore"])
def test_scale_and_offset_of_a_volume_do_not_matter(rule: Rule) -> None:
    volume = np.random.default_rng(0).normal(0, 1, (8, 9, 10)).astype(np.float32)
    other = 40 * volume + 700
    np.testing.assert_allclose(
        to_stored(volume, rule, WINDOW), to_stored(other, rule, WINDOW), atol=0.1
    )
    assert not to_stored(np.full_like(volume, 7), rule, WINDOW).any()


def test_ct_is_cut_to_the_window() -> None:
    volume = np.array([-1000.0, -160.0, 0.5, 3000.0], np.float32)
    assert to_stored(volume, "window", WINDOW).tolist() == [-160.0, -160.0, 0.5, 240.0]


@pytest.mark.parametrize(
    ("channel", "options", "rule"),
    [("CT", "", "window"), ("T2", "", "percentile"), ("T2", "[intensity=zscore]", "zscore")],
)
def test_a_folder_is_read_as_its_modality(
    channel: str, options: str, rule: Rule, tmp_path: Path
) -> None:
    root = trees.nnunet(tmp_path / "set", 2, channel=channel)
    assert parse_dataset(f"{root}{options}").intensity_rule == rule
