"""The finished cases of a stage that prepares a data set, kept when it is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from bench.data.dataset import Case, Dataset
from bench.data.fingerprint import is_content, unchanged
from bench.data.geometry import Geometry
from bench.data.pool import map_cases
from bench.errors import BenchError
from bench.files import make_way, replacing, sha256, write_atomically
from bench.params import Params
from bench.stage import StageContext


class Piece(Params):
    """What is known of a finished case."""

    geometry: Geometry
    sources: tuple[str, ...]
    """SHA-256 of the files of the case, as they were when it was read."""
    sha256: str
    """Of the finished file."""


class Pieces:
    """One finished file per case in the scratch folder of a stage."""

    def __init__(self, ctx: StageContext, suffix: str) -> None:
        self._ctx = ctx
        self._folder = ctx.scratch / "cases"
        make_way(self._folder, for_folder=True)
        self._folder.mkdir(exist_ok=True)
        self._suffix = suffix

    def file(self, case: Case) -> Path:
        """Return the finished file of a case."""
        return self._folder / f"{case.id}{self._suffix}"

    def prepare(
        self,
        dataset: Dataset,
        cases: Sequence[Case],
        content: str,
        write: Callable[[Case, IO[bytes]], Geometry],
    ) -> list[Geometry]:
        """Finish every case, those that an earlier run left unfinished.

        Parameters
        ----------
        dataset
            The data set.
        cases
            All of its cases.
        content
            Its fingerprint. Files that were changed since are refused.
        write
            Reads a case, writes its finished file, returns its geometry.

        Raises
        ------
        BenchError
            From ``write``, or the files of the data set are not those of the fingerprint.
        """
        kept = {case.id: piece for case in cases if (piece := self._finished(case))}

        def prepare(case: Case) -> Piece:
            return kept.get(case.id) or self._finish(dataset, case, write)

        done = map_cases(prepare, cases, self._ctx.tick)
        if kept and not is_content(content, cases, [piece.sources for piece in done]):
            kept.clear()  # one of them was made of other files, and nothing tells which
            done = map_cases(prepare, cases, self._ctx.tick)
        if not is_content(content, cases, [piece.sources for piece in done]):
            raise BenchError(
                f"{dataset.name}: its files or its list of cases were changed after the command "
                "had begun; give the command again"
            )
        return [piece.geometry for piece in done]

    def _finish(
        self, dataset: Dataset, case: Case, write: Callable[[Case, IO[bytes]], Geometry]
    ) -> Piece:
        target = self.file(case)
        with (
            unchanged(dataset.files(case)) as sources,
            replacing(target, ours=True) as unfinished,
            unfinished.open("wb") as file,
        ):
            geometry = write(case, file)
        piece = Piece(geometry=geometry, sources=sources, sha256=sha256(target))
        write_atomically(self._note(case), piece.model_dump_json(), ours=True)
        return piece

    def _finished(self, case: Case) -> Piece | None:
        try:
            piece = Piece.model_validate_json(self._note(case).read_bytes())
            return piece if sha256(self.file(case)) == piece.sha256 else None
        except (OSError, ValidationError):
            return None

    def _note(self, case: Case) -> Path:
        return self._folder / f"{case.id}.json"
