"""The same scan in two cases: then one may be trained on while the other is tested."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.data.archive import open_npz
from bench.data.dataset import Case, Dataset, where_is
from bench.data.fingerprint import file_digests
from bench.data.image import read_image
from bench.data.landmarks import VERSION, Landmarks, landmarks, twins
from bench.data.pool import map_cases
from bench.errors import BenchError
from bench.files import replacing
from bench.params import digest


class Leak(NamedTuple):
    """Two cases of one scan."""

    first: Case
    second: Case
    evidence: str
    parts: bool
    """They could part between training and test."""


def find_leaks(cases: Sequence[Case], scans: Mapping[str, Landmarks]) -> list[Leak]:
    """Return the pairs of cases that hold one scan, of those whose landmarks are given by id."""
    known = [case for case in cases if case.id in scans]
    found = []
    for pair in twins([scans[case.id] for case in known]):
        one, other = known[pair.first], known[pair.second]
        together = one.patient == other.patient or (
            one.trains_in is not None and one.trains_in == other.trains_in
        )
        evidence = f"{pair.share:.0%} of their landmarks agree" if pair.common else "equal voxels"
        found.append(Leak(one, other, evidence, not together))
    return found


def remedy(dataset: Dataset, leak: Leak) -> str:
    """Return what can be done about two cases that may part, for a message."""
    (one, _), (other, _) = dataset.owner(leak.first), dataset.owner(leak.second)
    patients = f", give both one patient in {one.table}" if one == other and one.table else ""
    return f"remove one (image and label map){patients}"


def refuse_leaks(
    dataset: Dataset,
    cases: Sequence[Case],
    memory: Path,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Raise if a scan could be both trained on and tested.

    Generated cases have no file and are not looked at. What was read of a file is kept in the
    folder ``scans`` beside ``memory``, the digests of files.

    Raises
    ------
    BenchError
        Names both files of the first such pair, and what to do.
    """
    scans = remembered_landmarks(dataset, cases, memory, progress)
    parting = [leak for leak in find_leaks(cases, scans) if leak.parts]
    if parting:
        first, second, evidence, _ = parting[0]
        advice = remedy(dataset, parting[0])
        others = f" ({len(parting) - 1} more such pairs)" if len(parting) > 1 else ""
        raise BenchError(
            f"{dataset.name}: {dataset.files(first)[0]} (case {first.id}) and"
            f" {dataset.files(second)[0]} (case {second.id}) hold the same scan ({evidence}),"
            f" which would be trained on and tested{others}: {advice}; `bench data check` lists"
            " all, --accept-twins runs nevertheless"
        )


def _write(path: Path, scan: Landmarks) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, ours=True) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(
            file,
            content=np.frombuffer(scan.content, np.uint8),
            cells_N3=scan.cells_N3,
            size_3=scan.size_3,
            looks_ND=scan.looks_ND,
        )


def _read(path: Path) -> Landmarks | None:
    """Return what :func:`_write` wrote; None without it or if it is damaged: it is found again."""
    try:
        with open_npz(path) as archive:
            return Landmarks(
                content=archive["content"].tobytes(),
                cells_N3=archive["cells_N3"],
                size_3=archive["size_3"],
                looks_ND=archive["looks_ND"],
            )
    except (BenchError, OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def remembered_landmarks(
    dataset: Dataset,
    cases: Sequence[Case],
    memory: Path,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Landmarks]:
    """Return the landmarks of every case with files, by id; only changed files are read.

    Cases that cannot be read are not among them: the stage that prepares the images says why.
    """
    found_files = [(case, paths) for case in cases if (paths := dataset.files(case))]
    with_files = [case for case, _ in found_files]
    digests = iter(file_digests([path for _, paths in found_files for path in paths], memory))
    hu = dataset.channels[0].rule == "window"
    folder = memory.with_name("scans")
    names = {
        case.id: folder / f"{digest([VERSION, hu, *(next(digests) for _ in paths)], 32)}.npz"
        for case, paths in found_files
    }

    def known(case: Case) -> Landmarks | None:
        name = names[case.id]
        if (found := _read(name)) is not None:
            return found
        try:
            image_CXYZ, geometry = read_image(
                dataset.image(case), where_is(dataset, case, "image"), dataset.channels
            )
        except (BenchError, MemoryError):
            return None
        found = landmarks(image_CXYZ[0], geometry.spacing_mm, hu=hu)
        _write(name, found)
        return found

    found = map_cases(known, with_files, progress)
    return {case.id: scan for case, scan in zip(with_files, found, strict=True) if scan is not None}
