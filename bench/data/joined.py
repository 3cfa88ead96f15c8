"""Several data sets as one: organs matched by name, each with the annotations that it has."""

from __future__ import annotations

import abc
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Image
from pydantic import model_validator
from typing_extensions import override

from bench.data.dataset import Case, Dataset
from bench.data.intensity import Channel, listed
from bench.data.synonyms import perhaps_part, same_voxels
from bench.errors import BenchError, unknown_name
from bench.labels import VOID, plain
from bench.params import Params
from bench.reporting.text import counted, enumerated
from bench.seeds import generator

DRAWS = 20
"""Random choices of training patients, one a fold, where their number is given."""

SCALING = frozenset({"hu_window", "intensity"})
"""Options of a data set that say how values are scaled."""

Folds = tuple[int, ...] | Literal["all"] | None
"""As ``Case.trains_in``."""


class Member(Params):
    """A data set among others, and what of it is used."""

    domain: str
    """Its name among them: the start of the names of its cases, and ``Case.domain``."""
    dataset: Dataset
    keeps: tuple[str, ...] | None = None
    """The organs whose labels are used; None for every one."""

    @property
    def organs(self) -> tuple[str, ...]:
        """The organs that it brings, in its own spelling."""
        return self.dataset.organs if self.keeps is None else self.keeps


