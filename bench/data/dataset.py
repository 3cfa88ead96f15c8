"""Base class of data sets: organs, cases, which organ is annotated in which case.

"Annotated" and "present" are different things: an annotated organ may have no voxel in a scan, and
an organ in the body may be unannotated. The flags are part of the data set; they are never inferred
from a label map.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import BeforeValidator, field_validator

from bench.data.intensity import Channel, Rule, rule_of
from bench.errors import BenchError, neutral
from bench.params import Added, Params, RuntimeOnly, format_brackets, parse_brackets, split_colons
from bench.stage import Part

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image


class Case(Params):
    """One scan. Scans of one patient share ``patient`` and are always in the same fold."""

    id: str
    patient: str
    annotated: tuple[bool, ...]
    """One flag per organ, in the data set's organ order (F)."""
    trains_in: tuple[int, ...] | Literal["all"] | None = None
    """Folds in which it trains; it is tested in the others. None leaves that to the simulator."""
    spacing_known: Annotated[bool, Added()] = True
    """Whether the header gives the size of the voxels; if not, distances are not measurable."""
    domain: Annotated[str | None, RuntimeOnly()] = None
    """The source of a case among several data sets, by which results can be told apart."""

    @field_validator("id")
    @classmethod
    def _names_a_file(cls, value: str) -> str:
        """Refuse what would lead out of the folder that holds a file per case."""
        if value in ("", "..") or Path(value).name != value or neutral(value) != value:
            raise ValueError("must be a file name")
        return value


