"""The data that settings are chosen on: training cases alone, in a training and a validation part.

A data set of its own, so that no stage of a trial can read what it lacks: test cases are not in it,
nor are labels that training does not see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field
from typing_extensions import override

from bench.data.dataset import Case, Dataset
from bench.data.intensity import Channel
from bench.data.simulate import labelled_patients, make_split
from bench.errors import BenchError
from bench.params import format_brackets, parse_brackets
from bench.seeds import generator

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

VALIDATION_PCT = 25
"""Share of the labels of every organ that validate and do not train."""


def validation_part(
    seen: Mapping[str, Sequence[bool]], always_train: frozenset[str], order: Sequence[str]
) -> frozenset[str]:
    """Return the patients that validate: a quarter of the labels of every organ, as near as may be.

    Patients with labels of many organs are taken first, so that few are lost to training. Every
    organ keeps a patient that trains.

    Parameters
    ----------
    seen
        Patient -> one flag per organ: some scan of the patient has a label of it.
    always_train
        Patients that are not taken.
    order
        All patients; the first of equals is taken.
    """
    n_organs = len(next(iter(seen.values())))
    free = [patient for patient in order if patient not in always_train]

    def quota(organ: int) -> int:
        among_free = sum(seen[patient][organ] for patient in free)
        wanted = max(1, (2 * VALIDATION_PCT * among_free + 100) // 200)
        return min(wanted, sum(flags[organ] for flags in seen.values()) - 1)

    left = [quota(organ) for organ in range(n_organs)]
    chosen = []
    for patient in sorted(free, key=lambda patient: -sum(seen[patient])):  # stable: in order
        organs = [organ for organ, flag in enumerate(seen[patient]) if flag]
        if organs and all(left[organ] > 0 for organ in organs):
            chosen.append(patient)
            for organ in organs:
                left[organ] -= 1
    return frozenset(chosen)


class Development(Dataset):
    """The training cases of a fold, or all cases of a data set, with the labels training sees.

    In every fold of it, the same patients are tested: those that validate.
    """

    base: Dataset
    fold: int | None = Field(default=None, ge=0)
    """Its training cases in this fold; None for all cases, of which no other result is reported."""
    n_folds: int = Field(ge=2)
    label_pct: int = Field(ge=1, le=100)
    seed: int = Field(ge=0)

    @property
    @override
    def name(self) -> str:
        base, options = parse_brackets(self.base.name)
        part = "all" if self.fold is None else f"f{self.fold}"
        return format_brackets(base, options | {"tuning": f"{part}-a{self.label_pct}"})

    @property
    @override
    def label(self) -> str:
        return self.name

    @property
    @override
    def namespace(self) -> str:
        return self.base.namespace

    @property
    @override
    def domains(self) -> tuple[str, ...]:
        return self.base.domains

    @property
    @override
    def channel_names(self) -> tuple[str, ...]:
        return self.base.channel_names

    @property
    @override
    def channels(self) -> tuple[Channel, ...]:
        return self.base.channels

    @property
    @override
    def organs(self) -> tuple[str, ...]:
        return self.base.organs

    def cases(self) -> Sequence[Case]:
        """Return the cases with the labels that training sees as their annotations.

        Raises
        ------
        BenchError
            As the data set and its split, or no organ has two patients with labels.
        """
        cases = self.base.cases()
        if self.fold is None:  # what a data set keeps for tests alone develops nothing
            cases = [case for case in cases if case.trains_in != ()]
        flags = self._visible(cases)
        known = [case for case in cases if case.id in flags]
        seen: dict[str, list[bool]] = {}
        for case in known:
            before = seen.get(case.patient, [False] * len(self.organs))
            pairs = zip(before, flags[case.id], strict=True)
            seen[case.patient] = [one or other for one, other in pairs]
        always = frozenset(case.patient for case in known if case.trains_in == "all")
        patients = sorted(seen)
        permutation = generator(self.seed, "validation", self.name).permutation(len(patients))
        validate = validation_part(seen, always, [patients[position] for position in permutation])
        if not validate:
            raise BenchError(
                f"{self.base.name}: at {self.label_pct} % no organ is labelled in two training "
                "patients of which one could validate; tune at a larger --labelled, or --on other "
                "data"
            )
        return tuple(
            case.model_copy(
                update={
                    "annotated": flags[case.id],
                    "trains_in": () if case.patient in validate else "all",
                }
            )
            for case in known
        )

    def _visible(self, cases: Sequence[Case]) -> Mapping[str, tuple[bool, ...]]:
        """Return the organs of which a development case shows the label, by case."""
        if self.fold is not None:
            return make_split(
                cases,
                self.organs,
                dataset=self.base.name,
                fold=self.fold,
                n_folds=self.n_folds,
                label_pct=self.label_pct,
                seed=self.seed,
            ).flags
        kept = []
        for k in range(len(self.organs)):
            patients = sorted({case.patient for case in cases if case.annotated[k]})
            kept.append(
                labelled_patients(patients, self.label_pct, self.seed, self.name, 0, k)
                if patients
                else frozenset()
            )
        return {
            case.id: tuple(
                flag and case.patient in patients
                for flag, patients in zip(case.annotated, kept, strict=True)
            )
            for case in cases
        }

    @override
    def owner(self, case: Case) -> tuple[Dataset, Case]:
        return self.base.owner(self._origins[case.id])

    @override
    def doubts(self) -> tuple[str, ...]:
        return self.base.doubts()

    @override
    def files(self, case: Case) -> tuple[Path, ...]:
        return self.base.files(self._origins[case.id])

    @override
    def image(self, case: Case) -> Nifti1Image:
        return self.base.image(self._origins[case.id])

    def labels(self, case: Case) -> Nifti1Image:
        """Return the label map without the organs of which training sees no label."""
        import nibabel as nib
        import numpy as np

        image = self.base.labels(self._origins[case.id])
        hidden = [k for k, flag in enumerate(case.annotated, start=1) if not flag]
        values = np.asarray(image.dataobj)
        return nib.Nifti1Image(np.where(np.isin(values, hidden), 0, values), image.affine)

    @cached_property
    def _origins(self) -> dict[str, Case]:
        return {case.id: case for case in self.base.cases()}
