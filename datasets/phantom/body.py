"""The body around the organs: skin, fat, muscle, spine, ribs, lungs, heart, couch."""

from __future__ import annotations

import numpy as np

from .calibration import AIR_HU, FAT_HU, LUNG_HU
from .canvas import Canvas
from .fields import Array, Part3D, as_field, curve, smooth_union

RIB_NECK = ((27.0, -20.0, 12.0), (46.0, -29.0, 9.0), (66.0, -40.0, 5.0))
"""Rib from the spine to the wall: side, front, height above the first point at the wall, mm."""
WHOLE = (slice(None), slice(None), slice(None))
BODY_CENTER_Y = 28.0
DOME_TOP = 80.0
"""Height of the right diaphragm above the centre of the liver, reference patient, mm."""


def paint_body(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint everything that is not an abdominal organ, and define the abdominal cavity."""
    patient, grid = canvas.patient, canvas.grid
    x, y, z = np.meshgrid(*grid.axes, indexing="ij", sparse=True)
    skin = _skin_distance(canvas, rng)
    canvas.hu[...] = AIR_HU
    _paint_couch(canvas)
    canvas.paint(Part3D(WHOLE, skin), canvas.texture(WHOLE, FAT_HU, fine=6, middle=4))
    canvas.paint(Part3D(WHOLE, np.abs(skin + 1.0) - 1.0), -30.0)

    fat = _fat_thickness(canvas, rng)
    outer = skin + fat + 1.5 * canvas.noise["wide"]
    angle = np.arctan2(y - BODY_CENTER_Y, x)
    thickness = 11.0 + 3.0 * np.sin(angle) ** 2 + 3.0 * np.cos(angle) ** 2 * (z < 0)
    wall = as_field(outer + thickness)
    muscle = patient.hu["muscle"]
    flesh = canvas.texture(WHOLE, muscle, fine=8)
    canvas.paint(Part3D(WHOLE, outer), flesh)
    layers = np.abs(outer + 6.0 + 1.5 * canvas.noise["middle"]) - 0.6
    canvas.paint(Part3D(WHOLE, as_field(layers)), -20.0)

    back = np.maximum(_back_muscles(canvas), outer)
    inner = np.maximum(wall, 3.0 - back)
    canvas.paint(Part3D(WHOLE, inner), canvas.texture(WHOLE, FAT_HU, fine=7) + _mesentery(canvas))
    marbling = np.clip(canvas.noise["fine"] - 0.9, 0, 1) * -110 * (1.2 - patient.lean)
    canvas.paint(Part3D(WHOLE, back), flesh + marbling)

    above = _above_diaphragm(canvas, wall, rng)
    lung = np.maximum(wall, -above)
    lung = np.maximum(lung, 1.0 - back)
    vessels = np.clip(canvas.noise["fine"] - 1.3, 0, 1.2) * 600
    canvas.paint(Part3D(WHOLE, lung), LUNG_HU + 30 * canvas.noise["wide"] + vessels)
    leaf = np.maximum(np.abs(above + 1.5) - 1.2, inner)
    canvas.paint(Part3D(WHOLE, as_field(leaf)), muscle)
    canvas.cavity = np.maximum(inner, above + 2.0)
    _paint_heart(canvas, lung)
    _paint_psoas(canvas, flesh)
    _paint_spine(canvas)
    _paint_ribs(canvas, outer)


def _skin_distance(canvas: Canvas, rng: np.random.Generator) -> Array:
    patient = canvas.patient
    x, y = np.meshgrid(*canvas.grid.axes[:2], indexing="ij", sparse=True)
    squareness = rng.uniform(2.15, 2.6)
    u = np.abs(x / patient.half_width) ** squareness
    v = np.abs((y - BODY_CENTER_Y) / patient.half_depth) ** squareness
    ratio = (u + v) ** (1 / squareness)
    dx, dy = (np.gradient(ratio, a, axis=k) for k, a in enumerate(canvas.grid.axes[:2]))
    flat_distance = (ratio - 1) / np.maximum(np.hypot(dx, dy), 1e-4)
    groove = 7.0 * np.exp(-((x / 14) ** 2)) * (y < BODY_CENTER_Y)
    z = canvas.grid.axes[2]
    waist = rng.uniform(0, 8) * np.sin((z + 40) / 90)
    skin = (flat_distance + groove)[:, :, None] - waist[None, None, :]
    return as_field(skin + 2.0 * canvas.noise["wide"])


def _fat_thickness(canvas: Canvas, rng: np.random.Generator) -> Array:
    x, y, z = np.meshgrid(*canvas.grid.axes, indexing="ij", sparse=True)
    angle = np.arctan2(y - BODY_CENTER_Y, x)
    phases = rng.uniform(0, 2 * np.pi, 2)
    ripple = 0.15 * np.sin(2 * angle + phases[0]) + 0.1 * np.sin(3 * angle + phases[1])
    posterior = 0.35 * np.clip(-np.sin(angle), 0, 1)
    lower = np.clip(1.0 - (z + 10) / 220, 0.6, 1.4)
    return as_field(canvas.patient.fat * (1 + ripple + posterior) * lower + 1.5)


def _mesentery(canvas: Canvas) -> Array:
    strands = np.clip(canvas.noise["fine"] - 1.25, 0, 1) * 110
    return as_field(strands + 8 * canvas.noise["middle"])


def _back_muscles(canvas: Canvas) -> Array:
    """Return the distance to the paraspinal muscles and quadratus lumborum of both sides."""
    x, y, z = np.meshgrid(*canvas.grid.axes, indexing="ij", sparse=True)
    scale = canvas.patient.half_depth / 122
    low = np.clip((-z - 10) / 60, 0, 1)
    side = np.abs(x)
    erector = np.hypot((side - 34) / 35, (y + 56 * scale) / 22) - 1
    quadratus = np.hypot((side - 58) / (10 + 12 * low), (y + 40 * scale) / (6 + 8 * low)) - 1
    body = np.hypot(x / 25, (y + 12) / 28) - 1
    both = smooth_union(as_field(erector * 26), as_field(quadratus * 11 + 25 * (1 - low)), 8)
    both = smooth_union(both, as_field(body * 25), 8)
    ribcage = np.maximum(np.abs(0.87 * (y + 13 + 0.55 * side)) - 4.5, side - 74)
    both = smooth_union(both, as_field(ribcage), 6)
    return as_field(both + 1.5 * canvas.noise["middle"])


def _above_diaphragm(canvas: Canvas, wall: Array, rng: np.random.Generator) -> Array:
    """Return the signed distance to the diaphragm, negative below it."""
    patient = canvas.patient
    gx, gy, gz = canvas.grid.axes
    x, y = np.meshgrid(gx, gy, indexing="ij", sparse=True)
    depth = np.clip(-wall[:, :, int(np.argmin(np.abs(gz - 20)))], 0, 200)
    top_right = DOME_TOP * patient.length
    top_left = top_right - rng.uniform(8, 22)
    side = 1 / (1 + np.exp(-(x - 5) / 14))
    top = top_left + (top_right - top_left) * side
    top = top - 14 * np.exp(-(((x + 8) / 30) ** 2)) - 0.12 * np.clip(y - 60, 0, None)
    rear = np.clip((40 - y) / 80, 0, 1)
    drop = 45 + 75 * rear
    reach = 17 + 5 * rear
    dome = top - drop * np.exp(-depth / reach)
    dome = dome - 0.28 * np.clip(20 - y, 0, None)
    sx, sy = np.gradient(dome, gx, gy)
    steep = 1 / np.sqrt(1 + sx**2 + sy**2)
    above = (gz[None, None, :] - dome[:, :, None]) * steep[:, :, None]
    return as_field(above + 1.5 * canvas.noise["wide"])


def _paint_heart(canvas: Canvas, lung: Array) -> None:
    patient = canvas.patient
    center = patient.at(-30, 70, DOME_TOP + 22)
    part = canvas.grid.ellipsoid(center, (66, 44, 40))
    part = canvas.rough(part, middle=2, wide=3)
    fat = Part3D(part.box, np.maximum(part.distance - 5, lung[part.box] - 3))
    canvas.paint(fat, FAT_HU + 20)
    blood = 0.7 * patient.hu["aorta"] + 20
    heart = Part3D(part.box, np.maximum(part.distance, lung[part.box] + 1))
    canvas.paint(heart, canvas.texture(part.box, blood, middle=12))


def _paint_psoas(canvas: Canvas, flesh: Array) -> None:
    for side in (1, -1):
        points = [
            (side * 20, -6, -25),
            (side * 27, -4, -60),
            (side * 36, 0, -105),
            (side * 48, 6, -170),
        ]
        tube = canvas.grid.tube(*curve(points, (6, 12, 18, 22)))
        canvas.paint(canvas.rough(tube, middle=1.5), flesh[tube.box])


def _paint_spine(canvas: Canvas) -> None:
    """Paint vertebral arches, the canal, then bodies and discs."""
    gx, gy, z = canvas.grid.axes
    box = (
        slice(*np.searchsorted(gx, (-60, 60))),
        slice(*np.searchsorted(gy, (-90, 40))),
        slice(None),
    )
    x, y = gx[box[0], None, None], gy[None, box[1], None]
    pitch = 33.0 * canvas.patient.length
    # height within one vertebra, 0 and 1 in the middle of a disc
    level = as_field(np.mod(z + 12, pitch) / pitch)
    canal = (np.hypot(x / 11, (y + 25) / 9) - 1) * 10
    arch = _vertebral_arch(x, y, canal, level)
    cancellous = canvas.noise["fine"][box]
    canvas.paint(Part3D(box, arch), 330 + 70 * cancellous)
    canvas.paint(Part3D(box, as_field(np.broadcast_to(canal, arch.shape))), 22.0)

    narrow = 1 - 0.08 * np.cos(2 * np.pi * (level - 0.5))
    body = (np.hypot(x / (24 * narrow), (y - 1) / (16.5 * narrow)) - 1) * 18
    body = as_field(np.maximum(body, -(np.hypot(x / 14, (y + 24) / 11) - 1) * 10))
    to_disc = pitch * np.minimum(level, 1 - level) - 4.0
    cortex = np.clip(1 - np.abs(body + 1.5) / 3, 0, 1)
    plate = np.clip(1 - np.abs(to_disc) / 3, 0, 1) * (body < 0)
    bone = 165 + 40 * cancellous + 230 * np.maximum(cortex, plate)
    canvas.paint(Part3D(box, body), as_field(np.where(to_disc < 0, 75.0, bone)))


def _vertebral_arch(x: Array, y: Array, canal: Array, level: Array) -> Array:
    """Return the distance to lamina, pedicles, spinous and transverse processes."""
    lamina = np.maximum(np.abs(canal - 4.5) - 3.5, y + 14)
    pedicle = np.maximum(np.abs(np.abs(x) - 15) - 4, np.abs(y + 20) - 9)
    spinous = np.maximum(np.abs(x) - 3.2, np.abs(y + 52) - 18)
    transverse = np.maximum(np.abs(y + 26 - 0.15 * np.abs(x)) - 4, np.abs(x) - 40)
    parts = (
        np.where(level < 0.9, lamina, 50),
        np.where((level > 0.3) & (level < 0.75), pedicle, 50),
        np.where((level < 0.55) | (level > 0.85), spinous, 50),
        np.where((level > 0.4) & (level < 0.62), transverse, 50),
    )
    return as_field(np.maximum(np.minimum.reduce(parts), -canal))


def _paint_ribs(canvas: Canvas, outer: Array) -> None:
    """Paint ribs that run down and forward inside the muscle of the chest wall."""
    patient = canvas.patient
    gx, gy, gz = canvas.grid.axes
    turns = np.radians(np.linspace(-40, 58, 60))
    probe = np.linspace(20, 190, 171)
    for side in (1, -1):
        directions = np.stack([side * np.cos(turns), np.sin(turns)], axis=1)
        rays = directions[:, None, :] * probe[None, :, None]
        i = np.clip(np.searchsorted(gx, rays[..., 0]), 0, len(gx) - 1)
        j = np.clip(np.searchsorted(gy, rays[..., 1] + BODY_CENTER_Y), 0, len(gy) - 1)
        for rib in range(11):
            base = (170 - 26 * rib) * patient.length
            extent = int(np.clip(60 - 9 * max(rib - 6, 0), 18, 60))
            z = base - 120 * patient.length * np.linspace(0, 1, 60) ** 0.9
            k = np.clip(np.searchsorted(gz, z), 0, len(gz) - 1)
            depth = outer[i, j, k[:, None]]
            at = np.argmax(depth > -6.5, axis=1)
            points = np.concatenate(
                [rays[np.arange(60), at] + [0, BODY_CENTER_Y], z[:, None]], axis=1
            )[:extent]
            if points[:, 2].min() > gz[-1] + 10 or points[:, 2].max() < gz[0] - 10:
                continue
            neck = [[side * a, b, points[0, 2] + c] for a, b, c in RIB_NECK]
            points = np.concatenate([neck, points[::3]])
            points, caliber = curve(points, np.full(len(points), 4.6), spacing=0.9)
            tube = canvas.grid.tube(points, caliber, reach=3)
            core = np.clip(-tube.distance - 1.5, 0, 2) / 2
            canvas.paint(tube, as_field(430 - 230 * core))


def _paint_couch(canvas: Canvas) -> None:
    x, y, _ = np.meshgrid(*canvas.grid.axes, indexing="ij", sparse=True)
    bottom = BODY_CENTER_Y - canvas.patient.half_depth
    sheet = np.abs(y - (bottom - 16 + x**2 / 900)) - 1.0
    full = as_field(np.broadcast_to(sheet, canvas.grid.shape))
    canvas.paint(Part3D(WHOLE, full), -520.0)
