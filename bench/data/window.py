"""The part of a volume that a 3D network sees at once."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator

from bench.params import split_colons
from bench.stage import Part

MULTIPLE = 16
SMALLEST = (48, 32, 32)
"""Five halvings, as in the discriminator of `asdnet`, have to leave a voxel. Four have to leave
more than two slices: over just two, oneDNN's bf16 weight gradient of a convolution is garbage."""


def _fits_networks(size: tuple[int, int, int]) -> tuple[int, int, int]:
    if any(side % MULTIPLE or side < least for side, least in zip(size, SMALLEST, strict=True)):
        least = ":".join(map(str, SMALLEST))
        raise ValueError(f"sides must be multiples of {MULTIPLE}, {least} at least")
    return size


Size = Annotated[
    tuple[int, int, int], BeforeValidator(split_colons), AfterValidator(_fits_networks)
]
"""Depth, height and width in voxels; ``48:64:64`` in brackets."""


class Window(Part):
    """Size of the patches and where they are taken."""

    version: ClassVar[int] = 3

    patch: Size = (96, 144, 144)
    sampling: Literal["anywhere", "centre"] = "anywhere"
    """Patches from anywhere, put together by a sliding window at prediction; or only the centre of
    every volume, beyond which everything is background (the paper's 3D variant)."""

    def centre(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the first voxel of the window in the middle of a volume; negative if it is larger.

        Parameters
        ----------
        shape
            Of the volume on the training grid.
        """
        return tuple((length - side) // 2 for length, side in zip(shape, self.patch, strict=True))
