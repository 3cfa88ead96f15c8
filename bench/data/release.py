"""Base class of adapters of public data sets, which are read as they are downloaded.

An adapter states facts: patterns of file names, label values, who was annotated. What is common to
all of them is here: the search below a folder, the views on some organs, scans without labels.
"""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import numpy as np
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from bench.data.dataset import Case, Dataset, locate
from bench.data.filenames import file_stem
from bench.data.geometry import Geometry
from bench.data.labelmap import load_labels
from bench.data.nifti import load, load_geometry
from bench.data.tree import contents, expression, file_names, walk
from bench.errors import BenchError, unknown_name
from bench.files import ARCHIVES, UNFINISHED_DOWNLOADS
from bench.labels import VOID
from bench.params import Added, format_brackets, parse_brackets
from bench.plugins import registry
from bench.reporting.text import counted, enumerated

PAPER7 = ("liver", "gallbladder", "spleen", "kidney_l", "kidney_r", "pancreas", "stomach")
"""The seven organs of the paper, in its order; ``organs=paper7``."""

ORGANS = (
    *PAPER7,
    *("esophagus", "aorta", "ivc", "portal_splenic_vein", "adrenal_l", "adrenal_r", "duodenum"),
    *("bladder", "prostate_uterus", "colon", "intestine", "rectum", "femur_head_l"),
    *("femur_head_r", "kidney", "adrenal", "lung", "bone", "brain"),
)
"""What organs are called in every adapter."""

BACKGROUND = ""
"""Organ of a label value that counts as background."""

UNKNOWN = "?"
"""Organ of a label value that may lie in any organ, such as a tumour of which nobody says where."""

HEADER_TOLERANCE = 0.01
"""Share of a voxel by which the header of a label map may differ from that of its image."""

Key = tuple[str, int]
"""Id and number of a scan."""


class Scans(NamedTuple):
    """Patterns of the files of some scans; image and label map share a number.

    ``{n}`` is the number, ``*`` any part of a name, and ``.nii`` also means ``.nii.gz``. Folders
    above the first are free. A pattern that ends with ``/`` is a folder.
    """

    case: str
    """Format of the ids of these cases: ``lits_{:03d}``."""
    image: str
    labels: str = ""
    """Empty for scans that nobody annotated."""
    own_header: bool = True
    """Whether the header of the label map must agree with that of the image."""


class Archive(NamedTuple):
    """A file of the download."""

    digest: str
    """``sha256:...`` or ``md5:...``."""
    url: str = ""
    """Where a plain request gets it, if the licence is an open one."""


