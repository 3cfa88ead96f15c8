"""What networks see of a scan: HU for CT, the volume's own range for anything else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trees

from bench.data.catalogue import parse_dataset
from bench.data.intensity import RULES, Channel, Rule, rule_of
from bench.errors import BenchError


def channel(rule: Rule) -> Channel:
    return Channel(name="any", rule=rule, hu_window=(-160.0, 240.0))


@pytest.mark.parametrize("rule", RULES)
def test_stored_values_lie_in_their_range(rule: Rule) -> None:
    volume = np.random.default_rng(0).normal(300, 900, (8, 9, 10)).astype(np.float32)
    stored = channel(rule).to_stored(volume)
    low, high = channel(rule).stored_range
    assert stored.dtype == np.float32
    assert low <= stored.min() < stored.max() <= high


@pytest.mark.parametrize("rule", ["percentile", "zscore", "minmax"])
def test_scale_and_offset_of_a_volume_do_not_matter(rule: Rule) -> None:
    volume = np.random.default_rng(0).normal(0, 1, (8, 9, 10)).astype(np.float32)
    stored, other = (channel(rule).to_stored(v) for v in (volume, 40 * volume + 700))
    np.testing.assert_allclose(stored, other, atol=0.1)
    assert not channel(rule).to_stored(np.full_like(volume, 7)).any()


def test_ct_is_cut_to_the_window() -> None:
    volume = np.array([-1000.0, -160.0, 0.5, 3000.0], np.float32)
    assert channel("window").to_stored(volume).tolist() == [-160.0, -160.0, 0.5, 240.0]


@pytest.mark.parametrize(
    ("names", "options", "rules"),
    [
        (["CT"], "", ["window"]),
        (["T2"], "", ["percentile"]),
        (["T2"], "[intensity=zscore]", ["zscore"]),
        (["T2", "ADC"], "", ["percentile", "percentile"]),
        (["CT", "PET"], "", ["window", "percentile"]),
        (["zscore", "rescale_to_0_1"], "", ["zscore", "minmax"]),
        (["T2", "ADC"], "[intensity=zscore]", ["zscore", "zscore"]),
        (["T2", "noNorm"], "[intensity=zscore:minmax]", ["zscore", "minmax"]),
    ],
)
def test_the_name_of_a_channel_or_the_option_gives_its_rule(
    names: list[str], options: str, rules: list[Rule], tmp_path: Path
) -> None:
    root = trees.nnunet(tmp_path / "set", 2, channels=names)
    channels = parse_dataset(f"{root}{options}").channels
    assert [channel.name for channel in channels] == names
    assert [channel.rule for channel in channels] == rules


def test_the_older_name_of_the_entry_is_read(tmp_path: Path) -> None:
    root = trees.nnunet(tmp_path / "set", 2, channels=["T2", "ADC"])
    table = root / "dataset.json"
    table.write_text(table.read_text().replace("channel_names", "modality"))
    assert [channel.name for channel in parse_dataset(str(root)).channels] == ["T2", "ADC"]


def test_another_number_of_rules_than_of_channels_is_refused(tmp_path: Path) -> None:
    root = trees.nnunet(tmp_path / "set", 2, channels=["T2", "ADC", "DCE"])
    with pytest.raises(BenchError, match=r"Generated: intensity gives 2 rules for 3 channels"):
        _ = parse_dataset(f"{root}[intensity=zscore:minmax]").channels
    with pytest.raises(BenchError, match="intensity"):
        parse_dataset(f"{root}[intensity=loud]")


def test_values_are_always_scaled() -> None:
    with pytest.raises(BenchError, match=r"channel noNorm: values are always scaled .*intensity"):
        rule_of("noNorm")


@pytest.mark.parametrize(
    ("name", "rule", "modality"),
    [
        *(("CT", "minmax", "CT"), ("organ", "window", "CT"), ("T2w", "zscore", "MR")),
        *(("MRI-T1ce", "zscore", "MR"), ("PET", "zscore", "PT"), ("PET/CT", "zscore", None)),
        ("zscore", "zscore", None),
    ],
)
def test_a_channel_knows_its_modality(name: str, rule: Rule, modality: str | None) -> None:
    assert Channel(name=name, rule=rule, hu_window=(-160.0, 240.0)).modality == modality


def test_a_fusion_reads_both_parts_as_its_complete_one(tmp_path: Path) -> None:
    full = trees.nnunet(tmp_path / "full", 3, channels=["T2", "ADC"])
    other = trees.nnunet(tmp_path / "other", 3, channels=["ADC", "T2"])
    name = f"fusion[full={full}[intensity=zscore],partial={{}},keeps=liver,n_full=2{{}}]"
    fused = parse_dataset(name.format(full, ""))
    assert [channel.rule for channel in fused.channels] == ["zscore", "zscore"]
    fused = parse_dataset(name.format(full, ",intensity=minmax"))
    assert [channel.rule for channel in fused.channels] == ["minmax", "minmax"]
    with pytest.raises(BenchError, match="channels 0 ADC, 1 T2, but full has 0 T2, 1 ADC"):
        parse_dataset(name.format(other, ""))


@pytest.mark.parametrize("window", [(0.0, 1.0), (0.0, 5.0), (0.0, 60_000.0), (-40_000.0, 100.0)])
def test_a_window_that_int16_cannot_hold_is_scaled(window: tuple[float, float]) -> None:
    narrow = Channel(name="PET", rule="window", hu_window=window)
    low, high = window
    stored = narrow.to_stored(np.linspace(low - 1, high + 1, 300, dtype=np.float32))
    assert narrow.stored_range == (0, 10_000)
    assert (stored.min(), stored.max()) == (0, 10_000)
    assert len(np.unique(stored.astype(np.int16))) > 90
    assert "stored" not in channel("window").identity()
    assert narrow.identity() != narrow.model_copy(update={"rule": "minmax"}).identity()
