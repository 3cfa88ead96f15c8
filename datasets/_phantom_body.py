"""The body around the organs: skin, fat, muscle, spine, ribs, lungs, heart, couch."""

from __future__ import annotations

import numpy as np

from bench.datasets._phantom_canvas import Canvas
from bench.datasets._phantom_facts import AIR_HU, FAT_HU, LUNG_HU
from bench.datasets._phantom_fields import Array, Part3D, curve, smooth_union

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
    canvas.paint(Part3D(WHOLE, np.abs(skin + 1.0) - 1.0), 10.0)

    fat = _fat_thickness(canvas, rng)
    outer = skin + fat + 1.5 * canvas.noise["wide"]
    angle = np.arctan2(y - BODY_CENTER_Y, x)
    thickness = 11.0 + 3.0 * np.sin(angle) ** 2 + 3.0 * np.cos(angle) ** 2 * (z < 0)
    wall = outer + thickness.astype(np.float32)
    muscle = patient.hu["muscle"]
    flesh = canvas.texture(WHOLE, muscle, fine=8)
    canvas.paint(Part3D(WHOLE, outer), flesh)
    layers = np.abs(outer + 6.0 + 1.5 * canvas.noise["middle"]) - 0.6
    canvas.paint(Part3D(WHOLE, layers.astype(np.float32)), -20.0)

    back = _back_muscles(canvas)
    inner = np.maximum(wall, -(back - 3.0)).astype(np.float32)
    canvas.paint(Part3D(WHOLE, inner), canvas.texture(WHOLE, FAT_HU, fine=7) + _mesentery(canvas))
    marbling = np.clip(canvas.noise["fine"] - 0.9, 0, 1) * -110 * (1.2 - patient.lean)
    canvas.paint(Part3D(WHOLE, back), flesh + marbling)

    above = _above_diaphragm(canvas, wall, rng)
    lung = np.maximum(wall, -above)
    lung = np.maximum(lung, -(back - 1.0)).astype(np.float32)
    vessels = np.clip(canvas.noise["fine"] - 1.3, 0, 1.2) * 600
    canvas.paint(Part3D(WHOLE, lung), LUNG_HU + 30 * canvas.noise["wide"] + vessels)
    leaf = np.maximum(np.abs(above + 1.5) - 1.2, inner)
    canvas.paint(Part3D(WHOLE, leaf.astype(np.float32)), muscle)
    canvas.cavity = np.maximum(inner, above + 2.0).astype(np.float32)
    _paint_heart(canvas, lung)
    _paint_psoas(canvas, flesh)
    _paint_spine(canvas)
    _paint_ribs(canvas, outer)


def _skin_distance(canvas: Canvas, rng: np.random.Generator) -> Array:
    patient = canvas.patient
    x, y = np.meshgrid(*canvas.grid.axes[:2], indexing="ij", sparse=True)
    squareness = rng.uniform(2.15, 2.6)
    flat = 1.0 + 0.08 * (y < BODY_CENTER_Y)
    u = np.abs(x / patient.half_width) ** squareness
    v = np.abs((y - BODY_CENTER_Y) * flat / patient.half_depth) ** squareness
    ratio = (u + v) ** (1 / squareness)
    dx, dy = (np.gradient(ratio, a, axis=k) for k, a in enumerate(canvas.grid.axes[:2]))
    flat_distance = (ratio - 1) / np.maximum(np.hypot(dx, dy), 1e-4)
    groove = 7.0 * np.exp(-((x / 14) ** 2)) * (y < BODY_CENTER_Y)
    z = canvas.grid.axes[2]
    waist = rng.uniform(0, 8) * np.sin((z + 40) / 90)
    skin = (flat_distance + groove)[:, :, None] - waist[None, None, :]
    return (skin + 2.0 * canvas.noise["wide"]).astype(np.float32)


