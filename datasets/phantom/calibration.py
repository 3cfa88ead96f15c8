"""Calibration of the phantom: volumes of real label maps, CT numbers of real scans.

Volumes were measured on 18 public abdominal label maps resampled to 3 mm (the right kidney, which
they lack, takes the left one's). CT numbers were measured on one native and three portal-venous
scans where organs are labelled or could be sampled by hand; the arterial column and the spread
between patients follow the radiology literature. See ``docs/explanation/phantom.md``.
"""

from __future__ import annotations

ORGANS = ("liver", "gallbladder", "spleen", "kidney_l", "kidney_r", "pancreas", "stomach")
LABEL = {organ: number for number, organ in enumerate(ORGANS, start=1)}

REAL_VOLUME_ML: dict[str, tuple[float, float]] = {
    "liver": (1764.0, 420.0),
    "gallbladder": (29.2, 17.6),
    "spleen": (266.0, 116.0),
    "kidney_l": (177.0, 43.0),
    "kidney_r": (177.0, 43.0),
    "pancreas": (72.9, 22.9),
    "stomach": (403.0, 192.0),
}
"""Mean and standard deviation over patients."""

PHASES = ("native", "arterial", "portal")
PHASE_SHARE = (0.2, 0.2, 0.6)

TISSUE_HU: dict[str, tuple[float, float, float]] = {
    "liver": (54.0, 74.0, 118.0),
    "gallbladder": (8.0, 9.0, 10.0),
    "spleen": (44.0, 118.0, 122.0),
    "cortex": (28.0, 175.0, 192.0),
    "medulla": (26.0, 85.0, 145.0),
    "pancreas": (34.0, 106.0, 112.0),
    "gut_wall": (34.0, 78.0, 82.0),
    "muscle": (48.0, 56.0, 60.0),
    "aorta": (40.0, 300.0, 165.0),
    "vein": (40.0, 95.0, 135.0),
    "portal_vein": (40.0, 130.0, 165.0),
}
"""Mean CT number in native, late arterial and portal-venous phase."""

TISSUE_HU_SD: dict[str, float] = {
    "liver": 12.0,
    "gallbladder": 6.0,
    "spleen": 10.0,
    "cortex": 18.0,
    "medulla": 15.0,
    "pancreas": 13.0,
    "gut_wall": 10.0,
    "muscle": 6.0,
    "aorta": 22.0,
    "vein": 15.0,
    "portal_vein": 16.0,
}
"""Spread of the mean CT number between patients of one phase; a third of it in the native phase."""

CONTENT_HU: dict[str, tuple[float, float]] = {
    "fluid": (4.0, 30.0),
    "contrast": (120.0, 320.0),
    "stool": (10.0, 50.0),
    "collapsed": (-14.0, -6.0),
}
"""Range of CT numbers of gut contents; a collapsed loop has those of its wall."""

KIDNEY_RADII_MM = (32.5, 31.0, 56.0)

FAT_HU = -104.0
LUNG_HU = -860.0
AIR_HU = -1000.0

NOISE_HU = (8.0, 15.0)
"""Range of the standard deviation of scanner noise (11 to 14 HU inside real livers at 3 mm)."""
