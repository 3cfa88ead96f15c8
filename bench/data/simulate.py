"""The simulator of missing labels: folds by patient, nested label subsets per organ.

Pure functions of patients, annotation flags and seeds, independent of the method. The order in
which patients lose a label is the same at every label fraction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field

from bench.data.dataset import Case
from bench.errors import BenchError
from bench.params import Params, RuntimeOnly, digest
from bench.seeds import generator


class Split(Params):
    """One fold at one label fraction: training and test cases, and the visible labels."""

    fold: int
    n_folds: int
    label_pct: int
    train: tuple[str, ...]
    test: tuple[str, ...]
    flags: dict[str, tuple[bool, ...]]
    """Per training case: organ k is annotated and not hidden (F)."""
    domains: Annotated[dict[str, str], RuntimeOnly(), Field(default_factory=dict)]
    """Per training case of several data sets: the one that it is from."""

    @property
    def incomplete(self) -> list[str]:
        """Training cases that lack an organ, sorted."""
        return sorted(case for case in self.train if not all(self.flags[case]))

    @property
    def sha256(self) -> str:
        """Digest of the whole manifest."""
        return digest(self.identity())

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest that :meth:`write` wrote."""
        return cls.model_validate_json((folder / "split.json").read_text())

    def write(self, folder: Path) -> None:
        """Write the manifest, and its digest beside it."""
        (folder / "split.json").write_text(self.model_dump_json(indent=1))
        (folder / "split.sha256").write_text(self.sha256 + "\n")


def assign_folds(patients: Sequence[str], n_folds: int, seed: int, dataset: str) -> dict[str, int]:
    """Return the fold in which each patient is tested; fold sizes differ by at most one.

    Raises
    ------
    BenchError
        Fewer patients than folds, or a single one.
    """
    unique = sorted(set(patients))
    if len(unique) == 1:
        raise BenchError(
            f"{dataset}: all cases are of one patient, but training and test take one each; add"
            " cases of others"
        )
    if len(unique) < n_folds:
        raise BenchError(
            f"{dataset}: {len(unique)} patients cannot be split into {n_folds} folds; "
            "set fewer with --profile 'NAME[n_folds=N]', or --n-folds N of `bench data`"
        )
    order = generator(seed, "folds", dataset).permutation(len(unique))
    return {unique[patient]: position % n_folds for position, patient in enumerate(order)}


def n_labelled(label_pct: int, n_patients: int) -> int:
    """Return how many of ``n_patients`` keep a label: half-up, at least one."""
    return max(1, (2 * label_pct * n_patients + 100) // 200)


def labelled_patients(
    patients: Sequence[str], label_pct: int, seed: int, dataset: str, fold: int, organ_index: int
) -> frozenset[str]:
    """Return the patients that keep one organ's label; nested over label fractions."""
    ordered = sorted(patients)
    permutation = generator(seed, "labels", dataset, fold, organ_index).permutation(len(ordered))
    kept = permutation[: n_labelled(label_pct, len(ordered))]
    return frozenset(ordered[position] for position in kept)


def _refuse_parted(dataset: str, training: Sequence[Case], tested: Sequence[Case]) -> None:
    """Raise if scans of one patient are trained on and tested."""
    test_case = {case.patient: case.id for case in tested}
    for case in training:
        if (other := test_case.get(case.patient)) is not None:
            raise BenchError(
                f"{dataset}: {case.id} is trained on and {other} tested, and both are of one"
                " patient; let the scans of a patient train in the same folds"
            )


def make_split(
    cases: Sequence[Case],
    organs: Sequence[str],
    *,
    dataset: str,
    fold: int,
    n_folds: int,
    label_pct: int,
    seed: int,
) -> Split:
    """Return the split of one fold at one label fraction.

    The fraction is taken of the training patients in whom the organ is annotated, so natural
    annotation gaps stay and simulated ones come on top; at 100 % nothing is hidden. An organ that
    is annotated in no case at all stays without labels.

    Raises
    ------
    BenchError
        Too few patients, a fold that does not exist, an organ annotated in no training patient but
        in others, no organ annotated in any test patient, or a patient on both sides.
    """
    if not 0 <= fold < n_folds:
        raise BenchError(f"fold {fold} does not exist: folds are 0 to {n_folds - 1}")
    free = [case.patient for case in cases if case.trains_in is None]
    folds = assign_folds(free, n_folds, seed, dataset) if free else {}
    if not any(any(case.annotated) for case in cases):
        raise BenchError(f"{dataset}: no organ is annotated in any case; there is nothing to learn")

    def trains(case: Case) -> bool:
        if case.trains_in is None:
            return folds[case.patient] != fold
        return case.trains_in == "all" or fold in case.trains_in

    training = [case for case in cases if trains(case)]
    tested = [case for case in cases if not trains(case)]
    _refuse_parted(dataset, training, tested)
    if not any(any(case.annotated) for case in tested):
        raise BenchError(
            f"{dataset}: no organ is annotated in a test patient of fold {fold}, so nothing could"
            " be measured; choose other folds with --folds, or another number of folds"
        )
    visible: Mapping[str, list[bool]] = {case.id: [] for case in training}
    for index, organ in enumerate(organs):
        annotated = {case.patient for case in training if case.annotated[index]}
        if not annotated and not any(case.annotated[index] for case in cases):
            for case in training:
                visible[case.id].append(False)
            continue
        if not annotated:
            raise BenchError(
                f"{dataset}: {organ} is annotated in no training patient of fold {fold}; "
                "use fewer folds or leave the organ out"
            )
        kept = labelled_patients(sorted(annotated), label_pct, seed, dataset, fold, index)
        for case in training:
            visible[case.id].append(case.annotated[index] and case.patient in kept)
    return Split(
        fold=fold,
        n_folds=n_folds,
        label_pct=label_pct,
        train=tuple(case.id for case in training),
        test=tuple(case.id for case in tested),
        flags={case_id: tuple(flags) for case_id, flags in visible.items()},
        domains={case.id: case.domain for case in training if case.domain is not None},
    )
