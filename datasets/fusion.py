"""A completely and a partially labelled data set, trained together (Table 8)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Image
from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from typing_extensions import override

from bench.data.catalogue import parse_dataset
from bench.data.dataset import Case, Dataset
from bench.data.intensity import Channel, listed
from bench.errors import BenchError, unknown_name
from bench.params import format_brackets, split_colons
from bench.seeds import generator

SPLITS = 20
FULL, PARTIAL = "full", "partial"


def _by_name(value: object, info: ValidationInfo) -> object:
    return parse_dataset(value, info.context) if isinstance(value, str) else value


Named = Annotated[Dataset, BeforeValidator(_by_name)]


class Fusion(Dataset):
    """A few complete cases and all cases of another data set, of which some organs are kept.

    There is no cross-validation: fold f is the f-th random choice of complete patients that train.
    All other patients of their data set are tested; the partially labelled data set is not.
    """

    summary: ClassVar[str] = "a complete and a partially labelled data set, trained together"
    source: ClassVar[str] = "two other data sets"
    label_fractions: ClassVar[tuple[int, ...]] = (100,)

    full: Named
    """The completely labelled data set; it names the organs."""
    partial: Named
    """The partially labelled data set."""
    keeps: Annotated[tuple[str, ...], BeforeValidator(split_colons)]
    """Organs whose labels in ``partial`` are used; ``pancreas`` or ``pancreas:liver``."""
    n_full: int = Field(default=9, ge=1)
    """Number of complete patients that train."""

    @field_validator("partial")
    @classmethod
    def _same_channels(cls, partial: Dataset, info: ValidationInfo) -> Dataset:
        if FULL in info.data:
            found, wanted = listed(partial.channels), listed(info.data[FULL].channels)
            if found != wanted:
                raise ValueError(f"has the channels {found}, but full has {wanted}")
        return partial

    @field_validator("keeps")
    @classmethod
    def _known(cls, keeps: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for part in (FULL, PARTIAL):
            if part in info.data:
                for organ in keeps:
                    if organ not in info.data[part].organs:
                        raise unknown_name(f"organ of {part}", organ, info.data[part].organs)
        return keeps

    @property
    def name(self) -> str:
        """Both data sets, the kept organs and the number of complete patients."""
        return format_brackets("fusion", self._named(self.full.name, self.partial.name))

    @property
    @override
    def label(self) -> str:
        named = self._named(self.full.label, self.partial.label)
        return format_brackets("fusion", named | self._scaling)

    @property
    @override
    def organs(self) -> tuple[str, ...]:
        return self.full.organs

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Those of the complete data set, unless ``intensity`` is given."""
        return self.full.model_copy(update=self._scaling).channels

    @property
    def _scaling(self) -> dict[str, Any]:
        rules = ("hu_window", "intensity")
        return {name: value for name, value in self.overrides().items() if name in rules}

    def _named(self, full: str, partial: str) -> dict[str, Any]:
        return {FULL: full, PARTIAL: partial, "keeps": self.keeps, "n_full": self.n_full}

    def cases(self) -> Sequence[Case]:
        """Return the cases of both, each with the folds in which it trains.

        Raises
        ------
        BenchError
            Fewer than ``n_full`` complete patients, or no patient left to test.
        """
        full = self.full.cases()
        patients = sorted({case.patient for case in full})
        whole = sorted(set(patients) - {case.patient for case in full if not all(case.annotated)})
        if len(whole) < self.n_full or len(patients) == self.n_full:
            raise BenchError(
                f"{self.full.name} has {len(patients)} patients, {len(whole)} of them with every "
                f"organ annotated: n_full={self.n_full} leaves none to test or is too many"
            )
        splits = [self._complete_in(whole, split) for split in range(SPLITS)]
        found = [
            Case(
                id=f"{FULL}_{case.id}",
                patient=f"{FULL}_{case.patient}",
                annotated=case.annotated,
                trains_in=tuple(n for n, split in enumerate(splits) if case.patient in split),
            )
            for case in full
        ]
        found += [
            Case(
                id=f"{PARTIAL}_{case.id}",
                patient=f"{PARTIAL}_{case.patient}",
                annotated=tuple(
                    organ in self.keeps and case.annotated[self.partial.organs.index(organ)]
                    for organ in self.organs
                ),
                trains_in="all",
            )
            for case in self.partial.cases()
        ]
        return tuple(sorted(found, key=lambda case: case.id))

    @override
    def files(self, case: Case) -> tuple[Path, ...]:
        dataset, original = self._origin(case)
        return dataset.files(original)

    @override
    def image(self, case: Case) -> Nifti1Image:
        dataset, original = self._origin(case)
        return dataset.image(original)

    def labels(self, case: Case) -> Nifti1Image:
        """Return the label map; of a partially labelled case, only the kept organs."""
        dataset, original = self._origin(case)
        image = dataset.labels(original)
        if dataset is self.full:
            return image
        number = np.zeros(len(dataset.organs) + 1, np.uint8)
        for organ in self.keeps:
            number[dataset.organs.index(organ) + 1] = self.organs.index(organ) + 1
        return nib.Nifti1Image(number[np.asarray(image.dataobj)], image.affine)

    def _complete_in(self, patients: Sequence[str], split: int) -> frozenset[str]:
        order = generator(0, "fusion", self.name, split).permutation(len(patients))
        return frozenset(patients[position] for position in order[: self.n_full])

    @cached_property
    def _origins(self) -> dict[str, tuple[Dataset, Case]]:
        return {
            f"{part}_{case.id}": (dataset, case)
            for part, dataset in ((FULL, self.full), (PARTIAL, self.partial))
            for case in dataset.cases()
        }

    def _origin(self, case: Case) -> tuple[Dataset, Case]:
        if case.id not in self._origins:
            raise BenchError(f"{self.name} has no case {case.id!r}")
        return self._origins[case.id]