def _fat_thickness(canvas: Canvas, rng: np.random.Generator) -> Array:
    x, y, z = np.meshgrid(*canvas.grid.axes, indexing="ij", sparse=True)
    angle = np.arctan2(y - BODY_CENTER_Y, x)
    phases = rng.uniform(0, 2 * np.pi, 2)
    ripple = 0.15 * np.sin(2 * angle + phases[0]) + 0.1 * np.sin(3 * angle + phases[1])
    posterior = 0.35 * np.clip(-np.sin(angle), 0, 1)
    lower = np.clip(1.0 - (z + 10) / 220, 0.6, 1.4)
    return (canvas.patient.fat * (1 + ripple + posterior) * lower + 1.5).astype(np.float32)


def _mesentery(canvas: Canvas) -> Array:
    strands = np.clip(canvas.noise["fine"] - 1.25, 0, 1) * 110
    return np.asarray(strands + 8 * canvas.noise["middle"], np.float32)


def _back_muscles(canvas: Canvas) -> Array:
    """Return the distance to the paraspinal muscles and quadratus lumborum of both sides."""
    x, y, z = np.meshgrid(*canvas.grid.axes, indexing="ij", sparse=True)
    scale = canvas.patient.half_depth / 113
    low = np.clip((-z - 10) / 60, 0, 1)
    side = np.abs(x)
    erector = np.hypot((side - 33) / 33, (y + 54 * scale) / 24) - 1
    quadratus = np.hypot((side - 58) / (10 + 12 * low), (y + 36 * scale) / (6 + 8 * low)) - 1
    body = np.hypot(x / 25, (y + 12) / 28) - 1
    both = smooth_union((erector * 26).astype(np.float32), (quadratus * 11).astype(np.float32), 8)
    both = smooth_union(both, (body * 25).astype(np.float32), 8)
    return np.asarray(both + 1.5 * canvas.noise["middle"], np.float32)


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
    dome = (top - drop * np.exp(-depth / reach)) + 0.0
    dome = dome - 0.28 * np.clip(20 - y, 0, None)
    sx, sy = np.gradient(dome, gx, gy)
    steep = 1 / np.sqrt(1 + sx**2 + sy**2)
    above = (gz[None, None, :] - dome[:, :, None]) * steep[:, :, None]
    return (above + 1.5 * canvas.noise["wide"]).astype(np.float32)


def _paint_heart(canvas: Canvas, lung: Array) -> None:
    patient = canvas.patient
    center = patient.at(-28, 66, DOME_TOP + 22)
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
        tube, _, _ = canvas.grid.tube(*curve(points, (6, 12, 18, 22)))
        canvas.paint(canvas.rough(tube, middle=1.5), flesh[tube.box])