class Files(NamedTuple):
    """The files of one scan."""

    number: int
    scans: Scans
    image: Path
    labels: Path | None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Image, and label map if there is one: files or folders."""
        return (self.image, self.labels) if self.labels else (self.image,)


class Release(Dataset):
    """A public data set in the tree of its own archives."""

    called: ClassVar[str]
    """Name of the data set without its options."""
    licence: ClassVar[str]
    citation: ClassVar[str]
    urls: ClassVar[tuple[str, ...]]
    """Pages where to get it, the best first."""
    scans: ClassVar[tuple[Scans, ...]]
    values: ClassVar[Mapping[int, str]]
    """Label value -> organ. Values of one organ are united: ``{1: "liver", 2: "liver"}``."""
    unmeasured: ClassVar[Collection[int]] = ()
    """Scans whose headers have no true voxel size: distances on them are not measurable."""
    no_labels: ClassVar[Collection[int]] = ()
    """Scans to which the release has no label map."""
    left_out: ClassVar[Collection[int]] = ()
    """Scans that are not read: no CT, or the same as another."""
    defects: ClassVar[Mapping[int, str]] = {}
    """What is known to be wrong with a scan, for ``bench data check``."""
    choices: ClassVar[tuple[str, ...]] = ("",)
    """Options in brackets that choose another part of the release, for lists."""
    archives: ClassVar[Mapping[str, Archive]] = {}
    """Files of the download by name."""

    view: Annotated[str, Added()] = Field(default="", alias="organs")
    """Organs to look at: ``paper7``, or a list as in ``liver:spleen``. Those that the data set does
    not draw are annotated nowhere."""
    unlabelled: Annotated[bool, Added()] = False
    """Add the scans without any annotated organ; they train and are never tested."""

    @classmethod
    @override
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        if hasattr(cls, "urls"):
            cls.source = f"{' or '.join(cls.urls)} ({cls.licence})"

    @field_validator("view")
    @classmethod
    def _listed(cls, view: str) -> str:
        names = [name.strip() for name in view.split(":")]
        if view and (not all(names) or len(set(names)) < len(names)):
            raise ValueError("write paper7, or organs once each, separated by colons")
        return ":".join(names)

    @model_validator(mode="after")
    def _sees_something(self) -> Self:
        if self.view:
            own = self.own_organs
            for organ in self.organs:
                if organ not in (*own, *ORGANS):
                    raise unknown_name(f"organ of {self.called}", organ, (*own, *ORGANS, "paper7"))
            if not set(self.organs) & set(own):
                raise BenchError(
                    f"{self.called} draws {', '.join(own)}: organs={self.view} leaves none of them"
                )
        return self

    @property
    def name(self) -> str:
        """Name and every option that makes it other data."""
        same_data = ("hu_window", "intensity", "unlabelled")
        options = {name: value for name, value in self.overrides().items() if name not in same_data}
        return format_brackets(self.called, options)

    @property
    @override
    def namespace(self) -> str:
        """All releases share one: some hold scans of another, under its names of patients."""
        return "public releases"

    @property
    def own_organs(self) -> tuple[str, ...]:
        """Every organ that the data set draws, by label value."""
        drawn = (organ for _, organ in sorted(self.label_values().items()))
        return tuple(dict.fromkeys(organ for organ in drawn if organ not in (BACKGROUND, UNKNOWN)))

    @property
    @override
    def organs(self) -> tuple[str, ...]:
        if not self.view:
            return self.own_organs
        return PAPER7 if self.view == "paper7" else tuple(self.view.split(":"))

    def label_values(self) -> Mapping[int, str]:
        """Return label value -> organ, :data:`BACKGROUND` or :data:`UNKNOWN`."""
        return self.values

    def patterns(self) -> tuple[Scans, ...]:
        """Return the patterns of the files."""
        return self.scans

    def has_labels(self, scans: Scans, number: int) -> bool:
        """Tell whether the release has a label map to an image."""
        return number not in self.no_labels

    def reads(self, scans: Scans, number: int) -> bool:
        """Tell whether a scan is read at all."""
        return number not in self.left_out

    def lacks_spacing(self, number: int) -> bool:
        """Tell whether the header of a scan has no true voxel size."""
        return number in self.unmeasured

    def draws(self, name: str) -> bool:
        """Tell whether a file in the folder of a label map is a part of it."""
        return True

    def annotated(self, files: Files) -> Collection[str]:
        """Return the organs that were drawn in a scan; a fact about its group, not its voxels."""
        return self.own_organs

    def patient(self, case: str, files: Files) -> str:
        """Return the patient of a scan, by the name that the set it was first in gives."""
        return case

    def cases(self) -> tuple[Case, ...]:
        """Return the scans sorted by id.

        Raises
        ------
        BenchError
            No scan found (with source and expected files), an image without its label map or the
            reverse, two files for one scan, an unfinished download, a label map without any file.
        """
        cases = self._all_cases
        labelled = tuple(case for case in cases if any(case.annotated))
        if not labelled:
            raise BenchError(
                f"{self.root}: no scan of {self.name} with an annotated organ below it; get the"
                f" label maps from {self.source}; expected {self.layout}"
            )
        return cases if self.unlabelled else labelled

    def annotated_pairs(self) -> int | None:
        """Return the annotated (case, organ) pairs of the whole release, None if unknown."""
        cases, _ = self.expected()
        return None if cases is None else cases * len(self.own_organs)

    def downloads(self) -> Mapping[str, Archive]:
        """Return the archives of what was chosen."""
        return self.archives

    @property
    def _ways(self) -> str:
        """How to get the data, in words."""
        archives = self.downloads().values()
        if archives and all(archive.url for archive in archives):
            return f"with `bench data download {shlex.quote(self.label)}`, or from {self.source}"
        return f"from {self.source}"

    @override
    def defects_of(self, case: Case) -> tuple[str, ...]:
        number = self.file_of(case).number
        return (self.defects[number],) if number in self.defects else ()

    @override
    def remarks(self) -> tuple[str, ...]:
        parents = [path.parent for files in self._found.values() for path in files.paths]
        folder = os.path.commonpath(parents)
        lines = [f"found below {folder}"]
        left_out = len(self._all_cases) - len(self.cases())
        if left_out:
            lines.append(
                f"{counted(left_out, 'scan')} without an annotated organ left out; unlabelled=true"
                " adds them to training"
            )
        return tuple(lines)

    @override
    def doubts(self) -> tuple[str, ...]:
        return *self._strangers(), *self._still_packed()

    def _strangers(self) -> Iterator[str]:
        """Yield which files in the folders of label maps are no part of them."""
        strangers = [
            (name, files.labels)
            for files in self._found.values()
            for name in _drawn_in(files)
            if not self.draws(name)
        ]
        if strangers:
            number = Counter(name for name, _ in sorted(strangers))
            scans = [f"{name} (in {counted(n, 'scan')})" for name, n in number.items()]
            yield (
                "files among the label maps that are no organ by their name are not read, and an"
                f" organ without a file counts as outside the scan: {enumerated(scans)}, the first"
                f" in {strangers[0][1]}; rename those that are an organ, remove the others"
            )

    def _still_packed(self) -> Iterator[str]:
        """Yield which archives lie beside the scans, if scans are missing."""
        complete, _ = self.expected()
        labelled = sum(any(case.annotated) for case in self._all_cases)
        if self._packed and complete is not None and labelled < complete:
            yield f"still packed: {enumerated(self._packed)}; unpack what holds the missing scans"

    @override
    def files(self, case: Case) -> tuple[Path, ...]:
        return self.content(self.file_of(case))

    def content(self, files: Files) -> tuple[Path, ...]:
        """Return the single files of a scan that are read."""
        return tuple(file for path in files.paths for file in contents(path))

    @override
    def image(self, case: Case) -> Nifti1Image:
        from bench.data.dicom import read_series

        path = self.file_of(case).image
        where = locate(self.name, case.id, path, "image")
        return read_series(path) if path.is_dir() else load(path, where)

    def labels(self, case: Case) -> Nifti1Image:
        """Return the label map on the grid of the image; empty for a scan without labels."""
        files = self.file_of(case)
        grid = self.geometry(case)
        affine = np.asarray(grid.native_affine)
        if files.labels is None or not any(case.annotated):
            return Nifti1Image(np.zeros(grid.native_shape, np.uint8), affine)
        return placed(self.read_labels(case, files.labels), affine, files)

    def geometry(self, case: Case) -> Geometry:
        """Return the voxel grid of the image."""
        from bench.data.dicom import find_series

        path = self.file_of(case).image
        if path.is_dir():
            series = find_series(path)
            return Geometry.of(series.shape, series.affine)
        return load_geometry(path, locate(self.name, case.id, path, "image"))

    def read_labels(self, case: Case, path: Path) -> Nifti1Image:
        """Return the label map of a scan, 0..K in the order of :attr:`organs`."""
        names = self.label_values()
        values = {value: self.number(organ) for value, organ in names.items()}
        return load_labels(path, values, names, locate(self.name, case.id, path, "label map"))

    def number(self, organ: str) -> int:
        """Return the label of an organ, 0 if it is not among those looked at."""
        if organ == UNKNOWN:
            return VOID
        return self.organs.index(organ) + 1 if organ in self.organs else 0

    @cached_property
    def _all_cases(self) -> tuple[Case, ...]:
        return tuple(self._case(case, files) for case, files in self._found.items())

    def _case(self, case: str, files: Files) -> Case:
        drawn = self.annotated(files) if files.labels else ()
        flags = tuple(organ in drawn for organ in self.organs)
        return Case(
            id=case,
            patient=self.patient(case, files),
            annotated=flags,
            trains_in=None if any(flags) else "all",
            spacing_known=not (files.labels and self.lacks_spacing(files.number)),
        )

    def file_of(self, case: Case) -> Files:
        """Return the files of a case."""
        if case.id not in self._found:
            raise BenchError(f"{self.name} has no case {case.id}")
        return self._found[case.id]

    @cached_property
    def _found(self) -> dict[str, Files]:
        """Return the files of every scan by its id, sorted."""
        return dict(sorted(self._find().items()))

    def _find(self) -> dict[str, Files]:
        """Look for the files of every scan."""
        images, labels = self._places()
        self._refuse_unfinished({path for _, path in (*images.values(), *labels.values())})
        if not images and not labels:
            packed = self._packed
            remedy = (
                f"unpack {', '.join(packed[:3])}{' and others' if len(packed) > 3 else ''}"
                if packed
                else f"get the data {self._ways}"
            )
            raise BenchError(
                f"no scan of {self.called} found below {self.root}; {remedy}; expected"
                f" {self.layout}"
            )
        found, alone = {}, {}
        for (case, number), (scans, image) in images.items():
            _, drawn = labels.pop((case, number), (scans, None))
            if drawn is None and scans.labels and self.has_labels(scans, number):
                alone[number] = image
            found[case] = files = Files(number, scans, image, drawn)
            if drawn and drawn.is_dir() and not any(map(self.draws, _drawn_in(files))):
                raise BenchError(f"{drawn}: holds no label map; complete the download")
        _refuse_alone(alone, "label map")
        _refuse_alone({number: path for (_, number), (_, path) in labels.items()}, "image")
        return found

    def _places(self) -> tuple[dict[Key, tuple[Scans, Path]], ...]:
        """Return the images and the label maps below the root by id and number."""
        rules = [
            (kind, scans, expression(pattern))
            for scans in self.patterns()
            for kind, pattern in enumerate((scans.image, scans.labels))
            if pattern
        ]
        places: tuple[dict[Key, tuple[Scans, Path]], ...] = {}, {}
        for path in self._paths:
            for kind, scans, pattern in rules:
                if match := pattern.fullmatch(path):
                    number = int(match["n"])
                    if not self.reads(scans, number):
                        continue
                    key = scans.case.format(number), number
                    if key in places[kind]:
                        raise BenchError(
                            f"{self.root / path}: number {number} is also {places[kind][key][1]};"
                            " keep one"
                        )
                    places[kind][key] = scans, self.root / path
        return places

    def _refuse_unfinished(self, folders: Collection[Path]) -> None:
        """Raise if an image or a file in one of the folders of scans is not yet whole."""
        present = frozenset(self._paths)
        cut = [
            self.root / path
            for path in self._paths
            if path.lower().endswith(UNFINISHED_DOWNLOADS)
            and (whole := os.path.splitext(path)[0]) not in present
            and (file_stem(whole) is not None or (self.root / path).parent in folders)
        ]
        if cut:
            more = f", and {len(cut) - 1} more" if len(cut) > 1 else ""
            raise BenchError(
                f"{cut[0]}: an unfinished download{more}; finish and rename it, or remove it"
            )

    @cached_property
    def _paths(self) -> tuple[str, ...]:
        """Return every file and folder below the root (:func:`bench.data.tree.walk`)."""
        return tuple(walk(self.root))

    @property
    def _packed(self) -> list[str]:
        """The archives below the root."""
        return [path for path in self._paths if path.lower().endswith(ARCHIVES)]


def release(name: str) -> type[Release]:
    """Return a public release by name.

    Raises
    ------
    BenchError
        Unknown name, or another kind of data set.
    """
    cls = registry.load("datasets", name, Dataset)  # type: ignore[type-abstract]
    if not issubclass(cls, Release):
        raise BenchError(f"{name}: is no public release")
    return cls


def every_choice() -> list[tuple[str, Dataset | type[Dataset]]]:
    """Return the name of every data set, and each release with every part to choose.

    What is no release is returned as its class.
    """
    found: list[tuple[str, Dataset | type[Dataset]]] = []
    for name in registry.names("datasets"):
        cls = registry.load("datasets", name, Dataset)  # type: ignore[type-abstract]
        if not issubclass(cls, Release):
            found.append((name, cls))
            continue
        for choice in cls.choices:
            _, options = parse_brackets(f"{name}{choice}")
            found.append((name + choice, cls.from_overrides("data set", name, options)))
    return found


def numbers(text: str) -> frozenset[int]:
    """Return the numbers of a list such as ``1 5 8-10``."""
    found: set[int] = set()
    for part in text.split():
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def placed(labels: Nifti1Image, affine: NDArray[np.floating[Any]], files: Files) -> Nifti1Image:
    """Return labels with the header of their image, unless that is another grid.

    Such labels are refused with the distance where image and labels meet.
    """
    if files.scans.own_header and not _close(labels.affine, affine):
        return labels
    return Nifti1Image(labels.dataobj, affine)


def _drawn_in(files: Files) -> list[str]:
    """Return the names in the folder of a label map, hidden ones left out; of a file none."""
    if files.labels is None or not files.labels.is_dir():
        return []
    return file_names(files.labels)


def _close(affine: NDArray[np.floating[Any]], other: NDArray[np.floating[Any]]) -> bool:
    """Tell whether two headers mean one grid, as far as rounding of the release goes."""
    voxel = float(np.linalg.norm(other[:3, :3], axis=0).min())
    return bool(np.abs(affine - other).max() < HEADER_TOLERANCE * voxel)


def _refuse_alone(alone: Mapping[int, Path], missing: str) -> None:
    """Raise if there are scans of which one half is missing."""
    if alone:
        numbers = sorted(alone)
        more = " and more" if len(numbers) > 10 else ""
        raise BenchError(
            f"{alone[numbers[0]]}: no {missing} for number {', '.join(map(str, numbers[:10]))}"
            f"{more}; complete the download"
        )
