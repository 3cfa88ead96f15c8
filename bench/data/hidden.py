"""The complete labels. Only simulation, evaluation and audit may import this module.

The import contracts of ``pyproject.toml`` enforce it: nothing that trains can reach a hidden label.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from bench.data.archive import open_npz
from bench.data.dataset import Case
from bench.data.geometry import Geometry
from bench.params import Params


class TruthCase(Params):
    """A case, its annotation flags and its geometry."""

    case: Case
    geometry: Geometry


class TruthIndex(Params):
    """All cases with complete labels."""

    organs: tuple[str, ...]
    cases: tuple[TruthCase, ...]


class CompleteLabels:
    """Read access to the output of :class:`bench.stages.truth.Truth`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.index = TruthIndex.model_validate_json((folder / "index.json").read_text())
        self._cases = {entry.case.id: entry for entry in self.index.cases}

    def __getitem__(self, case_id: str) -> TruthCase:
        return self._cases[case_id]

    def labels_XYZ(self, case_id: str) -> NDArray[np.uint8]:
        """Return the complete label map of a case in canonical orientation."""
        with open_npz(self._folder / f"{case_id}.npz") as archive:
            labels: NDArray[np.uint8] = archive["labels_XYZ"]
        return labels


def write_truth(file: IO[bytes], labels_XYZ: NDArray[np.uint8]) -> None:
    """Write the complete label map of one case."""
    np.savez_compressed(file, labels_XYZ=labels_XYZ)