class Dataset(Part, abc.ABC):
    """A data set: frozen parameters plus the code that reads it.

    A subclass in ``datasets/<name>.py`` is all that is needed to add one. Its parameters (a label
    convention, a filter) enter the keys. ``root``, the folder of the files, does not: a digest of
    their content does.
    """

    summary: ClassVar[str] = ""
    """One line for ``bench list datasets``."""
    source: ClassVar[str] = ""
    """Where to get the data and under which licence."""
    layout: ClassVar[str] = ""
    """The expected files in one line, shown when the data are missing."""
    folders: ClassVar[tuple[str, ...]] = ()
    """Folder names looked for below the data root."""
    complete: ClassVar[int | None] = None
    """Cases of the whole release; ``bench data check`` warns about fewer."""
    present: ClassVar[Mapping[str, int]] = {}
    """Organ -> cases of the whole release that show it, where it is not in all of them."""
    cropped: ClassVar[bool] = False
    """Scans show a part of the body, so that an organ outside of it is no news."""
    sided: ClassVar[bool] = False
    """The sides of its labels are known, so that reversed ones are an error."""
    table: ClassVar[str] = ""
    """File in which its owner says what is annotated, and whose scan it is; "" where nobody can."""
    label_fractions: ClassVar[tuple[int, ...]] = (100, 70, 50, 30, 10)
    """Percentages of labelled volumes that the paper (or this suite) reports for the data set."""

    nested: ClassVar[tuple[str, ...]] = ()
    """Options that name other data sets, several joined by colons."""

    root: Annotated[Path, RuntimeOnly()] = Path()
    hu_window: tuple[float, float] = (-160.0, 240.0)
    """HU range kept and scaled to [0, 1]; ``hu_window=-200:300`` in brackets."""

    intensity: Annotated[tuple[Rule, ...] | None, BeforeValidator(split_colons)] = None
    """How values are scaled to [0, 1]: one rule for all channels, or one for each as in
    ``window:zscore``. By default the rule follows from the channel's name."""

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the C channels of every image; one CT channel by default."""
        return ("CT",)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels with their scaling rules.

        Raises
        ------
        BenchError
            The number of rules is neither one nor the number of channels.
        """
        names = self.channel_names
        rules = self.intensity or tuple(map(rule_of, names))
        if len(rules) == 1:
            rules *= len(names)
        if len(rules) != len(names):
            raise BenchError(
                f"{self.name}: intensity gives {len(rules)} rules for {len(names)} channels"
                f" ({', '.join(names)}); give one for all, or one for each"
            )
        return tuple(
            Channel(name=name, rule=rule, hu_window=self.hu_window)
            for name, rule in zip(names, rules, strict=True)
        )

    @field_validator("hu_window", mode="before")
    @classmethod
    def _split_window(cls, value: object) -> object:
        return split_colons(value)

    @field_validator("hu_window")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not value[0] < value[1]:
            raise ValueError("the lower end must be below the upper end")
        return value

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Identity of the data in seeds and folder names.

        An option that is not in it, such as ``hu_window``, leaves folds and hidden labels as they
        are, so that runs with and without it are paired.
        """

    @property
    def label(self) -> str:
        """Name in tables: :attr:`name`, and in brackets every option that is not default."""
        name, options = parse_brackets(self.name)
        more = {key: value for key, value in self.overrides().items() if key not in options}
        return format_brackets(name, options | more)

    @property
    def namespace(self) -> str:
        """What names of patients belong to: equal ones are one patient where this is equal."""
        return f"{type(self).__name__} {self.root.resolve()}"

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the data sets that it joins; () for a data set of its own."""
        return ()

    @property
    @abc.abstractmethod
    def organs(self) -> tuple[str, ...]:
        """Names of the K organs; organ k of the label maps (1..K) is ``organs[k - 1]``."""

    @abc.abstractmethod
    def cases(self) -> Sequence[Case]:
        """Return every case, sorted by id, from names and tables alone (no voxel is read).

        Raises
        ------
        BenchError
            Folder missing (with the expected files), no case, files or tables that contradict each
            other.
        """

    def found(self) -> Sequence[Case]:
        """Return :meth:`cases`, if there are any.

        Raises
        ------
        BenchError
            There is none, or as :meth:`cases`.
        """
        cases = self.cases()
        if not cases:
            raise BenchError(
                f"{self.name}: no case found below {self.root}; put the data there, or name the "
                "folder that holds them with --data"
            )
        return cases

    def cases_as_source(self) -> Sequence[Case]:
        """Return the cases where others join them, so that an organ may be annotated in none."""
        return self.cases()

    def expected(self) -> tuple[int | None, Mapping[str, int]]:
        """Return :attr:`complete` and :attr:`present` for the options chosen."""
        return self.complete, self.present

    def owner(self, case: Case) -> tuple[Dataset, Case]:
        """Return the data set that a case is from, and the case there: itself unless it joins."""
        return self, case

    def defects_of(self, case: Case) -> tuple[str, ...]:
        """Return known defects of a case, warnings of ``bench data check``."""
        return ()

    def remarks(self) -> tuple[str, ...]:
        """Return lines for ``bench data check``: where the files are, what is left out."""
        return ()

    def doubts(self) -> tuple[str, ...]:
        """Return what looks wrong in names and tables, as warnings of ``bench data check``."""
        return ()

    @abc.abstractmethod
    def files(self, case: Case) -> tuple[Path, ...]:
        """Return the files of a case, whose content identifies it; () for generated data.

        Image and label map, or one file per channel and the label map, are named in messages.
        """

    @abc.abstractmethod
    def image(self, case: Case) -> Nifti1Image:
        """Return the image in the orientation of its file; CT in HU.

        Three axes; with several channels a fourth one for them, the last
        (:func:`bench.data.image.load_channels`).
        """

    @abc.abstractmethod
    def labels(self, case: Case) -> Nifti1Image:
        """Return the label map of the same shape and affine, integers 0..K, 0 = background.

        :data:`bench.labels.VOID` marks voxels of which nobody says what they are.

        Raises
        ------
        BenchError
            A value that the label convention does not define.
        """


def where_is(dataset: Dataset, case: Case, what: Literal["image", "label map"]) -> str:
    """Return data set, case and file of an image or label map, as the start of a message."""
    files = dataset.files(case)
    if what == "image" and len(files) == 1:
        path: Path | None = files[0]
    elif len(files) in (2, 1 + len(dataset.channels)):
        path = files[0 if what == "image" else -1]
    else:
        path = files[0].parent if files else None
    return locate(dataset.name, case.id, path, what)


def locate(dataset: str, case: str, path: Path | None, what: str) -> str:
    """Return data set, case and file as the start of a message."""
    return f"{dataset}, case {case}, {what} {path if path else '(generated)'}"
