"""A new scan, read for a model: what is refused, and what is worth a look."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import BenchError
from bench.experiment.scans import Found

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header, Nifti1Image
    from numpy.typing import NDArray

    from bench.data.dicom import Series
    from bench.data.geometry import Geometry
    from bench.data.intensity import Channel, GreyValue
    from bench.stages.images import Prepared

_State = dict[Path, tuple[int, ...]]


@dataclass(frozen=True)
class Opened:
    """A scan in memory."""

    scan: Found
    image_CXYZ: NDArray[GreyValue]
    geometry: Geometry
    header: Nifti1Header | None
    """Of a NIfTI file; None of a series."""
    uid: str | None
    """Of a series."""
    remarks: tuple[str, ...]
    """What to look at, a line each."""
    _state: _State

    @classmethod
    def of(cls, scan: Found, images: Prepared) -> Opened:
        """Read a scan.

        Raises
        ------
        BenchError
            It cannot be read, is of another modality than the model, or changes meanwhile.
        """
        from bench.data.image import read_image

        state, where = _state(scan), str(scan.files[0])
        image, series = _open(scan, images.channels)
        image_CXYZ, geometry = read_image(image, where, images.channels, images.refuse_size)
        opened = cls(
            scan,
            image_CXYZ,
            geometry,
            None if series else image.header,
            series.uid if series else None,
            tuple(_remarks(image, image_CXYZ, geometry, series, images.channels)),
            state,
        )
        opened.refuse_change()
        return opened

    def refuse_change(self) -> None:
        """Raise if files of the scan have changed since it was read."""
        now = _state(self.scan)
        for path in {**self._state, **now}:
            if self._state.get(path) != now.get(path):
                raise BenchError(
                    f"{path}: changed while the scan was read; wait until it is complete, and give"
                    " the command again"
                )


def _open(scan: Found, channels: Sequence[Channel]) -> tuple[Nifti1Image, Series | None]:
    from bench.data.dicom import find_series, series_image
    from bench.data.image import load_channels
    from bench.data.nifti import load
    from bench.data.voxels import volume_shape

    if len(scan.files) > 1:
        return load_channels({str(path): path for path in scan.files}), None
    (path,) = scan.files
    if not scan.is_series:
        image = load(path, str(path))
        if len(channels) == 1 and len(shape := volume_shape(image)) > 3:
            raise BenchError(
                f"{path}: holds {math.prod(shape[3:])} volumes ({' x '.join(map(str, shape))}), and"
                " the model takes one; save the one that is meant in a file of its own"
            )
        return image, None
    series = find_series(path)
    if len(channels) == 1 and (trained := channels[0].modality) not in (None, series.modality):
        raise BenchError(
            f"{path}: its Modality is {series.modality}, but the model was trained on {trained};"
            f" name a series of {trained}, or a model of {series.modality}"
        )
    return series_image(series), series


def _remarks(
    image: Nifti1Image,
    image_CXYZ: NDArray[GreyValue],
    geometry: Geometry,
    series: Series | None,
    channels: Sequence[Channel],
) -> Iterator[str]:
    from bench.data.geometry import unusual_spacing
    from bench.data.intensity import unlike_hu
    from bench.data.place import doubtful_place

    if series:
        yield from series.doubts
    if doubt := doubtful_place(image):
        yield doubt
    if doubt := unusual_spacing(geometry):
        yield doubt
    for channel, image_XYZ in zip(channels, image_CXYZ, strict=True):
        if channel.rule != "window":
            continue
        if series and series.unit not in ("HU", "US", ""):
            yield f"its values are in {series.unit} (RescaleType), not in HU; is this series meant?"
        elif doubt := unlike_hu(image_XYZ):
            if series is None:
                yield f"{doubt}; apply the rescale slope and intercept of the DICOM series"
            elif series.slices[0].rescaled:
                yield f"{doubt}, though slope and intercept are applied; is this series meant?"
            else:
                yield f"{doubt}, and its headers have no intercept; export the series anew"
    if geometry.sheared:
        yield (
            "its slices are tilted; ITK-SNAP and 3D Slicer refuse the label map as they refuse such"
            " scans in NIfTI" + (", and take a DICOM segmentation (--dicom-seg)" if series else "")
        )


def fingerprint(scan: Found) -> str:
    """Return a digest of where the files of a scan are and when they changed; empty without any."""
    try:
        state = {os.path.realpath(path): found for path, found in _state(scan).items()}
    except OSError:
        return ""
    return hashlib.sha256(repr(sorted(state.items())).encode()).hexdigest() if state else ""


def _state(scan: Found) -> _State:
    """Return what tells whether the files of a scan are still the same."""
    files = sorted(scan.folder.iterdir()) if scan.is_series else scan.files
    found = ((path, path.stat()) for path in files if path.exists())
    return {path: (s.st_size, s.st_mtime_ns, s.st_ctime_ns) for path, s in found}
