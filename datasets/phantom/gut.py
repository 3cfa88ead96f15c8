"""The hollow organs: small bowel, colon, duodenum and stomach with their contents.

Positions are in mm in the reference patient: vertebral body at the origin, x to the right, y to the
front, z to the head, 0 at the centre of the liver.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .calibration import AIR_HU, CONTENT_HU, FAT_HU, LABEL
from .canvas import Canvas
from .fields import Array, Box, Part3D, as_field, curve

NO_GAS = 1e4


class Filling(NamedTuple):
    """Contents of a piece of gut: a substance, its CT number, the height where gas begins (mm)."""

    kind: str
    hu: float
    gas_from: float


def paint_small_bowel(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint loops that fill the space between the organs."""
    patient = canvas.patient
    oral = rng.random() < 0.25
    shares = {"collapsed": 0.55, "contrast" if oral else "fluid": 0.4, "stool": 0.05}
    for _ in range(30):
        center = patient.at(rng.uniform(-95, 80), rng.uniform(52, 112), rng.uniform(-160, -28))
        steps = rng.normal(size=(7, 3)) * (26, 16, 18)
        control = center + np.cumsum(steps, axis=0) - steps.sum(axis=0) / 2
        radii = rng.uniform(8.5, 14.0) * rng.uniform(0.8, 1.15, 7)
        filling = _draw_filling(rng, shares, control, radii, gas_share=0.25)
        tube = canvas.grid.tube(*curve(control, radii, 0.5))
        tube = canvas.inside(canvas.rough(tube, middle=1.2, fine=0.7), gap=2.0)
        canvas.halo(tube, 1.5, 1.0, FAT_HU + 8)
        _paint_gut(canvas, tube, 2.2, filling)


def paint_colon(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the ascending, transverse and descending colon with their haustra."""
    at = canvas.patient.at
    droop = rng.uniform(-45, 10)
    paths = (
        [(106, 18, -175), (110, 22, -120), (104, 30, -90), (84, 58, -80)],
        [
            (88, 64, -78),
            (64, 98, -80 + droop / 2),
            (8, 108, -72 + droop),
            (-48, 104, -50 + droop / 2),
            (-100, 62, -14),
        ],
        [(-104, 52, -10), (-120, 4, -22), (-122, -8, -60), (-116, 4, -115), (-112, 20, -175)],
    )
    shares = {"stool": 0.7, "fluid": 0.1, "collapsed": 0.2}
    for path in paths:
        control = np.array([at(*p) for p in path]) + rng.normal(0, 7, (len(path), 3))
        radii = rng.uniform(13, 24) * rng.uniform(0.85, 1.15, len(path))
        filling = _draw_filling(rng, shares, control, radii, gas_share=0.75)
        haustrum = rng.uniform(24, 34)
        points, calibers = curve(control, radii, 0.3)
        along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
        tube = canvas.grid.tube(
            points, calibers * (1 + 0.17 * np.sin(2 * np.pi * along / haustrum))
        )
        tube = canvas.inside(canvas.rough(tube, middle=1.5, fine=0.8), gap=2.0)
        canvas.halo(tube, 2.0, 1.2, FAT_HU + 6)
        _paint_gut(canvas, tube, 2.4, filling)


def paint_duodenum(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the C round the head of the pancreas, of nearly its CT number."""
    patient = canvas.patient
    shift = 0.6 * patient.shift["pancreas"] + 0.2 * patient.shift["stomach"]
    path = [
        (36, 70, -36),
        (50, 56, -42),
        (52, 44, -62),
        (46, 36, -90),
        (18, 38, -102),
        (-16, 44, -96),
        (-36, 50, -76),
    ]
    control = np.array([patient.at(*p) for p in path]) + shift + rng.normal(0, 4, (len(path), 3))
    radii = rng.uniform(10, 13.5) * rng.uniform(0.8, 1.2, len(path))
    filling = _draw_filling(rng, {"collapsed": 0.6, "fluid": 0.4}, control, radii, gas_share=0.3)
    tube = canvas.grid.tube(*curve(control, radii))
    tube = canvas.rough(tube, middle=1.3, fine=0.8)
    canvas.halo(tube, 0.5, 1.0, FAT_HU + 12)
    _paint_gut(canvas, tube, 3.0, filling, organ=0)


def paint_stomach(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the J from the left dome to the pylorus, with food, fluid or contrast, and gas."""
    patient = canvas.patient
    size = patient.size["stomach"] ** 1.15
    antrum = rng.uniform(-25, 12)
    path = [
        (-54, 17, 44),
        (-60, 39, 24),
        (-56, 69, -6),
        (-30, 88, -30 + antrum),
        (0, 90, -40 + antrum),
        (20, 82, -40 + 0.6 * antrum),
        (36, 72, -36),
    ]
    control = np.array([patient.at(*p) for p in path]) + patient.shift["stomach"]
    control += rng.normal(0, 4, control.shape)
    radii = np.array([26, 31.5, 28.5, 23.5, 18.5, 14, 8]) * np.r_[np.full(5, size), size**0.5, 1.0]
    radii[1:5] *= rng.uniform(0.85, 1.15, 4)
    shares = {"fluid": 0.45, "stool": 0.3, "contrast": 0.1, "collapsed": 0.15}
    filling = _draw_filling(rng, shares, control[2:5], radii[2:5], gas_share=0.85)
    wall = rng.uniform(3.0, 5.5)
    tube = canvas.grid.tube(*curve(control, radii, 0.2))
    part = canvas.inside(canvas.rough(tube, wide=2.5, middle=1.5), gap=1.5)
    canvas.halo(part, 1.5, 1.5, FAT_HU + 10)
    _paint_gut(canvas, part, wall, filling, LABEL["stomach"])


def _draw_filling(
    rng: np.random.Generator,
    shares: dict[str, float],
    control_N3: npt.NDArray[np.float64],
    radii_N: npt.NDArray[np.float64],
    gas_share: float,
) -> Filling:
    kind = str(rng.choice(list(shares), p=list(shares.values())))
    hu = float(rng.uniform(*CONTENT_HU[kind]))
    level = float(control_N3[:, 1].mean() + rng.uniform(-0.3, 1.0) * radii_N.mean())
    return Filling(kind, hu, level if rng.random() < gas_share else NO_GAS)


def _content(canvas: Canvas, box: Box, filling: Filling) -> Array:
    if filling.kind == "fluid":
        return canvas.texture(box, filling.hu, fine=5)
    if filling.kind == "contrast":
        return canvas.texture(box, filling.hu, fine=20, middle=20)
    if filling.kind == "stool":
        pockets = np.clip(canvas.noise["fine"][box] - 0.8, 0, 1) * -700
        return as_field(canvas.texture(box, filling.hu, fine=45, middle=25) + pockets)
    return canvas.texture(box, canvas.patient.hu["gut_wall"] + filling.hu, fine=14)


def _paint_gut(
    canvas: Canvas, part: Part3D, wall: float, filling: Filling, organ: int | None = None
) -> None:
    """Paint a hollow organ: wall of the given thickness (mm), content, gas on top (supine)."""
    box, distance = part
    canvas.paint(part, canvas.texture(box, canvas.patient.hu["gut_wall"], fine=8), organ=organ)
    lumen = distance + wall * (1 + 0.25 * canvas.noise["fine"][box])
    canvas.paint(Part3D(box, lumen), _content(canvas, box, filling))
    below = filling.gas_from - canvas.grid.axes[1][None, box[1], None]
    canvas.paint(Part3D(box, np.maximum(lumen, below)), AIR_HU + 20)
