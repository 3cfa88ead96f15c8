"""Check a data set before any training: read every case, report errors and warnings.

Errors would stop every run. Warnings do not, but often point to a mistake: lost headers, mirrored
scans, images stored twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray

from bench.data.dataset import Case, Dataset, locate
from bench.data.findings import CheckResult, OrganSummary, Problem, Range
from bench.data.geometry import unusual_spacing
from bench.data.intensity import TISSUE_HU, unlike_hu
from bench.data.landmarks import Landmarks, landmarks, recognisable
from bench.data.leaks import find_leaks, remedy
from bench.data.place import doubtful_place
from bench.data.pool import map_cases
from bench.data.scan import Scan, assemble
from bench.data.synonyms import understood
from bench.errors import BenchError
from bench.evaluation.counts import areas
from bench.files import file_size
from bench.labels import VOID
from bench.reporting.text import counted

SPACING_FACTOR = 2.5
"""A spacing this many times above or below the median of its axis is reported."""

_SIDE_OF_BODY = {"liver": "right", "spleen": "left"}


class _CaseSummary(NamedTuple):
    """The summary of a case; its voxels are not kept."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    values: tuple[Range, ...]
    landmarks: Landmarks
    organs_ml: tuple[float, ...]
    void: float
    """Share of voxels of unknown class."""
    warnings: tuple[str, ...]
    errors: tuple[str, ...]


def check(
    dataset: Dataset,
    progress: Callable[[int, int], None] | None = None,
) -> CheckResult:
    """Read every case of ``dataset`` in a pool of threads.

    Parameters
    ----------
    progress
        Called with the number of cases read and their total after each.

    Raises
    ------
    BenchError
        The cases cannot be listed. Problems of single cases are in the result.
    """
    cases = dataset.found()
    summaries: dict[str, _CaseSummary] = {}
    problems: list[Problem] = []

    def summary_of(case: Case) -> None:
        try:
            summaries[case.id] = _read(dataset, case)
        except BenchError as error:
            problems.append(Problem(severity="error", case=case.id, message=str(error)))
        except MemoryError:
            message = "needs more memory than is free; use a larger machine or crop the scan"
            problems.append(Problem(severity="error", case=case.id, message=message))

    map_cases(summary_of, cases, progress or (lambda *_: None))
    problems += [
        Problem(severity="error", case=case, message=message)
        for case, summary in summaries.items()
        for message in summary.errors
    ]
    problems += [
        Problem(severity="warning", case=case, message=message)
        for case, message in _warnings(dataset, cases, summaries)
    ]
    problems += _same_scans(dataset, cases, summaries)
    read = list(summaries.values())
    return CheckResult(
        dataset=dataset.name,
        cases=len(cases),
        patients=len({case.patient for case in cases}),
        readable=len(read),
        organs=tuple(_organ_summaries(dataset, cases, summaries)),
        shape=_ranges([summary.shape for summary in read]),
        spacing_mm=_ranges([summary.spacing_mm for summary in read]),
        values=tuple(
            Range(low=min(r.low for r in of_cases), high=max(r.high for r in of_cases))
            for of_cases in zip(*(summary.values for summary in read), strict=True)
        ),
        remarks=(*dataset.remarks(), *_left_out(summaries), *_unrecognisable(summaries)),
        problems=tuple(sorted(problems, key=lambda p: (p.severity, p.case or "", p.message))),
    )


def _read(dataset: Dataset, case: Case) -> _CaseSummary:
    for path in dataset.files(case):
        file_size(path, locate(dataset.name, case.id, path, "file"))
    image = dataset.image(case)
    scan = assemble(dataset, case, image, dataset.labels(case))
    count_XK = areas(scan.labels_XYZ, len(dataset.organs))
    counts = count_XK.sum(axis=0).tolist()
    values = tuple(
        Range(low=float(image_XYZ.min()), high=float(image_XYZ.max()))
        for image_XYZ in scan.image_CXYZ
    )
    geometry, sided = scan.geometry, dataset.owner(case)[0].sided
    centre_x = {
        organ: _mean_x(count_X)
        for organ, count_X in zip(dataset.organs, count_XK.T, strict=True)
        if count_X.any()
    }
    exchanged = tuple(_exchanged(dataset.organs, centre_x))
    found = tuple(_case_warnings(dataset, case, image, scan, counts))
    found += tuple(_wrong_half(centre_x, scan))
    return _CaseSummary(
        shape=geometry.canonical_shape,
        spacing_mm=geometry.spacing_mm,
        values=values,
        landmarks=landmarks(
            scan.image_CXYZ[0], geometry.spacing_mm, hu=dataset.channels[0].rule == "window"
        ),
        organs_ml=tuple(count * geometry.voxel_ml for count in counts),
        void=float(np.mean(scan.labels_XYZ == VOID)),
        warnings=found if sided else found + exchanged,
        errors=exchanged if sided else (),
    )


