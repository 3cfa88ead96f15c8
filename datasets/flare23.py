"""FLARE23: 2200 partially labelled abdominal CT with up to thirteen organs and a tumour."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cached_property
from pathlib import Path

from typing_extensions import override

from bench.data.release import UNKNOWN, Files, Release, Scans
from bench.data.tree import find, find_file
from bench.errors import BenchError, unknown_name
from bench.files import file_size
from bench.texttable import read_table

TUMOUR = "tumour"
WORKBOOK, TABLE = "FLARE23-DataInfoTraining.xlsx", "FLARE23-annotated.csv"
PUBLIC_NAME = re.compile(r"FLARE23_(?P<n>\d+)_0000\.nii")
CORRECTED = "labelsTr2200/20230507-fix/FLARE23_{n}.nii"


class Flare23(Release):
    """Who drew what depends on the set a scan comes from, its ``Dataset`` in the release's table.

    The release does not say which organs were drawn on each of these sets, and voxels do not tell;
    ``FLARE23-annotated.csv`` beside the table says it: ``Dataset,organs`` and, for example,
    ``LiTS,liver:spleen``. A tumour (14) belongs to an organ that is not named: unknown voxels.
    """

    called = "flare23"
    summary = "2200 abdominal CT, up to 13 organs each, and 1800 without labels (FLARE 2023)"
    licence = "CC BY-NC-ND 4.0"
    citation = "Ma et al., arXiv:2408.12534, 2024"
    urls = ("https://codalab.lisn.upsaclay.fr/competitions/12239 (registration)",)
    layout = (
        "imagesTr2200/FLARE23_NNNN_0000.nii.gz, labelsTr2200/FLARE23_NNNN.nii.gz, "
        f"{WORKBOOK} and {TABLE}"
    )
    folders = ("flare23", "FLARE23", "MICCAI-FLARE23", "Release")
    scans = (
        Scans(
            "flare23_{:04d}", "imagesTr2200/FLARE23_{n}_0000.nii", "labelsTr2200/FLARE23_{n}.nii"
        ),
        Scans("flare23_{:04d}", "unlabel*Tr1800/FLARE23_{n}*.nii"),
    )
    values = {
        1: "liver",
        2: "kidney_r",
        3: "spleen",
        4: "pancreas",
        5: "aorta",
        6: "ivc",
        7: "adrenal_r",
        8: "adrenal_l",
        9: "gallbladder",
        10: "esophagus",
        11: "stomach",
        12: "duodenum",
        13: "kidney_l",
        14: UNKNOWN,
    }
    sided = True
    complete = 2200

    @override
    def annotated_pairs(self) -> None:
        return None

    @override
    def annotated(self, files: Files) -> Collection[str]:
        if files.number not in self._sources:
            raise BenchError(f"{files.image}: no row in {WORKBOOK}; download the table again")
        source = self._sources[files.number]
        if source not in self._groups:
            raise BenchError(
                f"{self.root}: {TABLE} must say which organs were drawn on Dataset {source}: a row"
                f" {source},liver:spleen (or {TUMOUR}, if nothing else was)"
            )
        return self._groups[source]

    @override
    def _find(self) -> dict[str, Files]:
        corrected = find(self.root, CORRECTED)
        return {
            case: files._replace(labels=corrected.get(files.number, files.labels))
            for case, files in super()._find().items()
        }

    @cached_property
    def _sources(self) -> dict[int, str]:
        """Return scan -> ``Dataset`` of the release's table."""
        table = find_file(self.root, WORKBOOK)
        if table is None:
            raise BenchError(f"{self.root}: no {WORKBOOK} below it; get it from {self.source}")
        header, *rows = _rows(table)
        if not {"public_name", "Dataset"} <= set(header):
            raise BenchError(f"{table}: no columns public_name and Dataset")
        name, source = header.index("public_name"), header.index("Dataset")
        found = ((PUBLIC_NAME.match(row[name]), row[source]) for row in rows)
        return {int(match["n"]): source for match, source in found if match}

    @cached_property
    def _groups(self) -> dict[str, tuple[str, ...]]:
        """Return ``Dataset`` -> organs that were drawn."""
        table = find_file(self.root, TABLE)
        if table is None:
            named = ", ".join(sorted(set(self._sources.values())))
            raise BenchError(
                f"{self.root}: no {TABLE} below it; write one with the columns Dataset and organs"
                f" and a row for each of {named}, as in NAME,liver:spleen:{TUMOUR}"
            )
        found = read_table(table)
        if found.names() != ["Dataset", "organs"]:
            raise BenchError(f"{table}: must have two columns, Dataset,organs")
        rows = (row.cells for row in found.rows)
        groups = {source: tuple(organs.split(":")) for source, organs in rows}
        for organs in groups.values():
            for organ in organs:
                if organ not in (*self.own_organs, TUMOUR):
                    raise unknown_name(f"organ in {table}", organ, (*self.own_organs, TUMOUR))
        return groups


def _rows(workbook: Path) -> list[list[str]]:
    """Return the cells of the first sheet as text."""
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise BenchError(
            f"{workbook}: needs openpyxl: pip install 'organ-bench[flare23]'"
        ) from None
    file_size(workbook)
    try:
        sheet = load_workbook(workbook, read_only=True, data_only=True).worksheets[0]
        rows = [
            ["" if cell is None else str(cell).strip() for cell in row]
            for row in sheet.iter_rows(values_only=True)
        ]
    except Exception as error:  # of any kind, for a file that is no workbook
        raise BenchError(f"{workbook}: cannot be read ({error}); download it again") from None
    return [row for row in rows if any(row)] or [[]]
