"""Which files make a scan for `bench predict`."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.data.intensity import Channel
from bench.errors import BenchError
from bench.experiment.outputs import Outputs, written_into
from bench.experiment.scans import find_scans
from bench.experiment.segment import _is_of_memory

T2, ADC = (
    Channel(name=name, rule="percentile", hu_window=(-160.0, 240.0)) for name in ("T2", "ADC")
)


def names(*paths: str, channels: tuple[Channel, ...] = (T2, ADC)) -> dict[str, list[str]]:
    found = find_scans([Path(path) for path in paths], channels)
    for problem in found.problems:
        raise problem
    return {name: [str(path) for path in scan.files] for name, scan in found.scans.items()}


def test_files_are_grouped_by_case_and_ordered_by_channel() -> None:
    found = names("b_0001.nii.gz", "a_0000.nii", "b_0000.nii.gz", "a_0001.nii", "whole.nii.gz")
    assert found == {
        "b": ["b_0000.nii.gz", "b_0001.nii.gz"],
        "a": ["a_0000.nii", "a_0001.nii"],
        "whole": ["whole.nii.gz"],
    }


def test_with_one_channel_every_file_is_a_scan() -> None:
    found = names("a_0000.nii.gz", "scan_0007.nii.gz", "series", channels=(T2,))
    assert found == {
        "a": ["a_0000.nii.gz"],
        "scan_0007": ["scan_0007.nii.gz"],
        "series": ["series"],
    }


def test_a_further_channel_is_no_scan_of_a_model_of_one(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"a_000{number}.nii.gz").touch()
    with pytest.raises(BenchError, match=r"a_0001.nii.gz: channel 1, but the model was trained on"):
        names(str(tmp_path / "a_0001.nii.gz"), channels=(T2,))


def test_what_lies_below_and_is_not_segmented_is_noted(tmp_path: Path) -> None:
    for name in (
        *("s0001/ct.nii.gz", "s0001/segmentations/liver.nii.gz", "s0001/segmentations/spleen.nii"),
        *("s0001/old.nrrd", "s0001/out/ct.nii.gz", "s0001/.trash/ct.nii.gz"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "s0001/out/organs-Train-1.json").write_text('{"files": {"ct.nii.gz": "0"}}')
    (tmp_path / "s0001/more").symlink_to(tmp_path)
    found = find_scans([tmp_path / "s0001"], (T2,))
    assert list(found.scans) == ["ct"]
    lines = (
        "2 NIfTI files lie below it, the first .*/segmentations/liver.nii.gz, not segmented; name",
        "1 file not segmented, the first .*/old.nrrd: in a format that is not read; convert",
        "1 link to folders not followed, the first .*/more; name",
    )
    for note, line in zip(found.notes, lines, strict=True):
        assert re.match(f"{re.escape(str(tmp_path))}/s0001: {line}", note)
    with pytest.raises(BenchError, match=rf"no scan itself; 3 .*such as {tmp_path}/\*/ct.nii.gz$"):
        find_scans([tmp_path], (T2,))


def test_calls_that_share_a_folder_all_note_what_they_wrote(tmp_path: Path) -> None:
    def write(call: int) -> None:
        outputs = Outputs(tmp_path, f"Train-{call % 2}", ["liver"])
        outputs.start()
        for k in range(5):
            target = tmp_path / f"{call}_{k}.nii.gz"
            with outputs.writing(target, target) as unfinished:
                unfinished.write_text(str(call))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert set(written_into(tmp_path)) == {path.name for path in tmp_path.glob("*.nii.gz")}
    assert len(written_into(tmp_path)) == 20


def test_series_below_a_series_are_scans_too(tmp_path: Path) -> None:
    for folder in ("p", "p/ct", "p/ct/old"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1").write_bytes(b"\x08\x00")
    assert list(find_scans([tmp_path / "p"], (T2,)).scans) == ["p", "ct", "old"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ["x/a_0000.nii.gz"],
            r"x/a_0001.nii.gz: file of a channel is missing, the model was trained on 0 T2, 1 ADC",
        ),
        (["x/a_0001.nii.gz"], r"x/a_0000.nii.gz: file of a channel is missing"),
        (
            ["a_0000.nii", "a_0001.nii", "a_0002.nii"],
            r"a_0002.nii: channel 2, but the model was trained on 0 T2, 1 ADC",
        ),
        (["a.nii", "a_0000.nii"], r"a.nii: this file and a_0000.nii are both the image of case a"),
        (["x/a.nii", "x/a.nii"], r"x/a.nii: named twice"),
        (["x/a.nii", "y/../x/a.nii"], r"y/../x/a.nii: named twice, the other time as x/a.nii"),
        (["x/a.nii", "x/a.nii.gz"], r"x/a.nii.gz: x/a.nii is the same scan by its name"),
        (["x/a_0000.nii", "y/a_0001.nii"], r"x/a_0001.nii.gz: file of a channel is missing"),
    ],
)
def test_an_incomplete_scan_is_refused_before_anything_is_computed(
    paths: list[str], message: str
) -> None:
    with pytest.raises(BenchError, match=message) as error:
        names(*paths)
    assert "\n" not in str(error.value)


def test_a_scan_without_a_channel_stops_no_other() -> None:
    found = find_scans([Path("a_0000.nii"), Path("b_0000.nii"), Path("b_0001.nii")], (T2, ADC))
    assert list(found.scans) == ["b"]
    (problem,) = found.problems
    assert str(problem).startswith("a_0001.nii.gz: file of a channel is missing")


def test_names_are_told_apart_by_as_many_folders_as_it_takes() -> None:
    found = names("p1/x/ct.nii", "p2/x/ct.nii", "p2/y/CT.nii", "p2/y/mr.nii", channels=(T2,))
    assert found == {
        "p1_x_ct": ["p1/x/ct.nii"],
        "p2_x_ct": ["p2/x/ct.nii"],
        "y_CT": ["p2/y/CT.nii"],
        "mr": ["p2/y/mr.nii"],
    }


@pytest.mark.parametrize(
    ("error", "is_of_memory"),
    [
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't all"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("unsupported memory format option ChannelsLast"), False),
    ],
)
def test_only_a_lack_of_memory_is_told_as_one(error: Exception, is_of_memory: bool) -> None:
    assert _is_of_memory(error) == is_of_memory
