"""The scanner: field of view, slices, partial volume, noise, orientation of the file."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from .body import BODY_CENTER_Y, DOME_TOP, paint_body
from .calibration import FAT_HU, KIDNEY_RADII_MM, NOISE_HU
from .canvas import EDGE_MM, Canvas
from .fields import Array, as_field, make_grid
from .organs import paint_organs
from .patient import Patient, draw_patient

ORIENTATIONS = ("RAS", "LPS", "LAS", "LPI")
ORIENTATION_SHARE = (0.3, 0.35, 0.25, 0.1)
WARP_MM = 4.0
"""Standard deviation of the smooth displacement of organs."""


@dataclass(frozen=True, eq=False)
class Scan:
    """A finished scan in the orientation of its file."""

    image: npt.NDArray[np.int16]
    label: npt.NDArray[np.uint8]
    affine: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Protocol:
    """The scan protocol of one patient; lengths in mm."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    top: float
    orientation: str
    noise: float
    blur: float


def scan_patient(rng: np.random.Generator, scale: float) -> Scan:
    """Sample one patient and scan it; ``scale`` multiplies the number of voxels along each axis."""
    patient = draw_patient(rng)
    protocol = _draw_protocol(rng, patient, scale)
    canvas = _render(rng, patient, protocol)
    _drop_fragments(canvas)
    image, label = _to_slices(canvas)
    image = image + _scanner_noise(rng, protocol, image.shape)
    stored = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    return _to_file(stored, label, protocol, rng)


def _draw_protocol(rng: np.random.Generator, patient: Patient, scale: float) -> Protocol:
    nx = int(rng.choice([120, 124, 128, 132, 136]))
    ny = int(rng.choice([92, 96, 100]))
    margin = rng.uniform(1.03, 1.10)
    wide = 2 * patient.half_width * margin / nx
    deep = (2 * patient.half_depth * margin + 12) / ny
    pixel = float(np.round(max(wide, deep, 2.6), 2))
    top = DOME_TOP * patient.length + rng.uniform(8, 22)
    reach = 1.1 * KIDNEY_RADII_MM[2]
    lowest = min(
        patient.kidney_center(organ)[2] - reach * patient.size[organ]
        for organ in ("kidney_l", "kidney_r")
    )
    bottom = min(lowest, -110 * patient.length) - rng.uniform(4, 20)
    thickness = float(np.round(np.clip(rng.uniform(3.2, 6.0), (top - bottom) / 64, 6.0), 1))
    nz = int(np.clip(np.ceil((top - bottom) / thickness), 36, 64))
    counts = (
        max(round(nx * scale / 4) * 4, 8),
        max(round(ny * scale / 4) * 4, 8),
        max(round(nz * scale), 6),
    )
    spacing = (pixel * nx / counts[0], pixel * ny / counts[1], thickness * nz / counts[2])
    return Protocol(
        shape=counts,
        spacing=spacing,
        top=top,
        orientation=str(rng.choice(ORIENTATIONS, p=ORIENTATION_SHARE)),
        noise=float(rng.uniform(*NOISE_HU)),
        blur=float(rng.uniform(0.5, 0.95)),
    )


def _render(rng: np.random.Generator, patient: Patient, protocol: Protocol) -> Canvas:
    """Paint the patient on the image grid with two sub-slices per slice."""
    nx, ny, nz = protocol.shape
    dx, dy, dz = protocol.spacing
    x = (np.arange(nx) - (nx - 1) / 2) * dx
    y = (np.arange(ny) - (ny - 1) / 2) * dy + BODY_CENTER_Y - 5.0
    z = protocol.top - dz * nz + np.arange(2 * nz + 1) * dz / 2
    axes = (as_field(x), as_field(y), as_field(z))
    grid = make_grid(axes, patient.warp, WARP_MM)
    canvas = Canvas(
        grid=grid,
        patient=patient,
        noise={name: lattice.at_axes(axes) for name, lattice in patient.noise.items()},
        hu=np.empty(grid.shape),
        label=np.zeros(grid.shape, np.uint8),
        edge=max(EDGE_MM, 1.1 * dx),
    )
    paint_body(canvas, rng)
    paint_organs(canvas, rng)
    return canvas


def _to_slices(canvas: Canvas) -> tuple[Array, npt.NDArray[np.uint8]]:
    """Average sub-slices with a triangular profile; the label is the one at the slice centre."""
    fine = canvas.hu
    image = 0.5 * fine[:, :, 1:-1:2] + 0.25 * (fine[:, :, :-2:2] + fine[:, :, 2::2])
    return image, np.ascontiguousarray(canvas.label[:, :, 1:-1:2])


def _drop_fragments(canvas: Canvas) -> None:
    """Keep the largest component of each organ; pieces cut off by others become fat."""
    touching = np.ones((3, 3, 3))
    for number, box in enumerate(ndimage.find_objects(canvas.label), start=1):
        if box is None:
            continue
        pieces, count = ndimage.label(canvas.label[box] == number, touching)
        if count > 1:
            largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
            lost = (pieces > 0) & (pieces != largest)
            canvas.label[box][lost] = 0
            canvas.hu[box][lost] = FAT_HU + 20


def _scanner_noise(rng: np.random.Generator, protocol: Protocol, shape: tuple[int, ...]) -> Array:
    """Return noise correlated over about a pixel in the plane and little between slices."""
    white = as_field(rng.standard_normal(shape, dtype=np.float32))
    smooth = ndimage.gaussian_filter(white, (protocol.blur, protocol.blur, 0.35), mode="wrap")
    return as_field(smooth * (protocol.noise / smooth.std()))


def _to_file(
    image: npt.NDArray[np.int16],
    label: npt.NDArray[np.uint8],
    protocol: Protocol,
    rng: np.random.Generator,
) -> Scan:
    affine = np.diag([*protocol.spacing, 1.0])
    affine[:3, 3] = np.round(rng.uniform(-250, -50, 3), 2)
    start = nib.orientations.axcodes2ornt("RAS")
    turn = nib.orientations.ornt_transform(
        start, nib.orientations.axcodes2ornt(protocol.orientation)
    )
    moved = affine @ nib.orientations.inv_ornt_aff(turn, image.shape)
    return Scan(
        image=np.ascontiguousarray(nib.orientations.apply_orientation(image, turn)),
        label=np.ascontiguousarray(nib.orientations.apply_orientation(label, turn)),
        affine=moved,
    )
