"""The seven organs and what lies between them: bowel, vessels, duodenum, adrenals.

Positions are in mm in the reference patient (vertebral body at the origin, x to the right side, y to
the front, z to the head, 0 at the centre of the liver); shapes follow anatomy, sizes the label maps.
"""

from __future__ import annotations

import numpy as np

from bench.datasets._phantom_canvas import Canvas
from bench.datasets._phantom_facts import AIR_HU, FAT_HU, ORGANS
from bench.datasets._phantom_fields import Array, Part3D, curve, rotation, smooth_union

LABEL = {organ: number for number, organ in enumerate(ORGANS, start=1)}


def paint_organs(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the abdomen from back to front of precedence: later structures press into earlier."""
    _paint_small_bowel(canvas, rng)
    _paint_colon(canvas, rng)
    _paint_great_vessels(canvas, rng)
    _paint_liver(canvas, rng)
    _paint_spleen(canvas, rng)
    _paint_stomach(canvas, rng)
    _paint_kidney(canvas, rng, "kidney_l")
    _paint_kidney(canvas, rng, "kidney_r")
    _paint_duodenum(canvas, rng)
    _paint_gallbladder(canvas, rng)
    _paint_pancreas(canvas, rng)


def _gut(
    canvas: Canvas,
    part: Part3D,
    height: Array,
    caliber: Array,
    wall: float,
    content: Array | float,
    gas_level: float,
    organ: int | None = None,
) -> None:
    """Paint a hollow organ: wall, content, and gas above ``gas_level`` (in radii from the axis)."""
    box, distance = part
    wall_hu = canvas.texture(box, canvas.patient.hu["gut_wall"], fine=8)
    canvas.paint(part, wall_hu, organ=organ)
    lumen = (distance + wall * (1 + 0.25 * canvas.noise["fine"][box])).astype(np.float32)
    canvas.paint(Part3D(box, lumen), content)
    y = canvas.grid.deformed[1][box]
    surface = height + caliber * np.float32(gas_level)
    gas = np.maximum(lumen, surface - y)
    canvas.paint(Part3D(box, gas.astype(np.float32)), AIR_HU + 20)


def _content(canvas: Canvas, part: Part3D, rng: np.random.Generator, kind: str) -> Array:
    """Return CT numbers of what fills a bowel loop."""
    if kind == "fluid":
        return canvas.texture(part.box, rng.uniform(4, 30), fine=5)
    if kind == "contrast":
        return canvas.texture(part.box, rng.uniform(120, 320), fine=20, middle=20)
    if kind == "stool":
        rough = canvas.texture(part.box, rng.uniform(10, 50), fine=45, middle=25)
        pockets = np.clip(canvas.noise["fine"][part.box] - 0.8, 0, 1) * -700
        return np.asarray(rough + pockets, np.float32)
    return canvas.texture(part.box, canvas.patient.hu["gut_wall"] - 10, fine=14)


def _paint_small_bowel(canvas: Canvas, rng: np.random.Generator) -> None:
    patient = canvas.patient
    oral = rng.random() < 0.25
    for _ in range(26):
        center = patient.at(rng.uniform(-85, 70), rng.uniform(55, 108), rng.uniform(-150, -28))
        steps = rng.normal(size=(7, 3)) * (26, 16, 18)
        control = center + np.cumsum(steps, axis=0) - steps.sum(axis=0) / 2
        radius = rng.uniform(8.5, 14.0)
        radii = radius * rng.uniform(0.8, 1.15, 7)
        kind = str(rng.choice(["collapsed", "fluid", "stool"], p=[0.55, 0.4, 0.05]))
        gas = rng.uniform(-0.2, 1.2) if rng.random() < 0.25 else 9.0
        if oral and kind == "fluid":
            kind = "contrast"
        tube, height, caliber = canvas.grid.tube(*curve(control, radii, 0.5))
        if not tube.distance.size:
            continue
        tube = canvas.inside(canvas.rough(tube, middle=1.2, fine=0.7), gap=2.0)
        canvas.halo(tube, 1.5, 1.0, FAT_HU + 8)
        _gut(canvas, tube, height, caliber, 2.2, _content(canvas, tube, rng, kind), gas)


def _paint_colon(canvas: Canvas, rng: np.random.Generator) -> None:
    at = canvas.patient.at
    droop = rng.uniform(-45, 10)
    jitter = lambda: rng.normal(0, 7, 3)  # noqa: E731
    paths = {
        "ascending": [(100, 22, -170), (102, 26, -120), (98, 32, -88), (80, 58, -78)],
        "transverse": [
            (84, 62, -76),
            (62, 96, -80 + droop / 2),
            (8, 104, -72 + droop),
            (-45, 100, -50 + droop / 2),
            (-92, 62, -12),
        ],
        "descending": [
            (-96, 52, -8),
            (-110, 8, -18),
            (-114, -6, -60),
            (-108, 4, -115),
            (-104, 20, -170),
        ],
    }
    for path in paths.values():
        control = np.array([at(*p) + jitter() for p in path])
        radii = rng.uniform(13, 24) * rng.uniform(0.85, 1.15, len(path))
        points, radii = curve(control, radii, 0.3)
        along = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
        radii = radii * (1 + 0.17 * np.sin(2 * np.pi * along / rng.uniform(24, 34)))
        tube, height, caliber = canvas.grid.tube(points, radii.astype(np.float32))
        if not tube.distance.size:
            continue
        tube = canvas.inside(canvas.rough(tube, middle=1.5, fine=0.8), gap=2.0)
        canvas.halo(tube, 2.0, 1.2, FAT_HU + 6)
        kind = str(rng.choice(["stool", "fluid", "collapsed"], p=[0.7, 0.1, 0.2]))
        gas = rng.uniform(-1.0, 1.0) if rng.random() < 0.75 else 9.0
        content = _content(canvas, tube, rng, kind)
        _gut(canvas, tube, height, caliber, 2.4, content, gas)


def _vessel(canvas: Canvas, points: list[np.ndarray], radii: tuple[float, ...], hu: float) -> None:
    tube, _, _ = canvas.grid.tube(*curve(points, radii, 0.5), reach=3)
    if tube.distance.size:
        canvas.paint(tube, canvas.texture(tube.box, hu, fine=5))


def _paint_great_vessels(canvas: Canvas, rng: np.random.Generator) -> None:
    at, hu = canvas.patient.at, canvas.patient.hu
    muscle = hu["muscle"]
    for side in (1, -1):
        _vessel(
            canvas,
            [at(side * 12, 22, 45), at(side * 13, 21, 0), at(side * 10, 20, -55)],
            (6, 6, 3),
            muscle,
        )
        adrenal = [at(side * 30, 26, -2), at(side * 38, 10, -12), at(side * 44, -4, -16)]
        _vessel(canvas, adrenal, (3, 3.2, 2), 0.5 * (muscle + hu["spleen"]))
    sway = rng.normal(0, 3, 4)
    aorta = [
        at(-12, 18, 150),
        at(-9, 27 + sway[0], 50),
        at(-5 + sway[1], 30, -30),
        at(-3, 29, -180),
    ]
    _vessel(canvas, aorta, (11.5, 11, 10, 8.5), hu["aorta"])
    cava = [at(26, 36, 75), at(25, 30 + sway[2], 20), at(21, 25, -40), at(18 + sway[3], 24, -180)]
    _vessel(canvas, cava, (12, 11, 11.5, 10), hu["vein"])
    for side in (1, -1):
        artery = [at(-5, 30, -52), at(side * 25, 14, -54), at(side * 46, 0, -56)]
        _vessel(canvas, artery, (4.5, 4, 4), hu["vein"] + 15)
    mesenteric = [at(-5, 40, -30), at(-4, 52, -45), at(-2, 62, -100), at(6, 68, -160)]
    _vessel(canvas, mesenteric, (3.5, 3.5, 3, 2.5), hu["aorta"])
    _vessel(
        canvas, [at(8, 64, -160), at(9, 58, -90), at(10, 52, -42)], (3.5, 5, 6), hu["portal_vein"]
    )
    _vessel(
        canvas,
        [at(-9, 56, 55), at(-10, 40, 42), at(-25, 45, 30), at(-38, 42, 26)],
        (8, 8, 9, 10),
        hu["gut_wall"],
    )


def _paint_liver(canvas: Canvas, rng: np.random.Generator) -> None:
    patient, grid = canvas.patient, canvas.grid
    size, shift = patient.size["liver"], patient.shift["liver"]
    at = patient.at
    box = grid.box(at(-95, -80, -125) + shift, at(160, 130, 100))
    x, y, z = (field[box] for field in grid.deformed)
    right = grid.ellipsoid(
        at(84, 24, -2) + shift,
        np.array([80, 90, 96]) * size,
        rotation(8, rng.uniform(-16, -8), 0),
        box=box,
    ).distance
    reach = rng.uniform(0.8, 1.15)
    left = grid.ellipsoid(
        at(6, 84, 28) + shift,
        np.array([74 * reach, 48, 46]) * size,
        rotation(-12, rng.uniform(-8, 8), -14),
        box=box,
    ).distance
    caudate = grid.ellipsoid(
        at(32, 42, 18) + shift, np.array([26, 26, 36]) * size, box=box
    ).distance
    body = smooth_union(smooth_union(right, left, 22), caudate, 14)
    fissure = grid.ellipsoid(at(26, 62, -42) + shift, (34, 44, 44), rotation(25, -20, 20), box=box)
    ligament = np.maximum(np.abs(x - at(16, 0, 0)[0] - 0.15 * (y - 80)) - 2.0, 68 - y + 0.5 * z)
    spine = np.hypot(x, y - 8) - 36
    bite = np.minimum(np.minimum(-fissure.distance, 200), spine)
    distance = np.maximum(body, -np.minimum(fissure.distance, np.minimum(ligament, spine)))
    del bite
    part = Part3D(box, distance.astype(np.float32))
    part = canvas.inside(canvas.rough(part, wide=4.0, middle=1.3), gap=0.8)
    canvas.halo(part, 1.0, 1.0, FAT_HU + 10)
    hu = patient.hu["liver"]
    canvas.paint(part, canvas.texture(box, hu, fine=4, middle=3, wide=3), LABEL["liver"])
    _paint_liver_vessels(canvas, part, rng, shift)
    _vessel(
        canvas, [at(26, 36, 75), at(25, 30, 20), at(22, 26, -20)], (12, 11, 11), patient.hu["vein"]
    )
    canvas.label[box][np.hypot(x - at(25, 0, 0)[0], y - at(0, 32, 0)[1]) < 11] = 0
    for _ in range(int(rng.poisson(0.7))):
        center = at(rng.uniform(40, 125), rng.uniform(-20, 90), rng.uniform(-50, 55))
        radius = rng.uniform(4, 15)
        lesion = canvas.rough(grid.ellipsoid(center, radius * rng.uniform(0.8, 1.2, 3)), middle=1.0)
        inner = np.full(grid.shape, np.float32(50))
        inner[box] = part.distance
        cut = Part3D(lesion.box, np.maximum(lesion.distance, inner[lesion.box] + 2))
        canvas.paint(cut, float(rng.choice([8.0, hu - 40])))


def _paint_liver_vessels(
    canvas: Canvas, liver: Part3D, rng: np.random.Generator, shift: np.ndarray
) -> None:
    """Paint portal branches from the hilum and hepatic veins to the vena cava."""
    patient = canvas.patient
    at, hu = patient.at, patient.hu
    whole = np.full(canvas.grid.shape, np.float32(50))
    whole[liver.box] = liver.distance
    hilum = at(38, 52, -14) + shift
    _vessel(canvas, [at(10, 52, -42), at(24, 52, -28), hilum], (6.5, 7, 7), hu["portal_vein"])
    ends = [
        (105, 10, -40),
        (115, 50, -25),
        (110, 15, 20),
        (95, 75, 15),
        (20, 85, 15),
        (-15, 90, 30),
    ]
    for end in ends:
        tip = at(*end) + rng.normal(0, 10, 3)
        middle = 0.5 * (tip + hilum) + rng.normal(0, 7, 3)
        _branch(canvas, whole, [hilum, middle, tip], (5.5, 4, 2), hu["portal_vein"])
    cava = at(27, 32, 58)
    for end in ((115, 20, 15), (90, 80, 20), (10, 85, 40), (100, -20, 35)):
        tip = at(*end) + rng.normal(0, 10, 3)
        middle = 0.5 * (tip + cava) + rng.normal(0, 6, 3) + (0, 0, 5)
        _branch(canvas, whole, [cava, middle, tip], (5.5, 4, 2), hu["vein"] + 5)


def _branch(
    canvas: Canvas, organ: Array, points: list[np.ndarray], radii: tuple[float, ...], hu: float
) -> None:
    tube, _, _ = canvas.grid.tube(*curve(points, radii, 0.6), reach=3)
    if tube.distance.size:
        inside = np.maximum(tube.distance, organ[tube.box] + 2)
        canvas.paint(Part3D(tube.box, inside), hu)


def _paint_spleen(canvas: Canvas, rng: np.random.Generator) -> None:
    patient, grid = canvas.patient, canvas.grid
    size, shift = patient.size["spleen"], patient.shift["spleen"]
    center = patient.at(-100, -14, 4) + shift
    outer = grid.ellipsoid(
        center, np.array([44, 56, 54]) * size, rotation(15, 0, rng.uniform(-15, 10))
    )
    hollow = grid.ellipsoid(
        patient.at(-58, 26, 4) + 0.4 * shift,
        np.array([48, 52, 80]),
        rotation(0, 8, -20),
        box=outer.box,
    )
    part = Part3D(outer.box, np.maximum(outer.distance, -hollow.distance))
    part = canvas.inside(canvas.rough(part, wide=-3.5, middle=1.2), gap=1.0)
    canvas.halo(part, 1.0, 1.0, FAT_HU + 10)
    hu = patient.hu["spleen"]
    mottled = 22 if patient.phase == "arterial" else 3
    canvas.paint(part, canvas.texture(part.box, hu, middle=mottled, fine=4), LABEL["spleen"])


def _paint_stomach(canvas: Canvas, rng: np.random.Generator) -> None:
    patient = canvas.patient
    size = patient.size["stomach"] ** 1.3
    shift = patient.shift["stomach"]
    antrum = rng.uniform(-25, 12)
    path = [
        (-62, 14, 44),
        (-68, 36, 24),
        (-64, 66, -6),
        (-38, 86, -30 + antrum),
        (-8, 88, -40 + antrum),
        (16, 80, -40 + 0.6 * antrum),
        (34, 70, -36),
    ]
    control = np.array([patient.at(*p) + shift + rng.normal(0, 4, 3) for p in path])
    radii = np.array([30, 35, 32, 26, 20, 15, 8]) * np.r_[np.full(5, size), size**0.5, 1.0]
    radii[1:5] *= rng.uniform(0.85, 1.15, 4)
    points, radii = curve(control, radii, 0.2)
    tube, height, caliber = canvas.grid.tube(points, radii)
    part = canvas.inside(canvas.rough(tube, wide=2.5, middle=1.5), gap=1.5)
    canvas.halo(part, 1.5, 1.5, FAT_HU + 10)
    kind = str(rng.choice(["fluid", "stool", "contrast", "collapsed"], p=[0.45, 0.3, 0.1, 0.15]))
    content = _content(canvas, part, rng, kind)
    level = float(height.max()) if rng.random() < 0.15 else rng.uniform(-0.1, 0.9)
    middle = np.full_like(height, np.float32(control[2:5, 1].mean()))
    full = np.full_like(caliber, np.float32(24.0))
    wall = rng.uniform(3.0, 5.5)
    _gut(canvas, part, middle, full, wall, content, level, LABEL["stomach"])


def _paint_kidney(canvas: Canvas, rng: np.random.Generator, organ: str) -> None:
    patient, grid = canvas.patient, canvas.grid
    side = 1.0 if organ == "kidney_r" else -1.0
    size = patient.size[organ]
    center = patient.at(side * 64, -8, -62 if side < 0 else -70) + patient.shift[organ]
    center[1] -= 0.25 * (patient.fat - 14)
    turn = rotation(rng.normal(-10, 5), side * rng.normal(12, 4), side * rng.normal(-32, 10))
    # the local x axis points to the lateral side in both kidneys
    turn = turn @ np.diag([side, 1.0, 1.0])
    radii = np.array([29, 28.5, 53]) * size
    bean = grid.ellipsoid(center, radii, turn, bend=0.0035)
    box = bean.box
    hilum = center + turn @ np.array([-20.0 * size, 0, 0])
    sinus = grid.ellipsoid(hilum, np.array([19, 9, 23]) * size, turn, box=box)
    sinus = canvas.rough(sinus, middle=1.5, fine=1.0)
    shape = canvas.rough(bean, middle=0.9, wide=1.2)
    fascia = Part3D(box, np.maximum(shape.distance - (3 + 0.25 * patient.fat), canvas.cavity[box]))
    canvas.paint(fascia, canvas.texture(box, FAT_HU, fine=7), organ=0)
    solid = Part3D(box, np.maximum(shape.distance, -sinus.distance).astype(np.float32))
    solid = canvas.inside(solid, gap=-2.0)
    hu = patient.hu
    pyramids = np.clip(0.5 + canvas.noise["middle"][box], 0, 1)
    deep = np.clip((-bean.distance - 6) / 4, 0, 1) * pyramids
    value = hu["cortex"] + deep * (hu["medulla"] - hu["cortex"]) + 5 * canvas.noise["fine"][box]
    canvas.paint(solid, value.astype(np.float32), LABEL[organ])
    pelvis = grid.ellipsoid(hilum, np.array([15, 4.5, 11]) * size, turn, box=box)
    pelvis_hu = 12.0 if patient.phase != "portal" else float(rng.choice([12.0, 60.0]))
    urine = Part3D(box, np.maximum(pelvis.distance, sinus.distance))
    canvas.paint(urine, pelvis_hu)
    if rng.random() < 0.2:
        spot = center + turn @ np.array([18.0, rng.uniform(-15, 15), rng.uniform(-30, 30)])
        canvas.paint(grid.ellipsoid(spot, np.full(3, rng.uniform(4, 10))), 6.0)


def _paint_duodenum(canvas: Canvas, rng: np.random.Generator) -> None:
    patient = canvas.patient
    shift = 0.6 * patient.shift["pancreas"] + 0.2 * patient.shift["stomach"]
    path = [
        (36, 70, -36),
        (52, 58, -42),
        (55, 46, -62),
        (48, 38, -92),
        (20, 40, -104),
        (-14, 46, -98),
        (-34, 52, -78),
    ]
    control = np.array([patient.at(*p) + shift + rng.normal(0, 4, 3) for p in path])
    radii = rng.uniform(10, 13.5) * rng.uniform(0.8, 1.2, len(path))
    tube, height, caliber = canvas.grid.tube(*curve(control, radii, 0.35))
    tube = canvas.rough(tube, middle=1.3, fine=0.8)
    canvas.halo(tube, 0.5, 1.0, FAT_HU + 12)
    kind = str(rng.choice(["collapsed", "fluid"], p=[0.6, 0.4]))
    gas = rng.uniform(0.2, 1.0) if rng.random() < 0.35 else 9.0
    _gut(canvas, tube, height, caliber, 3.0, _content(canvas, tube, rng, kind), gas, organ=0)


def _paint_gallbladder(canvas: Canvas, rng: np.random.Generator) -> None:
    patient = canvas.patient
    shift = 0.6 * patient.shift["gallbladder"] + 0.7 * patient.shift["liver"]
    size = patient.size["gallbladder"]
    path = [(46, 56, -26), (58, 68, -36), (68, 82, -50), (74, 92, -62)]
    control = np.array([patient.at(*p) + shift + rng.normal(0, 3, 3) for p in path])
    radii = np.array([4, 11, 15, 12]) * size**1.4
    tube, _, _ = canvas.grid.tube(*curve(control, radii, 0.2))
    if not patient.has_gallbladder:
        return
    part = canvas.inside(canvas.rough(tube, middle=0.8), gap=1.5)
    fat_side = Part3D(
        part.box, np.where(canvas.label[part.box] == LABEL["liver"], 20, part.distance)
    )
    canvas.halo(fat_side, 0.5, 1.2, FAT_HU + 15)
    wall = canvas.texture(part.box, 0.5 * patient.hu["gut_wall"] + 10, fine=5)
    canvas.paint(part, wall, LABEL["gallbladder"])
    bile = Part3D(part.box, part.distance + 1.6)
    layered = canvas.texture(part.box, patient.hu["gallbladder"], fine=3)
    canvas.paint(bile, layered)


def _paint_pancreas(canvas: Canvas, rng: np.random.Generator) -> None:
    patient = canvas.patient
    at, hu = patient.at, patient.hu
    size, shift = patient.size["pancreas"] ** 1.4, patient.shift["pancreas"]
    tail = rng.uniform(-26, 16)
    path = [
        (28, 50, -74),
        (32, 54, -58),
        (24, 60, -44),
        (6, 68, -36),
        (-18, 66, -28 + 0.2 * tail),
        (-46, 50, -20 + 0.6 * tail),
        (-72, 28, -14 + tail),
        (-86, 10, -8 + tail),
    ]
    jitter = rng.normal(0, 3.5, (len(path), 3))
    control = np.array([at(*p) for p in path]) + shift + jitter
    radii = np.array([11, 15.5, 13.5, 9, 10.5, 10.5, 10.5, 7]) * size * rng.uniform(0.9, 1.1, 8)
    vein = control[3:8] + (0, -9, 1)
    vein = np.concatenate([[at(10, 52, -40) + 0.5 * shift], vein])
    tube, _, _ = canvas.grid.tube(*curve(control, radii, 0.25))
    part = canvas.inside(canvas.rough(tube, wide=1.0, middle=1.2, fine=1.3), gap=1.0)
    canvas.halo(part, 0.8 + 0.08 * (patient.fat - 14), 1.5, FAT_HU + 15)
    canvas.paint(
        part, canvas.texture(part.box, hu["pancreas"], fine=7, middle=3), LABEL["pancreas"]
    )
    clefts = np.maximum(part.distance, 1.35 - canvas.noise["fine"][part.box])
    canvas.paint(Part3D(part.box, clefts.astype(np.float32)), FAT_HU + 60)
    _vessel(canvas, list(vein), (5.5, 4.5, 4.5, 4, 4, 3.5), hu["portal_vein"])
    points, caliber = curve(vein, (5.5, 4.5, 4.5, 4, 4, 3.5), 0.5)
    vessel, _, _ = canvas.grid.tube(points, caliber, reach=1)
    canvas.label[vessel.box][vessel.distance < 0] = 0
