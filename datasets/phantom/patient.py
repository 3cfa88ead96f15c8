"""One phantom patient as numbers: habitus, contrast phase, organ sizes, random fields.

Everything is sampled before the image grid is known, so a coarse scan shows the same patient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .calibration import (
    ORGANS,
    PHASE_SHARE,
    PHASES,
    REAL_VOLUME_ML,
    TISSUE_HU,
    TISSUE_HU_SD,
)
from .fields import Lattice, draw_lattice

PITCHES_MM = {"wide": 45.0, "middle": 18.0, "fine": 8.0}


@dataclass(frozen=True, eq=False)
class Patient:
    """Habitus, CT numbers, sizes and the random fields of one patient."""

    half_width: float
    half_depth: float
    length: float
    """Ratio of head-foot lengths to the reference patient."""
    fat: float
    """Thickness of the subcutaneous fat at the flank, mm; also steers the visceral fat."""
    phase: str
    hu: dict[str, float]
    size: dict[str, float]
    """Linear size factor of each organ."""
    shift: dict[str, npt.NDArray[np.float64]]
    """Displacement of each organ, mm."""
    has_gallbladder: bool
    warp: tuple[Lattice, Lattice, Lattice]
    noise: dict[str, Lattice]

    @property
    def lean(self) -> float:
        """1 for a very lean, 0 for an obese patient."""
        return float(np.clip(1.15 - self.fat / 26.0, 0.0, 1.0))

    def at(self, x: float, y: float, z: float) -> npt.NDArray[np.float64]:
        """Return a point of the reference anatomy in this patient."""
        return np.array([x * self.half_width / 165, y * self.half_depth / 122, z * self.length])

    def kidney_center(self, organ: str) -> npt.NDArray[np.float64]:
        """Return the centre of a kidney: the right one lower, both pushed forward by fat."""
        x, z = (69, -66) if organ == "kidney_r" else (-69, -58)
        return self.at(x, -18 + 0.1 * (self.fat - 14), z) + self.shift[organ]


def draw_patient(rng: np.random.Generator) -> Patient:
    """Sample one patient."""
    fat = float(np.clip(rng.lognormal(np.log(14.0), 0.45), 5.0, 34.0))
    frame = rng.normal(0.0, 1.0)
    half_width = float(np.clip(149 + 7 * frame + 1.0 * fat + rng.normal(0, 4), 138, 190))
    half_depth = float(np.clip(107 + 4 * frame + 1.0 * fat + rng.normal(0, 5), 98, 146))
    length = float(np.clip(1.0 + 0.03 * frame + rng.normal(0, 0.04), 0.88, 1.12))
    phase = str(rng.choice(PHASES, p=PHASE_SHARE))
    return Patient(
        half_width=half_width,
        half_depth=half_depth,
        length=length,
        fat=fat,
        phase=phase,
        has_gallbladder=bool(rng.random() > 0.06),
        hu=_draw_hu(rng, phase),
        size=_draw_sizes(rng, frame),
        shift={organ: _draw_shift(rng, organ) for organ in ORGANS},
        warp=(draw_lattice(rng, 60.0), draw_lattice(rng, 60.0), draw_lattice(rng, 60.0)),
        noise={name: draw_lattice(rng, pitch) for name, pitch in PITCHES_MM.items()},
    )


def _draw_hu(rng: np.random.Generator, phase: str) -> dict[str, float]:
    column = PHASES.index(phase)
    narrow = 0.35 if phase == "native" else 1.0
    shared = rng.normal(0.0, 0.6)
    hu = {
        tissue: means[column] + narrow * TISSUE_HU_SD[tissue] * (shared + 0.8 * rng.normal())
        for tissue, means in TISSUE_HU.items()
    }
    hu["gallbladder"] = TISSUE_HU["gallbladder"][column] + 6.0 * rng.normal()
    steatosis = rng.random() < 0.2
    hu["liver"] -= steatosis * rng.uniform(10, 40)
    atrophy = rng.random() < 0.3
    hu["pancreas"] -= atrophy * rng.uniform(5, 30)
    return hu


def _draw_sizes(rng: np.random.Generator, frame: float) -> dict[str, float]:
    sizes = {}
    for organ in ORGANS:
        mean, sd = REAL_VOLUME_ML[organ]
        spread = np.sqrt(np.log1p((sd / mean) ** 2)) / 3
        score = np.clip(0.35 * frame + 0.94 * rng.normal(), -2.2, 2.2)
        sizes[organ] = float(np.exp(spread * score))
    pair = 0.5 * (np.log(sizes["kidney_l"]) + np.log(sizes["kidney_r"]))
    for organ in ("kidney_l", "kidney_r"):
        sizes[organ] = float(np.exp(0.45 * np.log(sizes[organ]) + 0.35 * pair))
    return sizes


def _draw_shift(rng: np.random.Generator, organ: str) -> npt.NDArray[np.float64]:
    spread = {
        "liver": (5.0, 4.0, 6.0),
        "gallbladder": (7.0, 8.0, 8.0),
        "spleen": (3.0, 7.0, 9.0),
        "kidney_l": (5.0, 6.0, 11.0),
        "kidney_r": (5.0, 6.0, 11.0),
        "pancreas": (6.0, 5.0, 7.0),
        "stomach": (6.0, 5.0, 8.0),
    }
    return np.asarray(np.clip(rng.normal(size=3), -2, 2) * spread[organ])
