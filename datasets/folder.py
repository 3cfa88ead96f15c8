"""Your own data: a folder in nnU-Net v2 or Medical Segmentation Decathlon layout.

``annotations.csv`` adds what both layouts lack: which organ is annotated in which case.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from nibabel.nifti1 import Nifti1Image
from pydantic import field_validator
from typing_extensions import override

from bench.data.annotations import Annotations, clauses, read_annotations, visits
from bench.data.dataset import Case, Dataset, locate
from bench.data.filenames import SUFFIXES, file_stem, in_order, split_channel
from bench.data.image import load_channels
from bench.data.labelmap import MAX_LABEL, load_labels
from bench.data.nifti import load
from bench.errors import BenchError, explain, neutral
from bench.files import absent, file_size
from bench.labels import MAX_ORGANS, VOID, composed, plain
from bench.params import format_brackets
from bench.reporting.text import counted, enumerated

MAX_NAME_BYTES = 100
"""Names of the data set, its organs and channels become parts of file names."""

MAX_DESCRIPTION_BYTES = 2**26
"""Size of ``dataset.json``."""

_OTHER_IMAGES = (".nrrd", ".mha", ".mhd", ".hdr", ".img", ".dcm", ".tif", ".tiff", ".png", ".npz")


class Folder(Dataset):
    """A folder with ``imagesTr``, ``labelsTr``, ``dataset.json``, perhaps ``annotations.csv``."""

    summary: ClassVar[str] = "any folder in nnU-Net v2 or Decathlon (MSD) layout"
    source: ClassVar[str] = "your own data"
    layout: ClassVar[str] = (
        "dataset.json, imagesTr/CASE_0000.nii.gz (or CASE.nii.gz) and labelsTr/CASE.nii.gz"
    )

    table: ClassVar[str] = "annotations.csv"

    where: str = ""
    """Use only cases with these values in ``annotations.csv``, such as ``tier=A|B&split=train``."""

    @field_validator("where")
    @classmethod
    def _one_spelling(cls, where: str) -> str:
        """Normalise the text of a filter, because it enters keys and names."""
        return "&".join(
            f"{column}={'|'.join(sorted(wanted))}" for column, wanted in sorted(clauses(where))
        )

    @property
    def name(self) -> str:
        """``name`` of dataset.json (without it the folder's), and the filter."""
        named = self._description().get("name")
        if named:
            named = _name(self._json, "name", named)
        short = re.sub(r"[^\w.+-]+", "_", named or self.root.resolve().name).strip("_") or "unnamed"
        return format_brackets(short, {"where": self.where} if self.where else {})

    @property
    def organs(self) -> tuple[str, ...]:
        """Names in ``labels`` of dataset.json, by label value."""
        return tuple(dict.fromkeys(self._labels().organs.values()))

    @property
    def channel_names(self) -> tuple[str, ...]:
        """``channel_names`` of dataset.json, or its older ``modality``; else one CT channel."""
        return _read_channels(self._json, self._description())

    def cases(self) -> tuple[Case, ...]:
        """Return the cases that match the filter, sorted by id.

        Raises
        ------
        BenchError
            Folder or dataset.json missing or unusable; an image without label map or the reverse; a
            channel without its file or the reverse; ``annotations.csv`` that names other cases or
            organs; an organ annotated in no case, while others are.
        """
        cases = self.cases_as_source()
        drawn = [any(flags) for flags in zip(*(case.annotated for case in cases), strict=True)]
        for organ, somewhere in zip(self.organs, drawn, strict=True):
            if any(drawn) and not somewhere:
                raise BenchError(
                    f"{_find_table(self.root)}: {organ} is annotated in none of the"
                    f" {len(cases)} cases{f' with {self.where}' if self.where else ''}; remove it"
                    " from dataset.json (and from the label maps) or correct the flags"
                )
        return cases

    @override
    def cases_as_source(self) -> tuple[Case, ...]:
        found = self._find_cases()
        table = _find_table(self.root)
        if (annotations := self._annotations(found)) is not None:
            return tuple(annotations.cases(self.where))
        if self.where:
            raise BenchError(f"where={self.where} needs the columns of {table}, which is missing")
        flags = (True,) * len(self.organs)
        return tuple(Case(id=case, patient=case, annotated=flags) for case in found)

    def remarks(self) -> tuple[str, ...]:
        """Return that no column names patients, if there is a table without one."""
        annotations = self._annotations(self._find_cases())
        return () if annotations is None else annotations.remarks()

    def doubts(self) -> tuple[str, ...]:
        """Return whether files or columns are not read that may be meant to be."""
        found = self._find_cases()
        doubts = list(_unlisted(self._description(), found))
        doubts += [
            f"{folder.name} holds the folders {enumerated(inner)}, which are not read; move their"
            f" scans into {folder.name} itself, or the folders away"
            for folder in (self._images, self._label_maps)
            if (inner := _folders(folder))
        ]
        if (annotations := self._annotations(found)) is not None:
            doubts += annotations.doubts(self.where)
        if annotations is None or annotations.patient is None:
            doubts += visits(found)
        return tuple(doubts)

    def files(self, case: Case) -> tuple[Path, ...]:
        """Return the image, one file or one per channel, and the label map."""
        return *self._image_paths(case), self._label_path(case)

    def image(self, case: Case) -> Nifti1Image:
        """Return the image in the orientation of its file, or of that of the first channel."""
        files = {
            locate(self.name, case.id, path, "image"): path for path in self._image_paths(case)
        }
        if len(files) > 1:
            return load_channels(files)
        ((where, path),) = files.items()
        return load(path, where)

    def labels(self, case: Case) -> Nifti1Image:
        """Return the label map with values 0..K in the order of :attr:`organs`, VOID if ignored."""
        path = self._label_path(case)
        names, ignored = self._labels()
        numbers = {organ: k for k, organ in enumerate(self.organs, start=1)}
        values = {value: numbers[organ] for value, organ in names.items()}
        if ignored is not None:
            values[ignored], names[ignored] = VOID, "ignore"
        return load_labels(path, values, names, locate(self.name, case.id, path, "label map"))

    @property
    def _json(self) -> Path:
        return _entry(self.root, "dataset.json")

    @property
    def _images(self) -> Path:
        return _entry(self.root, "imagesTr")

    @property
    def _label_maps(self) -> Path:
        return _entry(self.root, "labelsTr")

    def _annotations(self, found: tuple[str, ...]) -> Annotations | None:
        """Return the flags of the cases that were found; None without a table."""
        table = _find_table(self.root)
        return read_annotations(table, self.organs, found) if os.path.lexists(table) else None

    def _image_paths(self, case: Case) -> tuple[Path, ...]:
        whole = self._images / case.id
        numbers = range(len(self.channel_names))
        numbered = tuple(_existing(_channel_stem(whole, number)) for number in numbers)
        alone = _existing(whole)  # a case called X_0000 may lie beside the case X
        return (alone,) if os.path.lexists(alone) or not os.path.lexists(numbered[0]) else numbered

    def _label_path(self, case: Case) -> Path:
        return _existing(self._label_maps / case.id)

    def _description(self) -> dict[str, Any]:
        path = self._json
        if not path.exists():
            what = "file" if self.root.is_dir() else "folder"
            missing = path if self.root.is_dir() else self.root
            inner = sorted(found.parent.name for found in self.root.glob("*/dataset.json"))
            remedy = (
                f"name one below it, {enumerated(inner)}" if inner else f"expected {self.layout}"
            )
            raise BenchError(f"{absent(missing, what)}; {remedy}")
        try:
            if file_size(path) > MAX_DESCRIPTION_BYTES:
                raise ValueError(f"larger than {MAX_DESCRIPTION_BYTES} bytes")
            description = json.loads(path.read_bytes(), object_pairs_hook=_each_once)
        except RecursionError:
            raise BenchError(f"{path}: is nested too deeply; correct the file") from None
        except OSError as error:
            raise BenchError(explain(error)) from None
        except ValueError as error:
            raise BenchError(f"{path}: not readable as JSON ({error}); correct the file") from None
        if not isinstance(description, dict):
            raise BenchError(f"{path}: expected an object with the entry labels")
        return description

    def _labels(self) -> _Labels:
        """Return what the label values mean."""
        return _read_labels(self._json, self._description().get("labels"))

    def _find_cases(self) -> tuple[str, ...]:
        """Return the sorted ids of all cases, each with one image and one label map."""
        if isinstance(self._description().get("dataset"), dict):
            raise BenchError(
                f"{self._json}: names files elsewhere (entry dataset), which"
                " are not read; link them into imagesTr and labelsTr, and remove the entry"
            )
        images = _nifti_names(self._images, self.layout)
        labels = _nifti_names(self._label_maps, self.layout)
        with_image: dict[str, dict[int | None, Path]] = defaultdict(dict)
        for stem, name in images.items():
            case, channel = (stem, None) if stem in labels else split_channel(stem)
            with_image[case][channel] = self._images / name
        for case, files in with_image.items():
            in_order(case, files, self.channels, "dataset.json names")
        alone = sorted(with_image.keys() - labels.keys())
        if alone and (others := sorted(labels.keys() - with_image.keys())):
            raise BenchError(
                f"{self._label_maps}: no label map for {enumerated(alone)}, and no image for"
                f" {enumerated(others)}; call a label map as its image, without the number of the"
                f" channel{_unread(self._label_maps)}"
            )
        if alone:
            raise BenchError(
                f"{self._label_maps}: no label map for {enumerated(alone)}; add it (empty,"
                " with all flags 0 in annotations.csv, if nothing is annotated) or remove the image"
                f"{_unread(self._label_maps)}"
            )
        if alone := sorted(labels.keys() - with_image.keys()):
            raise BenchError(
                f"{self._images}: no image for the label maps {enumerated(alone)}; add"
                f" it or remove the label map{_unread(self._images)}"
            )
        if not with_image:
            unread = _unread(self._images)
            raise BenchError(f"{self._images}: no case found; expected {self.layout}{unread}")
        return tuple(sorted(with_image))


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the entries of an object; of two with one name JSON keeps the last without a word."""
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise ValueError(f"{name!r} stands in it {count} times")
    return dict(pairs)


def _channel_stem(whole: Path, number: int) -> Path:
    return whole.with_name(f"{whole.name}_{number:04d}")


def _stem(name: str) -> str | None:
    """Return the name of a NIfTI file without its suffix, accents composed; None for others."""
    stem = file_stem(name)
    return None if stem is None else composed(stem)


def _existing(stem: Path) -> Path:
    """Return the NIfTI file of this name; the first name it could have if there is none."""
    paths = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    for path in paths:
        if path.is_file():
            return path
    # Another spelling of the suffix or of accents.
    others = sorted(stem.parent.iterdir()) if stem.parent.is_dir() else []
    return next((path for path in others if _stem(path.name) == stem.name), paths[0])


def _nifti_names(folder: Path, layout: str) -> dict[str, str]:
    """Return stem -> file name of the images in a folder, hidden files left out."""
    if not folder.is_dir():
        raise BenchError(f"{absent(folder, 'folder')}; expected {layout}")
    names: dict[str, str] = {}
    doubtful: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        stem = _stem(path.name)
        if stem is None and path.name.lower().removesuffix(".gz").endswith(_OTHER_IMAGES):
            raise BenchError(f"{path}: only NIfTI is read; convert the images to .nii.gz")
        if stem is None:
            if SUFFIXES[-1] in path.name.lower():
                doubtful.append(path)
            continue
        if neutral(path.name) != path.name:
            raise BenchError(f"{path}: the file name holds control characters; rename the file")
        if stem in names:
            raise BenchError(f"{folder}: both {names[stem]} and {path.name}; remove one of them")
        names[stem] = path.name
    for path in doubtful:
        if not path.name.startswith(tuple(names.values())):  # no file about an image, such as .md5
            raise BenchError(
                f"{path}: a name that ends neither with .nii nor with .nii.gz; finish the download"
                " and rename it, or remove it"
            )
    return names


def _entry(root: Path, name: str) -> Path:
    """Return the file or folder of this name, whatever its capitals; as given without one."""
    inside = root.iterdir() if root.is_dir() else ()
    alike = sorted(path for path in inside if path.name.lower() == name.lower())
    if len(alike) > 1:
        raise BenchError(f"{root}: both {alike[0].name} and {alike[1].name}; remove one of them")
    return alike[0] if alike else root / name


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, hidden ones left out."""
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def _unread(folder: Path) -> str:
    """Return the end of a message about files that may lie in folders of a folder."""
    inner = _folders(folder)
    return f" (not read: the folders in it, {enumerated(inner)})" if inner else ""


def _find_table(root: Path) -> Path:
    """Return ``annotations.csv``, whether or not it exists; refuse what may be meant as it."""
    table = root / "annotations.csv"
    alike = sorted(
        path
        for path in (root.iterdir() if root.is_dir() else ())
        if re.match(r"annotations?\b", path.name, re.IGNORECASE) and not path.is_dir()
    )
    spelt = [path for path in alike if path.name.lower() == table.name]
    if len(spelt) > 1 or (alike and not spelt):
        raise BenchError(
            f"{alike[0]}: flags are read from one file annotations.csv; rename this one, or move it"
            " away"
        )
    return spelt[0] if spelt else table


def _unlisted(description: Mapping[str, Any], found: tuple[str, ...]) -> Iterator[str]:
    """Yield whether dataset.json lists other training cases than were found."""
    number, entries = description.get("numTraining"), description.get("training")
    listed = set()
    for entry in entries if isinstance(entries, list) else []:
        image = entry.get("image") if isinstance(entry, dict) else entry
        name = Path(image).name if isinstance(image, str) else ""
        if (stem := _stem(name)) is not None:
            listed.add(stem if stem in found else split_channel(stem)[0])
    if missing := sorted(listed - set(found)):
        yield (
            f"dataset.json lists {counted(len(listed), 'training case')}, the folder holds"
            f" {len(found)}; missing: {enumerated(missing)}"
        )
    elif isinstance(number, int) and number != len(found):
        yield (
            f"dataset.json announces {counted(number, 'training case')} (numTraining), the folder"
            f" holds {len(found)}; is the download complete?"
        )


def _read_channels(path: Path, description: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the channels in the order of their numbers."""
    channels = description.get("channel_names", description.get("modality", {"0": "CT"}))
    numbers = [str(number) for number in range(len(channels))] if isinstance(channels, dict) else []
    if not numbers or set(channels) != set(numbers):
        raise BenchError(
            f'{path}: channel_names {channels!r}; number the channels from 0: {{"0": "T2", "1":'
            ' "ADC"}'
        )
    return tuple(_name(path, "channel", channels[number]) for number in numbers)


def _name(path: Path, what: str, name: Any) -> str:
    """Return a name of dataset.json that fits into tables, file names and terminals."""
    text = composed(str(name))
    if len(text.encode(errors="replace")) > MAX_NAME_BYTES:
        start = text[: MAX_NAME_BYTES // 2]
        raise BenchError(f"{path}: {what} {start}... is longer than {MAX_NAME_BYTES} bytes")
    if neutral(text) != text:
        raise BenchError(f"{path}: {what} {text} holds control characters; remove them")
    return text


class _Labels(NamedTuple):
    """Meaning of the values of the label maps."""

    organs: dict[int, str]
    """Value -> organ, sorted by value; a region has several values."""
    ignored: int | None
    """Value of voxels that nobody annotated."""


def _read_labels(path: Path, labels: Any) -> _Labels:
    """Return what the label values mean, in either convention."""
    if not isinstance(labels, dict) or not labels:
        raise BenchError(f'{path}: no object "labels"; write {{"background": 0, "liver": 1}}')
    decathlon = all(key.isdecimal() and isinstance(name, str) for key, name in labels.items())
    pairs = [(v, k) for k, v in labels.items()] if decathlon else list(labels.items())
    names: dict[str, list[int]] = {}
    for text, value in pairs:
        name = _name(path, "label", text).strip()
        if not plain(name):
            raise BenchError(f"{path}: a label has no name; give it one")
        if alike := [other for other in names if plain(other) == plain(name)]:
            raise BenchError(
                f"{path}: the labels {alike[0]} and {name} are the same name, capitals and blanks"
                " aside; give one organ one label, or a list of values"
            )
        values = value if isinstance(value, list) else [value]
        names[name] = sorted({_label_value(path, name, single) for single in values})
        if not names[name]:
            raise BenchError(f"{path}: label {name} has no value; give it one, or remove it")
    _refuse_overlap(path, names)
    ignored = names.pop(next((name for name in names if name.lower() == "ignore"), ""), None)
    if ignored is not None and (len(ignored) > 1 or ignored == [0]):
        raise BenchError(f"{path}: label ignore has values {ignored}, expected one from 1")
    organs = {value: name for name, values in names.items() for value in values}
    nothing = organs.get(0, "background")
    if len(names.get(nothing, [0])) > 1:
        raise BenchError(f"{path}: label {nothing} has 0, the background, among its values")
    if not nothing.lower().startswith("background"):
        raise BenchError(
            f"{path}: label {nothing} has value 0, which is the background; give organs values from"
            " 1, or call it background"
        )
    organs.pop(0, None)
    n_organs = len(set(organs.values()))
    if not 1 <= n_organs <= MAX_ORGANS:
        raise BenchError(f"{path}: {n_organs} organs, expected 1 to {MAX_ORGANS}")
    return _Labels(dict(sorted(organs.items())), None if ignored is None else ignored[0])


def _label_value(path: Path, name: str, value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"\d+(\.0+)?", str(value)):
        raise BenchError(f"{path}: label {name} has value {value!r}, expected a whole number")
    number = int(str(value).partition(".")[0])
    if number > MAX_LABEL:
        raise BenchError(f"{path}: label {name} has value {value}, more than {MAX_LABEL}")
    return number


def _refuse_overlap(path: Path, names: Mapping[str, list[int]]) -> None:
    """Raise if a value belongs to two labels; regions that overlap are no organs."""
    holders = defaultdict(list)
    for name, values in names.items():
        for value in values:
            holders[value].append(name)
    shared = {value: held for value, held in holders.items() if len(held) > 1}
    if not shared:
        return
    value, (first, second, *_) = min(shared.items())
    if len(names[first]) == len(names[second]) == 1:
        raise BenchError(f"{path}: {first} and {second} both have value {value}")
    inner = {value: min(held, key=lambda name: len(names[name])) for value, held in holders.items()}
    whole = {name: all(inner[value] == name for value in names[name]) for name in names}
    parts: dict[str, list[int]] = defaultdict(list)
    for single, name in sorted(inner.items()):
        parts[name if whole[name] else f"rest_of_{name}"].append(single)
    written = {name: held if len(held) > 1 else held[0] for name, held in parts.items()}
    raise BenchError(
        f"{path}: value {value} is in both regions {first} and {second}; organs must not overlap."
        f" Name the parts: {json.dumps(written)}"
    )
