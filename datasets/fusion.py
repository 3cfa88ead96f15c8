"""A completely and a partially labelled data set, trained together (Table 8)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from typing_extensions import override

from bench.data.catalogue import parse_dataset
from bench.data.dataset import Dataset
from bench.data.joined import Joined, Member, known_organs, same_channels
from bench.params import format_brackets, split_colons

FULL, PARTIAL = "full", "partial"


def _by_name(value: object, info: ValidationInfo) -> object:
    return parse_dataset(value, info.context) if isinstance(value, str) else value


Named = Annotated[Dataset, BeforeValidator(_by_name)]


class Fusion(Joined):
    """A few complete cases and all cases of another data set, of which some organs are kept.

    There is no cross-validation: fold f is the f-th random choice of complete patients that train.
    All other patients of their data set are tested; the partially labelled data set is not.
    """

    summary: ClassVar[str] = "a complete and a partially labelled data set, trained together"
    source: ClassVar[str] = "two other data sets"
    label_fractions: ClassVar[tuple[int, ...]] = (100,)
    size_option: ClassVar[str] = "n_full"
    tested: ClassVar[tuple[str, ...]] = (FULL,)
    nested: ClassVar[tuple[str, ...]] = (FULL, PARTIAL)

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
            same_channels(partial, info.data[FULL], FULL)
        return partial

    @field_validator("keeps")
    @classmethod
    def _known(cls, keeps: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for part in (FULL, PARTIAL):
            if part in info.data:
                known_organs(keeps, info.data[part], f"organ of {part}")
        return keeps

    @property
    @override
    def n_tested_train(self) -> int | None:
        return self.n_full

    @property
    def name(self) -> str:
        """Both data sets, the kept organs and the number of complete patients."""
        return format_brackets("fusion", self._named(self.full.name, self.partial.name))

    @property
    @override
    def label(self) -> str:
        named = self._named(self.full.label, self.partial.label)
        return format_brackets("fusion", named | self.scaling)

    @property
    @override
    def organs(self) -> tuple[str, ...]:
        return self.full.organs

    @property
    @override
    def members(self) -> tuple[Member, ...]:
        return (
            Member(domain=FULL, dataset=self.full),
            Member(
                domain=PARTIAL,
                dataset=self.partial,
                keeps=known_organs(self.keeps, self.partial, "organ of partial"),
            ),
        )

    def _named(self, full: str, partial: str) -> dict[str, Any]:
        return {FULL: full, PARTIAL: partial, "keeps": self.keeps, "n_full": self.n_full}