def _paint_spine(canvas: Canvas) -> None:
    x, y, z = np.meshgrid(*canvas.grid.axes, indexing="ij", sparse=True)
    box = (
        slice(*np.searchsorted(canvas.grid.axes[0], (-60, 60))),
        slice(*np.searchsorted(canvas.grid.axes[1], (-90, 40))),
        slice(None),
    )
    x, y = x[box[0]], y[:, box[1]]
    pitch = 33.0 * canvas.patient.length
    phase = np.mod(z + 12, pitch)
    mid = 1 - 0.08 * np.cos(2 * np.pi * (phase / pitch - 0.5))
    body = (np.hypot(x / (22 * mid), (y - 1) / (16.5 * mid)) - 1) * 18
    body = np.maximum(body, -(np.hypot(x / 14, (y + 24) / 11) - 1) * 10)
    disc = (np.minimum(phase, pitch - phase) - 4.0) < 0
    plates = np.abs(np.minimum(phase, pitch - phase) - 4.0)
    spongy = 165 + 40 * canvas.noise["fine"][box]
    rim = np.clip(1 - np.abs(body + 1.5) / 3.0, 0, 1)
    plate = np.clip(1 - plates / 3.0, 0, 1) * (body < 0)
    bone = spongy + 230 * np.maximum(rim, plate)
    value = np.where(disc, 75.0 + 0 * bone, bone).astype(np.float32)
    canal = (np.hypot(x / 11, (y + 25) / 9) - 1) * 10
    arch = np.maximum(np.abs(canal - 4.5) - 3.5, (y + 14) * 1.0)
    pedicle = np.maximum(np.abs(np.abs(x) - 15) - 4, np.abs(y + 20) - 9)
    spinous = np.maximum(np.abs(x) - 3.2, np.abs(y + 52) - 18)
    wings = np.maximum(np.abs(y + 26 - 0.15 * np.abs(x)) - 4, np.abs(x) - 40)
    level = np.mod(z + 12, pitch) / pitch
    high = (level > 0.3) & (level < 0.75)
    low = (level < 0.55) | (level > 0.85)
    rear = np.minimum(np.where(high, pedicle, 50), np.where(low, spinous, 50))
    rear = np.minimum(rear, np.where((level > 0.4) & (level < 0.62), wings, 50))
    rear = np.minimum(rear, np.where(level < 0.9, arch, 50))
    rear = np.maximum(rear, -canal)
    full = np.broadcast_arrays(rear + 0 * z, body + 0 * z, canal + 0 * z)
    canvas.paint(Part3D(box, full[0].astype(np.float32)), 330 + 70 * canvas.noise["fine"][box])
    canvas.paint(Part3D(box, full[2].astype(np.float32)), 22.0)
    canvas.paint(Part3D(box, full[1].astype(np.float32)), value)


def _paint_ribs(canvas: Canvas, outer: Array) -> None:
    """Paint ribs that run down and forward inside the muscle of the chest wall."""
    patient = canvas.patient
    gx, gy, gz = canvas.grid.axes
    turns = np.radians(np.linspace(-84, 55, 60))
    probe = np.linspace(20, 190, 171)
    for side in (1, -1):
        directions = np.stack([side * np.cos(turns), np.sin(turns)], axis=1)
        rays = directions[:, None, :] * probe[None, :, None]
        i = np.clip(np.searchsorted(gx, rays[..., 0]), 0, len(gx) - 1)
        j = np.clip(np.searchsorted(gy, rays[..., 1] + BODY_CENTER_Y), 0, len(gy) - 1)
        for rib in range(9):
            base = (118 - 26 * rib) * patient.length
            extent = int(np.clip(60 - 6.5 * max(rib - 3, 0), 18, 60))
            z = base - 62 * patient.length * np.sin(np.linspace(0, np.pi / 2, 60)) ** 1.3
            k = np.clip(np.searchsorted(gz, z), 0, len(gz) - 1)
            depth = outer[i, j, k[:, None]]
            at = np.argmax(depth > -6.5, axis=1)
            points = np.concatenate(
                [rays[np.arange(60), at] + [0, BODY_CENTER_Y], z[:, None]], axis=1
            )[:extent]
            if points[:, 2].min() > gz[-1] + 10 or points[:, 2].max() < gz[0] - 10:
                continue
            caliber = np.full(len(points), 4.6)
            points, caliber = curve(points[::3], caliber[::3], spacing=0.6)
            tube, _, _ = canvas.grid.tube(points, caliber, reach=3)
            core = np.clip(-tube.distance - 1.5, 0, 2) / 2
            canvas.paint(tube, (430 - 230 * core).astype(np.float32))


def _paint_couch(canvas: Canvas) -> None:
    x, y, _ = np.meshgrid(*canvas.grid.axes, indexing="ij", sparse=True)
    bottom = BODY_CENTER_Y - canvas.patient.half_depth
    sheet = np.abs(y - (bottom - 16 + x**2 / 900)) - 1.0
    full = np.broadcast_to(sheet, canvas.grid.shape).astype(np.float32)
    canvas.paint(Part3D(WHOLE, full), -520.0)