def united(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return every organ once, in the order and spelling in which it comes first."""
    found: dict[str, str] = {}
    for organs in lists:
        for organ in organs:
            found.setdefault(plain(organ), organ)
    return tuple(found.values())


def known_organs(kept: Sequence[str], dataset: Dataset, what: str) -> tuple[str, ...]:
    """Return organs in the spelling of a data set.

    Raises
    ------
    BenchError
        It has no such organ; the message begins with ``unknown``, ``what`` and the name.
    """
    spelling = {plain(organ): organ for organ in dataset.organs}
    for organ in kept:
        if plain(organ) not in spelling:
            raise unknown_name(what, organ, dataset.organs)
    return tuple(spelling[plain(organ)] for organ in kept)


def refuse_synonyms(members: Sequence[Member], organs: Sequence[str]) -> None:
    """Raise if two data sets draw the same voxels under names that are not the same.

    Each would then say for certain that the organ of the other is not where it is.
    """
    if found := _across(members, organs, same_voxels):
        raise BenchError(
            f"{enumerated(found, 4)} may be the same voxels, and each source would teach that they"
            " are certainly not the other organ: give the union organs= without one of the names"
            " (organs=paper7 has left and right kidney), or call them alike in dataset.json"
        )


def _across(
    members: Sequence[Member], organs: Sequence[str], related: Callable[[str, str], bool]
) -> list[str]:
    """Return the related organs of two data sets, neither of which draws both."""
    learned = set(map(plain, organs))
    return [
        f"{a} of {one.domain} and {b} of {other.domain}"
        for one, other in combinations(members, 2)
        for a, b in product(one.organs, other.organs)
        if related(a, b)
        and {plain(a), plain(b)} <= learned
        and plain(a) not in map(plain, other.organs)
        and plain(b) not in map(plain, one.organs)
    ]


def same_channels(dataset: Dataset, first: Dataset, name: str) -> None:
    """Raise if two data sets have different channels, which no network could take."""
    found, wanted = listed(dataset.channels), listed(first.channels)
    if found != wanted:
        raise ValueError(f"has the channels {found}, but {name} has {wanted}")


class Joined(Dataset, abc.ABC):
    """The cases of several data sets. One that is not tested trains in every fold."""

    size_option: ClassVar[str]
    """Name of the field of :attr:`n_tested_train`, for messages."""

    @model_validator(mode="after")
    def _scaled_alike(self) -> Self:
        for member in self.members[1:]:
            given = SCALING & member.dataset.overrides().keys()
            if given and member.dataset.channels != self.channels:
                options = " and ".join(sorted(given))
                raise ValueError(
                    f"{member.domain} is scaled as {self.domains[0]} is; give {options} to the"
                    " joined data set, for all"
                )
        return self

    @property
    @abc.abstractmethod
    def members(self) -> tuple[Member, ...]:
        """The data sets."""

    @property
    @abc.abstractmethod
    def tested(self) -> tuple[str, ...]:
        """Domains of which cases are tested."""

    @property
    def domains(self) -> tuple[str, ...]:
        """The names of the data sets among the others."""
        return tuple(member.domain for member in self.members)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Those of the first data set, unless ``intensity`` or ``hu_window`` is given."""
        return self.members[0].dataset.model_copy(update=self.scaling).channels

    @property
    def scaling(self) -> dict[str, Any]:
        """The options that scale values and are not default."""
        return {name: value for name, value in self.overrides().items() if name in SCALING}

    @property
    @abc.abstractmethod
    def n_tested_train(self) -> int | None:
        """Patients of the tested data set that train; None for cross-validation."""

    def cases(self) -> Sequence[Case]:
        """Return the cases of all, each with the folds in which it trains.

        Raises
        ------
        BenchError
            Too few complete patients, or none left to test; a case in two of the data sets; a
            patient who is tested while another scan of theirs always trains.
        """
        found: dict[str, Case] = {}
        scans: dict[tuple[str, str], str] = {}
        for member in self.members:
            cases = member.dataset.cases_as_source()
            trains_in = self._folds(member, cases)
            space = self._namespaces[member.domain]
            for case in cases:
                name = f"{member.domain}_{case.id}"
                other = scans.setdefault((space, case.id), name)
                if other != name or name in found:
                    raise BenchError(
                        f"{self.name}: {other} and {name} are the same case; leave one of the"
                        " sources out, or filter it if it is a folder of your own ([where=...])"
                    )
                found[name] = case.model_copy(
                    update={
                        "id": name,
                        "patient": f"{space}_{case.patient}",
                        "annotated": self._flags(member, case),
                        "trains_in": trains_in(case),
                        "domain": member.domain,
                    }
                )
        self._refuse_split_patients(found.values())
        return tuple(sorted(found.values(), key=lambda case: case.id))

    @override
    def owner(self, case: Case) -> tuple[Dataset, Case]:
        member, original = self._origin(case)
        return member.dataset, original

    @override
    def remarks(self) -> tuple[str, ...]:
        others = [name for name in self.domains if name not in self.tested]
        roles = f"tested: {', '.join(self.tested)}"
        if self.n_tested_train is not None:
            roles += f", but for {counted(self.n_tested_train, 'patient')} who train"
        if others:
            roles += f"; in every training set: {', '.join(others)}"
        return (
            roles,
            *(f"{m.domain}: {line}" for m in self.members for line in m.dataset.remarks()),
        )

    @override
    def doubts(self) -> tuple[str, ...]:
        doubts = [f"{m.domain}: {line}" for m in self.members for line in m.dataset.doubts()]
        if nested := _across(self.members, self.organs, perhaps_part):
            doubts.insert(
                0,
                f"{enumerated(nested, 4)}: where one is part of the other, each source teaches that"
                " it is certainly not the other; leave one out with organs=",
            )
        return tuple(doubts)

    @override
    def files(self, case: Case) -> tuple[Path, ...]:
        member, original = self._origin(case)
        return member.dataset.files(original)

    @override
    def image(self, case: Case) -> Nifti1Image:
        member, original = self._origin(case)
        return member.dataset.image(original)

    def labels(self, case: Case) -> Nifti1Image:
        """Return the label map in the organs of all; what is not kept is background."""
        member, original = self._origin(case)
        image = member.dataset.labels(original)
        targets = {plain(organ): k for k, organ in enumerate(self.organs, start=1)}
        kept = {plain(organ) for organ in member.organs}
        numbers = [
            targets.get(plain(organ), 0) if plain(organ) in kept else 0
            for organ in member.dataset.organs
        ]
        if numbers == list(range(1, len(numbers) + 1)):
            return image
        table = np.full(VOID + 1, VOID, np.uint8)
        table[: len(numbers) + 1] = 0, *numbers
        return nib.Nifti1Image(table[np.asarray(image.dataobj)], image.affine)

    def _flags(self, member: Member, case: Case) -> tuple[bool, ...]:
        annotated = dict(zip(map(plain, member.dataset.organs), case.annotated, strict=True))
        kept = set(map(plain, member.organs))
        return tuple(
            plain(organ) in kept and annotated.get(plain(organ), False) for organ in self.organs
        )

    def _folds(self, member: Member, cases: Sequence[Case]) -> Callable[[Case], Folds]:
        """Return the folds in which a case of one of the data sets trains."""
        if member.domain not in self.tested:
            self._refuse_tested(member, cases)
            return lambda _: "all"
        if self.n_tested_train is None:
            return lambda case: case.trains_in
        kept = [k for k, organ in enumerate(member.dataset.organs) if organ in member.organs]
        patients = sorted({case.patient for case in cases if case.trains_in is None})
        lacking = {case.patient for case in cases if not all(case.annotated[k] for k in kept)}
        whole = [patient for patient in patients if patient not in lacking]
        if len(whole) < self.n_tested_train or len(patients) == self.n_tested_train:
            raise BenchError(
                f"{member.dataset.name} has {len(patients)} patients, {len(whole)} of them with "
                f"every organ annotated: {self.size_option}={self.n_tested_train} leaves none to "
                "test or is too many"
            )
        draws = [self._drawn(whole, draw) for draw in range(DRAWS)]
        drawn_in = {
            patient: tuple(n for n, drawn in enumerate(draws) if patient in drawn)
            for patient in patients
        }
        return lambda case: drawn_in.get(case.patient, case.trains_in)

    def _refuse_tested(self, member: Member, cases: Iterable[Case]) -> None:
        """Raise if a source that trains in every fold says of a case that it is to be tested."""
        tested = [case.id for case in cases if case.trains_in not in (None, "all")]
        if tested:
            raise BenchError(
                f"{self.name}: {member.domain} trains in every fold, but the column trains_in of "
                f"its table says that {enumerated(tested)} {'is' if len(tested) == 1 else 'are'} "
                f"to be tested; test {member.domain}, too, or leave out these cases with where="
            )

    def _drawn(self, patients: Sequence[str], draw: int) -> frozenset[str]:
        order = generator(0, "fusion", self.name, draw).permutation(len(patients))
        return frozenset(patients[position] for position in order[: self.n_tested_train])

    def _refuse_split_patients(self, cases: Iterable[Case]) -> None:
        by_patient: dict[str, dict[bool, str]] = defaultdict(dict)
        for case in cases:
            by_patient[case.patient].setdefault(case.trains_in == "all", case.id)
        for names in by_patient.values():
            if len(names) == 2:
                raise BenchError(
                    f"{self.name}: {names[False]} is tested, and {names[True]} of the same patient "
                    "always trains; filter one of the sources, or test both"
                )

    @cached_property
    def _namespaces(self) -> dict[str, str]:
        """Domain -> the first domain whose names of patients mean the same patients."""
        first: dict[str, str] = {}
        return {
            member.domain: first.setdefault(member.dataset.namespace, member.domain)
            for member in self.members
        }

    @cached_property
    def _origins(self) -> dict[str, tuple[Member, Case]]:
        return {
            f"{member.domain}_{case.id}": (member, case)
            for member in self.members
            for case in member.dataset.cases_as_source()
        }

    def _origin(self, case: Case) -> tuple[Member, Case]:
        if case.id not in self._origins:
            raise BenchError(f"{self.name} has no case {case.id!r}")
        return self._origins[case.id]