def _case_warnings(
    dataset: Dataset,
    case: Case,
    image: Nifti1Image,
    scan: Scan,
    counts: Sequence[int],
) -> Iterator[str]:
    """Yield the warnings about a single case."""
    owner, own = dataset.owner(case)
    yield from owner.defects_of(own)
    for (first, a_XYZ), (second, b_XYZ) in combinations(
        zip(dataset.channels, scan.image_CXYZ, strict=True), 2
    ):
        if np.array_equal(a_XYZ, b_XYZ):
            yield f"channels {first.name} and {second.name} are the same image; a copy of a file?"
    for channel, image_XYZ in zip(dataset.channels, scan.image_CXYZ, strict=True):
        if channel.rule == "window" and (doubt := unlike_hu(image_XYZ)):
            other = ", or name the modality in dataset.json if it is no CT" if owner.table else ""
            yield f"{doubt}; apply the rescale slope and intercept of the DICOM series{other}"
    if doubt := unusual_spacing(scan.geometry):
        yield doubt
    if not case.spacing_known:
        yield (
            "the release gives no true voxel size of this scan; metrics in mm will be missing for"
            " it, and its orientation is a guess"
        )
    elif doubt := doubtful_place(image):
        yield doubt
    if scan.geometry.sheared:
        yield (
            "the axes are not at right angles, as those of a tilted gantry: distances are measured"
            " so, but ITK-SNAP and 3D Slicer refuse such files; resample the scan to open it there"
        )
    for organ, flag, count in zip(dataset.organs, case.annotated, counts, strict=True):
        if flag and not count and not owner.cropped:
            yield (
                f"{organ} is annotated but has no voxel: right if it is outside the scan or was"
                f" removed{', otherwise set its flag to 0' if owner.table else ''}"
            )


_MIRRORED = "the scan may be mirrored, or left and right exchanged"


def _exchanged(organs: Sequence[str], centre_x: Mapping[str, float]) -> Iterator[str]:
    """Yield pairs of organs in reversed order (X grows to the right)."""
    for left, right in _pairs(organs):
        if left in centre_x and right in centre_x and centre_x[left] >= centre_x[right]:
            yield f"{left} is to the right of {right}; {_MIRRORED}"


def _wrong_half(centre_x: Mapping[str, float], scan: Scan) -> Iterator[str]:
    """Yield organs that are in the wrong half of the body."""
    sided = {organ: _SIDE_OF_BODY.get(organ.lower()) for organ in centre_x}
    if not any(sided.values()):
        return
    body_x = _mean_x((scan.image_CXYZ[0] > TISSUE_HU).sum(axis=(1, 2)))
    for organ, side in sided.items():
        if side and (centre_x[organ] > body_x) != (side == "right"):
            yield f"{organ} is not in the {side} half of the body; {_MIRRORED}"


def _mean_x(voxels_X: NDArray[np.int64]) -> float:
    """Return the mean X index of voxels that are counted along X; NaN if there are none."""
    total = int(voxels_X.sum())
    return float(voxels_X @ np.arange(len(voxels_X)) / total) if total else float("nan")


def _pairs(organs: Iterable[str]) -> list[tuple[str, str]]:
    """Return (left, right) for organs whose names differ in the side only."""
    sides: dict[frozenset[str], dict[str, str]] = defaultdict(dict)
    for organ in organs:
        words, side = understood(organ)
        if side:
            sides[words][side] = organ
    return [(pair["left"], pair["right"]) for pair in sides.values() if len(pair) == 2]


def _warnings(
    dataset: Dataset, cases: Sequence[Case], summaries: dict[str, _CaseSummary]
) -> Iterator[tuple[str | None, str]]:
    """Yield (case, message) for warnings about single cases and across cases."""
    for case, summary in summaries.items():
        yield from ((case, message) for message in summary.warnings)
    yield from ((None, message) for message in dataset.doubts())
    measured = {case.id for case in cases if case.spacing_known}
    yield from _spacing_outliers(
        {case: summary for case, summary in summaries.items() if case in measured}
    )
    drawn = [any(flags) for flags in zip(*(case.annotated for case in cases), strict=True)]
    if never := [organ for organ, some in zip(dataset.organs, drawn, strict=True) if not some]:
        yield None, f"annotated in no case, so neither learned nor measured: {', '.join(never)}"
    yield from ((None, message) for message in _unexpected(dataset, cases, summaries))


