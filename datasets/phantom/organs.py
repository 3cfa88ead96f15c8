"""The solid organs and the vessels between them, each painted over those it indents.

Positions are in mm in the reference patient: vertebral body at the origin, x to the right, y to the
front, z to the head, 0 at the centre of the liver. Sizes follow label maps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .calibration import FAT_HU, KIDNEY_RADII_MM, LABEL
from .canvas import Canvas
from .fields import Array, Part3D, curve, rotation, smooth_union
from .gut import (
    paint_colon,
    paint_duodenum,
    paint_small_bowel,
    paint_stomach,
)

Point = npt.NDArray[np.float64]


def paint_organs(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the abdomen in the order of precedence: later structures press into earlier ones."""
    paint_small_bowel(canvas, rng)
    paint_colon(canvas, rng)
    _paint_great_vessels(canvas, rng)
    _paint_liver(canvas, rng)
    _paint_spleen(canvas, rng)
    paint_stomach(canvas, rng)
    for organ in ("kidney_l", "kidney_r"):
        _paint_kidney(canvas, rng, organ)
    paint_duodenum(canvas, rng)
    _paint_gallbladder(canvas, rng)
    _paint_pancreas(canvas, rng)


def _vessel(
    canvas: Canvas,
    points: Sequence[Point],
    radii: Sequence[float],
    hu: float,
    within: Array | None = None,
    organ: int | None = 0,
) -> None:
    """Paint a vessel; by default it belongs to no organ it runs through.

    ``within`` is the distance to an organ (whole grid) that the vessel must not leave.
    """
    box, distance = canvas.grid.tube(*curve(points, radii, 0.5), reach=3)
    if within is not None:
        distance = np.maximum(distance, within[box] + 2)
    canvas.paint(Part3D(box, distance), canvas.texture(box, hu, fine=5), organ=organ)


