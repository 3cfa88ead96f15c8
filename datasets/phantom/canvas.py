"""The canvas on which structures are painted: CT numbers with soft edges, labels with hard ones."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .fields import Array, Box, Grid, Part3D
from .patient import Patient

EDGE_MM = 3.2
"""Width of the ramp at a surface: the blur of the scanner within the slice plane."""


@dataclass(eq=False)
class Canvas:
    """CT numbers and labels on one grid, plus the fields the painters share."""

    grid: Grid
    patient: Patient
    noise: dict[str, Array]
    hu: Array
    label: npt.NDArray[np.uint8]
    edge: float = EDGE_MM
    cavity: Array = field(default_factory=lambda: np.zeros((0, 0, 0)))
    """Signed distance to the inside of the abdominal wall and diaphragm, negative inside."""

    def paint(self, part: Part3D, value: float | Array, organ: int | None = None) -> None:
        """Fill a part with CT numbers; set its label where one is given."""
        box, distance = part
        alpha = np.clip(0.5 - distance / self.edge, 0, 1)
        target = self.hu[box]
        target += alpha * (value - target)
        if organ is not None:
            self.label[box][distance < 0] = organ

    def inside(self, part: Part3D, gap: float = 0.0) -> Part3D:
        """Return the part cut at the abdominal wall, ``gap`` mm off it."""
        box, distance = part
        return Part3D(box, np.maximum(distance, self.cavity[box] + gap))

    def rough(self, part: Part3D, **amplitudes: float) -> Part3D:
        """Return the part with its surface displaced by the named random fields (sd in mm)."""
        box, distance = part
        for name, amplitude in amplitudes.items():
            distance = distance + amplitude * self.noise[name][box]
        return Part3D(box, distance)

    def halo(self, part: Part3D, width: float, spread: float, value: float) -> None:
        """Put fat of varying width round a part; where the width is negative, organs touch."""
        box, distance = part
        outer = distance - width - spread * self.noise["middle"][box]
        self.paint(Part3D(box, outer), value, organ=0)

    def texture(self, box: Box, mean: float, **amplitudes: float) -> Array:
        """Return CT numbers with random structure (sd in HU)."""
        value = np.full(self.hu[box].shape, mean, np.float64)
        for name, amplitude in amplitudes.items():
            value += amplitude * self.noise[name][box]
        return value