def _unexpected(
    dataset: Dataset, cases: Sequence[Case], summaries: Mapping[str, _CaseSummary]
) -> Iterator[str]:
    """Yield what differs from the numbers of the whole release."""
    labelled = sum(any(case.annotated) for case in cases)
    complete, present = dataset.expected()
    if complete is None or labelled == complete:
        for k, organ in enumerate(dataset.organs):
            found = sum(summary.organs_ml[k] > 0 for summary in summaries.values())
            if found != present.get(organ, found):
                yield f"{organ} has voxels in {found} cases, in the release in {present[organ]}"
    elif labelled < complete:
        yield f"{labelled} of {complete} cases; the download is not complete"
    else:
        yield f"{labelled} cases, the release has {complete}; files of another set?"


def _left_out(summaries: Mapping[str, _CaseSummary]) -> Iterator[str]:
    """Yield how many voxels nobody annotated (the label ``ignore``)."""
    shares = [summary.void for summary in summaries.values() if summary.void]
    if shares:
        texts = dict.fromkeys(f"{100 * share:.2f}" for share in (min(shares), max(shares)))
        yield (
            f"{counted(len(shares), 'case')} with voxels of unknown class, {' to '.join(texts)} %"
            " of theirs; neither learned from nor measured"
        )


def _unrecognisable(summaries: Mapping[str, _CaseSummary]) -> Iterator[str]:
    """Yield in how many scans the search for twins has little to go by."""
    n = sum(not recognisable(summary.landmarks) for summary in summaries.values())
    if n:
        yield (
            f"{n} of {counted(len(summaries), 'scan')} with little to tell it from others (small,"
            " closely cropped or generated): a copy is found only if all voxels are equal"
        )


def _same_scans(
    dataset: Dataset, cases: Sequence[Case], summaries: Mapping[str, _CaseSummary]
) -> Iterator[Problem]:
    scans = {case: summary.landmarks for case, summary in summaries.items()}
    for leak in find_leaks(cases, scans):
        said = f"{leak.first.id}, {leak.second.id} hold the same scan ({leak.evidence})"
        if leak.parts:
            yield Problem(
                severity="error",
                case=leak.first.id,
                message=f"{said} and would be trained on and tested;"
                f" {remedy(dataset, leak)}, or run with --accept-twins",
            )
        else:
            yield Problem(severity="warning", case=leak.first.id, message=f"{said}; remove one")


def _spacing_outliers(summaries: dict[str, _CaseSummary]) -> Iterator[tuple[str | None, str]]:
    if not summaries:
        return
    spacing_N3 = np.array([summary.spacing_mm for summary in summaries.values()])
    median_3 = np.median(spacing_N3, axis=0)
    ratio_N3 = spacing_N3 / median_3
    far_N = ((ratio_N3 > SPACING_FACTOR) | (ratio_N3 < 1 / SPACING_FACTOR)).any(axis=1)
    for case, far, spacing_3 in zip(summaries, far_N, spacing_N3, strict=True):
        if far:
            yield case, f"spacing {_mm(spacing_3)} mm, the median case has {_mm(median_3)} mm"


def _mm(spacing_3: Iterable[float]) -> str:
    return " x ".join(f"{length:.3g}" for length in spacing_3)


def _organ_summaries(
    dataset: Dataset, cases: Sequence[Case], summaries: dict[str, _CaseSummary]
) -> Iterator[OrganSummary]:
    for k, organ in enumerate(dataset.organs):
        volumes = [
            summary.organs_ml[k] for summary in summaries.values() if summary.organs_ml[k] > 0
        ]
        yield OrganSummary(
            organ=organ,
            annotated=sum(case.annotated[k] for case in cases),
            present=len(volumes),
            median_ml=float(np.median(volumes)) if volumes else None,
        )


def _ranges(values: Sequence[tuple[float, float, float]]) -> tuple[Range, Range, Range] | None:
    if not values:
        return None
    x, y, z = (Range(low=min(column), high=max(column)) for column in zip(*values, strict=True))
    return x, y, z
