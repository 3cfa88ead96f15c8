"""The data of the checks: hidden labels can be replaced by noise, or every read refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typing_extensions import override

from bench.data.dataset import Case, Dataset
from bench.data.intensity import Channel
from bench.data.simulate import make_split
from bench.experiment.conformance.verdict import CheckFailed
from bench.experiment.profiles import parse_profile
from bench.params import RuntimeOnly
from bench.seeds import generator

if TYPE_CHECKING:
    import numpy as np
    from nibabel.nifti1 import Nifti1Image
    from numpy.typing import NDArray

PROFILE = "smoke[steps=4,confidence_share=0.5]"
"""Every training has two steps at least, so that it can be stopped between them."""
LABEL_PCT = 50


def corrupt(case: Case, labels_XYZ: NDArray[np.uint8], chosen: Sequence[bool]) -> None:
    """Replace the chosen organs of a label map by noise and erase unannotated ones, in place."""
    rng = generator(0, "garbage", case.id)
    for organ, (spoil, annotated) in enumerate(zip(chosen, case.annotated, strict=True), 1):
        if spoil or not annotated:
            labels_XYZ[labels_XYZ == organ] = 0
        if spoil and annotated:
            labels_XYZ[(labels_XYZ == 0) & (rng.random(labels_XYZ.shape) < 0.1)] = organ


class Corrupted(Dataset):
    """A data set whose hidden labels can be replaced by noise."""

    base: Dataset
    change: Annotated[Literal["", "hidden"], RuntimeOnly()] = ""

    @property
    @override
    def name(self) -> str:
        return self.base.name

    @property
    @override
    def organs(self) -> tuple[str, ...]:
        return self.base.organs

    @property
    @override
    def channels(self) -> tuple[Channel, ...]:
        return self.base.channels

    def cases(self) -> tuple[Case, ...]:
        """Return the cases; in the last one the first organ is not annotated."""
        *others, last = self.base.cases()
        return (*others, last.model_copy(update={"annotated": (False, *last.annotated[1:])}))

    @override
    def files(self, case: Case) -> tuple[Path, ...]:
        return self.base.files(case)

    @override
    def image(self, case: Case) -> Nifti1Image:
        return self.base.image(case)

    def labels(self, case: Case) -> Nifti1Image:
        """Return the labels, with noise in place of the hidden ones if ``change`` is ``hidden``."""
        import nibabel as nib
        import numpy as np

        image = self.base.labels(case)
        labels = np.asarray(image.dataobj).copy()
        split = make_split(
            self.cases(),
            self.organs,
            dataset=self.name,
            fold=0,
            n_folds=parse_profile(PROFILE).n_folds,
            label_pct=LABEL_PCT,
            seed=0,
        )
        visible = split.flags.get(case.id, (False,) * len(self.organs))
        corrupt(case, labels, [self.change == "hidden" and not seen for seen in visible])
        return nib.Nifti1Image(labels, image.affine)


class Sealed(Corrupted):
    """A data set that raises on any read: planning must read nothing."""

    @override
    def cases(self) -> tuple[Case, ...]:
        raise CheckFailed("plan reads the list of cases")

    @override
    def image(self, case: Case) -> Nifti1Image:
        raise CheckFailed("plan reads an image")

    labels = image