def _paint_great_vessels(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint aorta, vena cava, renal and mesenteric vessels, crura, adrenals, oesophagus."""
    at, hu = canvas.patient.at, canvas.patient.hu
    muscle = hu["muscle"]
    for side in (1, -1):
        crus = [at(side * 12, 22, 45), at(side * 13, 21, 0), at(side * 10, 20, -55)]
        _vessel(canvas, crus, (6, 6, 3), muscle)
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
        renal = [at(-5, 30, -50), at(side * 25, 14, -54), at(side * 52, -8, -58)]
        _vessel(canvas, renal, (4.5, 4, 4), hu["vein"] + 15)
    artery = [at(-5, 40, -30), at(-4, 52, -45), at(-2, 62, -100), at(6, 68, -160)]
    _vessel(canvas, artery, (3.5, 3.5, 3, 2.5), hu["aorta"])
    vein = [at(8, 64, -160), at(9, 58, -90), at(10, 52, -42)]
    _vessel(canvas, vein, (3.5, 5, 6), hu["portal_vein"])
    oesophagus = [at(-9, 50, 60), at(-10, 40, 42), at(-25, 45, 30), at(-38, 42, 26)]
    _vessel(canvas, oesophagus, (8, 8, 9, 10), hu["gut_wall"])


def _paint_liver(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a right lobe moulded by wall and diaphragm, a left wedge, the caudate, the fissures."""
    patient, grid, at = canvas.patient, canvas.grid, canvas.patient.at
    size, shift = patient.size["liver"], patient.shift["liver"]
    tilt, swing, reach = rng.uniform(-16, -8), rng.uniform(-8, 8), rng.uniform(0.8, 1.15)
    box = grid.box(at(-100, -85, -130) + shift, at(165, 130, 105))
    x, y, z = (field[box] for field in grid.deformed)
    right = grid.ellipsoid(
        at(88, 21, -2) + shift, np.array([82, 96, 92]) * size, rotation(8, tilt, 0), box=box
    )
    left = grid.ellipsoid(
        at(10, 84, 28) + shift,
        np.array([74 * reach, 48, 46]) * size,
        rotation(-12, swing, -14),
        box=box,
    )
    caudate = grid.ellipsoid(at(32, 42, 18) + shift, np.array([26, 26, 36]) * size, box=box)
    body = smooth_union(right.distance, left.distance, 22)
    body = smooth_union(body, caudate.distance, 14)
    hilum = grid.ellipsoid(at(28, 62, -42) + shift, (27, 42, 40), rotation(25, -20, 20), box=box)
    ligament = np.maximum(np.abs(x - at(16, 0, 0)[0] - 0.15 * (y - 80)) - 0.8, 68 - y + 0.5 * z)
    spine = np.hypot(x, y - 8) - 36
    gaps = np.minimum(np.minimum(hilum.distance, ligament), spine)
    part = Part3D(box, np.maximum(body, -gaps))
    part = canvas.inside(canvas.rough(part, wide=4.0, middle=1.3), gap=0.8)
    canvas.paint(Part3D(box, np.maximum(body, ligament)), FAT_HU + 20)
    canvas.halo(part, 1.0, 1.0, FAT_HU + 10)
    parenchyma = canvas.texture(box, patient.hu["liver"], fine=4, middle=3, wide=3)
    canvas.paint(part, parenchyma, LABEL["liver"])
    whole = np.full(grid.shape, 50.0)
    whole[box] = part.distance
    _paint_liver_vessels(canvas, rng, whole)
    _paint_lesions(canvas, rng, whole)


def _paint_liver_vessels(canvas: Canvas, rng: np.random.Generator, liver: Array) -> None:
    """Paint the vena cava, the portal vein with two orders of branches, the hepatic veins."""
    patient, at, hu = canvas.patient, canvas.patient.at, canvas.patient.hu
    cava = [at(26, 36, 75), at(25, 30, 20), at(22, 26, -20)]
    _vessel(canvas, cava, (12, 11, 11), hu["vein"])
    hilum = at(38, 52, -14) + patient.shift["liver"]
    _vessel(canvas, [at(10, 52, -42), at(24, 52, -28), hilum], (6.5, 7, 7), hu["portal_vein"])
    ends = (
        (110, 10, -40),
        (120, 50, -25),
        (115, 15, 20),
        (100, 75, 15),
        (22, 85, 15),
        (-12, 90, 30),
    )
    for end in ends:
        tip = at(*end) + rng.normal(0, 10, 3)
        middle = 0.5 * (tip + hilum) + rng.normal(0, 7, 3)
        twigs = 0.4 * middle + 0.6 * tip + rng.normal(0, 22, (2, 3))
        _vessel(canvas, [hilum, middle, tip], (5.5, 4, 2), hu["portal_vein"], liver, None)
        for twig in twigs:
            _vessel(canvas, [middle, twig], (3.2, 2), hu["portal_vein"], liver, None)
    root = at(27, 32, 58)
    for end in ((120, 20, 15), (94, 80, 20), (12, 85, 40), (105, -20, 35)):
        tip = at(*end) + rng.normal(0, 10, 3)
        middle = 0.5 * (tip + root) + rng.normal(0, 6, 3) + (0, 0, 5)
        _vessel(canvas, [root, middle, tip], (5.5, 4, 2), hu["vein"] + 8, liver, None)


def _paint_lesions(canvas: Canvas, rng: np.random.Generator, liver: Array) -> None:
    """Paint cysts and hypovascular lesions; they are liver to the annotator."""
    for _ in range(int(rng.poisson(0.7))):
        x, y, z = rng.uniform(40, 125), rng.uniform(-20, 90), rng.uniform(-50, 55)
        center = canvas.patient.at(x, y, z)
        radii = rng.uniform(4, 15) * rng.uniform(0.8, 1.2, 3)
        value = float(rng.choice([8.0, canvas.patient.hu["liver"] - 40]))
        lesion = canvas.rough(canvas.grid.ellipsoid(center, radii), middle=1.0)
        inside = np.maximum(lesion.distance, liver[lesion.box] + 2)
        canvas.paint(Part3D(lesion.box, inside), value)


def _paint_spleen(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a crescent between the left wall and the bed of the stomach."""
    patient, grid = canvas.patient, canvas.grid
    size, shift = patient.size["spleen"], patient.shift["spleen"]
    turn = rotation(15, 0, rng.uniform(-15, 10))
    outer = grid.ellipsoid(patient.at(-97, -24, 2) + shift, np.array([67, 77, 62]) * size, turn)
    bed = grid.ellipsoid(
        patient.at(-50, 28, 4) + 0.4 * shift, (31, 42, 72), rotation(0, 8, -20), box=outer.box
    )
    part = Part3D(outer.box, np.maximum(outer.distance, -bed.distance))
    part = canvas.inside(canvas.rough(part, wide=-3.5, middle=1.2), gap=1.0)
    canvas.halo(part, 1.0, 1.0, FAT_HU + 10)
    # the spleen is mottled while the arterial bolus passes through its pulp
    mottled = 22 if patient.phase == "arterial" else 3
    pulp = canvas.texture(part.box, patient.hu["spleen"], middle=mottled, fine=4)
    canvas.paint(part, pulp, LABEL["spleen"])


def _paint_kidney(canvas: Canvas, rng: np.random.Generator, organ: str) -> None:
    """Paint a bean with cortex, pyramids, sinus fat, pelvis and perirenal fat.

    Both kidneys have one shape, mirrored: only their position tells them apart.
    """
    patient, grid, hu = canvas.patient, canvas.grid, canvas.patient.hu
    side = 1.0 if organ == "kidney_r" else -1.0
    size = patient.size[organ]
    center = patient.kidney_center(organ)
    turn = rotation(rng.normal(-10, 5), side * rng.normal(12, 4), side * rng.normal(-32, 10))
    turn = turn @ np.diag([side, 1.0, 1.0])
    bean = grid.ellipsoid(center, np.array(KIDNEY_RADII_MM) * size, turn, bend=0.0035)
    box = bean.box
    hilum = center + turn @ np.array([-20.0 * size, 0, 0])
    sinus = grid.ellipsoid(hilum, np.array([17, 8, 20]) * size, turn, box=box)
    sinus = canvas.rough(sinus, middle=1.5, fine=1.0)
    pelvis = grid.ellipsoid(hilum, np.array([14, 5, 12]) * size, turn, box=box)
    shape = canvas.rough(bean, middle=0.9, wide=1.2)
    capsule = 1.0 + 0.22 * patient.fat + 2.5 * canvas.noise["middle"][box]
    fat = np.maximum(shape.distance - capsule, canvas.cavity[box])
    canvas.paint(Part3D(box, fat), canvas.texture(box, FAT_HU, fine=7), organ=0)

    solid = canvas.inside(Part3D(box, np.maximum(shape.distance, -sinus.distance)), gap=-2.0)
    pyramids = np.clip(0.5 + canvas.noise["middle"][box], 0, 1)
    deep = np.clip((-bean.distance - 6) / 4, 0, 1) * pyramids
    value = hu["cortex"] + (hu["medulla"] - hu["cortex"]) * deep
    canvas.paint(solid, value + 5 * canvas.noise["fine"][box], LABEL[organ])
    excreted = rng.random() < 0.5
    urine = 60.0 if excreted and patient.phase == "portal" else 12.0
    canvas.paint(Part3D(box, np.maximum(pelvis.distance, sinus.distance)), urine)
    cyst, where, radius = rng.random(), rng.uniform(-1, 1, 2), rng.uniform(4, 10)
    if cyst < 0.2:
        spot = center + turn @ np.array([18.0, 15 * where[0], 30 * where[1]])
        canvas.paint(grid.ellipsoid(spot, np.full(3, radius)), 6.0)


def _paint_gallbladder(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint the pear below the liver; nothing where it was removed."""
    patient = canvas.patient
    shift = 0.6 * patient.shift["gallbladder"] + 0.7 * patient.shift["liver"]
    path = [(48, 54, -24), (61, 65, -34), (72, 78, -47), (79, 87, -58)]
    control = np.array([patient.at(*p) for p in path]) + shift + rng.normal(0, 3, (4, 3))
    if not patient.has_gallbladder:
        return
    radii = np.array([4.5, 10, 13, 11]) * patient.size["gallbladder"] ** 1.3
    tube = canvas.grid.tube(*curve(control, radii, 0.2))
    part = canvas.inside(canvas.rough(tube, middle=0.8), gap=1.5)
    box = part.box
    free = Part3D(box, np.where(canvas.label[box] == LABEL["liver"], 20, part.distance))
    canvas.halo(free, 0.5, 1.2, FAT_HU + 15)
    wall = canvas.texture(box, 0.5 * patient.hu["gut_wall"] + 10, fine=5)
    canvas.paint(part, wall, LABEL["gallbladder"])
    bile = Part3D(box, part.distance + 1.6)
    canvas.paint(bile, canvas.texture(box, patient.hu["gallbladder"], fine=3))


def _paint_pancreas(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint head, neck, body and tail, lobulated, with the splenic vein behind."""
    patient, at = canvas.patient, canvas.patient.at
    size, shift = patient.size["pancreas"] ** 1.4, patient.shift["pancreas"]
    tail = rng.uniform(-26, 16)
    path = [
        (23, 46, -69),
        (27, 50, -53),
        (19, 56, -39),
        (1, 64, -31),
        (-23, 62, -23 + 0.2 * tail),
        (-51, 46, -15 + 0.6 * tail),
        (-77, 24, -9 + tail),
        (-91, 6, -3 + tail),
    ]
    control = np.array([at(*p) for p in path]) + shift + rng.normal(0, 3.5, (len(path), 3))
    radii = np.array([11, 15, 13, 8.5, 10, 10, 10, 7]) * size * rng.uniform(0.9, 1.1, 8)
    part = canvas.grid.tube(*curve(control, radii, 0.25))
    part = canvas.inside(canvas.rough(part, wide=1.0, middle=1.2, fine=1.3), gap=1.0)
    box = part.box
    canvas.halo(part, 0.8 + 0.08 * (patient.fat - 14), 1.5, FAT_HU + 15)
    gland = canvas.texture(box, patient.hu["pancreas"], fine=7, middle=3)
    canvas.paint(part, gland, LABEL["pancreas"])
    clefts = np.maximum(part.distance, 1.7 - canvas.noise["fine"][box])
    canvas.paint(Part3D(box, clefts), -20.0)
    along = np.gradient(control, axis=0)[3:, :2]
    behind = np.stack([-along[:, 1], along[:, 0], np.zeros(5)], axis=1)
    behind *= (radii[3:, None] + 1) / np.linalg.norm(behind, axis=1, keepdims=True)
    vein = [at(10, 52, -40) + 0.5 * shift, *(control[3:] + behind)]
    _vessel(canvas, vein, (5.5, 4.5, 4.5, 4, 4, 3.5), patient.hu["portal_vein"])
