"""What lies in a folder that is to be segmented, and below it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import BenchError, explain
from bench.experiment.outputs import written_into
from bench.files import ARCHIVES, UNFINISHED_DOWNLOADS, dead_link
from bench.reporting.text import counted

_UNREAD = {
    (".nrrd", ".nhdr", ".mha", ".mhd", ".img", ".mgz", ".mgh", ".mnc"): (
        "in a format that is not read; convert them to NIfTI"
    ),
    ARCHIVES: "packed; unpack them if scans are inside",
    UNFINISHED_DOWNLOADS: "unfinished downloads; finish and rename them",
}
"""Ends of the names of files that may hold scans and are not read, and what to do."""


@dataclass
class Below:
    """What a folder and those below it hold: hidden files are passed over, links not followed."""

    folder: Path
    images: list[Path] = field(default_factory=list)
    """NIfTI files of the folder itself, without what earlier calls wrote into it."""
    deeper: list[Path] = field(default_factory=list)
    """Those further below."""
    series: list[Path] = field(default_factory=list)
    """Folders with DICOM files."""
    problems: list[BenchError] = field(default_factory=list)
    """What may be a scan and cannot be opened."""
    _unread: dict[str, list[Path]] = field(default_factory=dict)
    _links: list[Path] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> Below:
        """Look through a folder; pixels stay unread."""
        found = cls(folder)

        def refused(error: OSError) -> None:
            found.problems.append(BenchError(explain(error)))

        for root, folders, names in os.walk(folder, onerror=refused):
            here = Path(root)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found._links += [here / name for name in folders if (here / name).is_symlink()]
            own = written_into(here)
            found._sort(here, [n for n in sorted(names) if not n.startswith(".") and n not in own])
        return found

    def _sort(self, here: Path, names: Sequence[str]) -> None:
        """Take the files of one folder."""
        from bench.data.filenames import SUFFIXES

        others = []
        for name in names:
            end = next((ends for ends in _UNREAD if name.lower().endswith(ends)), None)
            if name.lower().endswith(SUFFIXES):
                (self.images if here == self.folder else self.deeper).append(here / name)
            elif end is not None:
                self._unread.setdefault(_UNREAD[end], []).append(here / name)
            else:
                others.append(here / name)
        problems: list[BenchError] = []
        if any(_is_dicom(file, problems) for file in others):
            self.series.append(here)  # whoever reads it names the files that cannot be read
        else:
            self.problems += problems

    @property
    def below(self) -> str:
        """How many NIfTI files lie further below, and where the first is; empty without any."""
        if not self.deeper:
            return ""
        n, first = len(self.deeper), self.deeper[0]
        return (
            f"the NIfTI file {first} lies below it"
            if n == 1
            else f"{n} NIfTI files lie below it, the first {first}"
        )

    def notes(self) -> Iterator[str]:
        """Yield what is not segmented, a line for each kind."""
        if self.below:
            yield f"{self.folder}: {self.below}, not segmented; name those that are scans"
        for what, files in self._unread.items():
            yield (
                f"{self.folder}: {counted(len(files), 'file')} not segmented, the first"
                f" {files[0]}: {what}"
            )
        if self._links:
            n, first = len(self._links), self._links[0]
            yield (
                f"{self.folder}: {counted(n, 'link')} to folders not followed, the first"
                f" {first}; name the folders that hold scans"
            )


def _is_dicom(file: Path, problems: list[BenchError]) -> bool:
    """Tell whether a file is DICOM, and note one of which it cannot be told."""
    from bench.data.dicom import SLICE_SUFFIXES, is_dicom

    try:
        if file.is_file():
            return is_dicom(file)
    except OSError as error:
        problems.append(BenchError(explain(error)))
    if file.suffix.lower() in (*SLICE_SUFFIXES, "") and (gone := dead_link(file)):
        problems.append(BenchError(f"{file}: {gone}"))
    return False
