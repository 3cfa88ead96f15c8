"""How fast is a case scored beside MONAI and DeepMind's surface-distance, and in how much memory?

``python benchmarks/evaluation.py`` makes label maps of a large scan (7 organs of the phantom, 512 x
512 x 300 voxels) and a prediction with displaced borders and voxels far away. Each program computes
DSC, HD95 and NSD at 2 mm of every organ, in a process of its own. ``surface-distance`` takes part
if it is installed (``pip install surface-distance``).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.evaluation.metrics import NSD_TOLERANCE_MM

SPACING_MM = (0.75, 0.75, 1.0)
ORGANS = tuple(f"organ{number}" for number in range(1, 8))

Labels = NDArray[np.uint8]
Scores = dict[str, tuple[float, float, float]]
"""DSC in %, HD95 in mm and NSD in % of every organ."""


def label_maps(shape: tuple[int, ...]) -> tuple[Labels, Labels]:
    """Return a prediction of the labels of a phantom patient, and these labels."""
    from scipy import ndimage

    from bench.data.catalogue import parse_dataset

    phantom = parse_dataset("phantom[n_cases=1,scale=2.0]")
    small = np.asarray(phantom.labels(phantom.cases()[0]).dataobj)
    zoom = np.divide(shape, small.shape)
    rng = np.random.default_rng(0)
    truth, predicted = np.zeros((2, *shape), np.uint8)
    for number, box in enumerate(ndimage.find_objects(small), start=1):
        around = tuple(
            slice(max(0, side.start - 6), min(n, side.stop + 6))
            for side, n in zip(box, small.shape, strict=True)
        )
        organ = ndimage.gaussian_filter((small[around] == number).astype(np.float32), 1)
        noise = ndimage.gaussian_filter(rng.standard_normal(organ.shape, np.float32), 3)
        erring = organ + np.where(organ > 0.02, 0.25 * noise / noise.std(), 0)
        corner = tuple(int(side.start * z) for side, z in zip(around, zoom, strict=True))
        for labels, soft in ((truth, organ), (predicted, erring)):
            large = ndimage.zoom(soft, zoom, order=1)
            place = tuple(slice(at, at + n) for at, n in zip(corner, large.shape, strict=True))
            room = labels[place]
            room[large[tuple(map(slice, room.shape))] > 0.5] = number
    return predicted, truth


def ours(predicted: Labels, truth: Labels) -> Scores:
    from bench.evaluation.cases import case_scores
    from bench.evaluation.metrics import METRICS

    metrics = {name: METRICS[name] for name in ("dsc", "hd95_mm", "nsd")}
    rows = case_scores(predicted, truth, [True] * 7, ORGANS, SPACING_MM, metrics)
    return {row["organ"]: tuple(row[name] for name in metrics) for row in rows}


def monai(predicted: Labels, truth: Labels) -> Scores:
    """Return the scores of MONAI's three metrics, organ by organ."""
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance as hausdorff
    from monai.metrics.meandice import compute_dice as dice
    from monai.metrics.surface_dice import compute_surface_dice as surface_dice

    scores: Scores = {}
    for number, organ in enumerate(ORGANS, start=1):
        p, t = (torch.from_numpy(m == number)[None, None] for m in (predicted, truth))
        dsc = dice(p, t)
        hd95 = hausdorff(p, t, include_background=True, percentile=95, spacing=SPACING_MM)
        nsd = surface_dice(p, t, [NSD_TOLERANCE_MM], include_background=True, spacing=SPACING_MM)
        scores[organ] = (100 * float(dsc), float(hd95), 100 * float(nsd))
    return scores


def monai_distances(predicted: Labels, truth: Labels) -> Scores:
    """Return the scores from MONAI's surface distances, computed once for each organ."""
    import torch
    from monai.metrics.utils import get_edge_surface_distance

    scores: Scores = {}
    for number, organ in enumerate(ORGANS, start=1):
        p, t = predicted == number, truth == number
        _, distances, _ = get_edge_surface_distance(
            torch.from_numpy(p), torch.from_numpy(t), spacing=list(SPACING_MM), symmetric=True
        )
        both = [d.numpy() for d in distances]
        near = sum(int((d <= NSD_TOLERANCE_MM).sum()) for d in both)
        scores[organ] = (
            200 * int((p & t).sum()) / (int(p.sum()) + int(t.sum())),
            max(float(np.percentile(d, 95)) for d in both),
            100 * near / sum(map(len, both)),
        )
    return scores


def deepmind(predicted: Labels, truth: Labels) -> Scores:
    """Return the scores of surface-distance, whose surfaces are elements weighted by area."""
    sd = import_module("surface_distance")
    scores: Scores = {}
    for number, organ in enumerate(ORGANS, start=1):
        p, t = predicted == number, truth == number
        found = sd.compute_surface_distances(t, p, SPACING_MM)
        scores[organ] = (
            100 * float(sd.compute_dice_coefficient(t, p)),
            float(sd.compute_robust_hausdorff(found, 95)),
            100 * float(sd.compute_surface_dice_at_tolerance(found, NSD_TOLERANCE_MM)),
        )
    return scores


PROGRAMS: dict[str, Callable[[Labels, Labels], Scores]] = {
    "this suite": ours,
    "MONAI, three metrics": monai,
    "MONAI, distances once": monai_distances,
    "surface-distance": deepmind,
}


def measure(name: str, path: Path) -> None:
    """Print seconds, memory and scores of one program as JSON."""
    warnings.simplefilter("ignore")  # those of MONAI about its own arguments
    score = PROGRAMS[name]
    maps = np.load(path)
    cold = time.process_time()
    score(*(np.tile(np.arange(8, dtype=np.uint8)[:, None, None], (1, 8, 8)) for _ in range(2)))
    at_rest = peak_mb()
    started, warm = time.perf_counter(), time.process_time()
    scores = score(*maps)
    found = {
        "import_s": warm - cold,
        "wall_s": time.perf_counter() - started,
        "cpu_s": time.process_time() - warm,
        "at_rest_mb": at_rest,
        "peak_mb": peak_mb(),
        "scores": scores,
    }
    print(json.dumps(found))


def peak_mb() -> float:
    """Return the largest memory of this process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 300))
    parser.add_argument("--only", choices=("maps", *PROGRAMS), help=argparse.SUPPRESS)
    parser.add_argument("--maps", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "maps":
        np.save(options.maps, np.stack(label_maps(options.shape)))
    elif options.only:
        measure(options.only, options.maps)
    else:
        compare(options.shape)


def compare(shape: tuple[int, ...]) -> None:
    """Print what every program takes, one process after the other."""
    with tempfile.TemporaryDirectory() as folder:

        def run(part: str) -> str:
            command = [sys.executable, "-P", __file__, "--only", part, "--maps", f"{folder}/m.npy"]
            command += ["--shape", *map(str, shape)]
            return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout

        run("maps")
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; import: processor seconds")
        print("until a tiny case is scored; at rest: memory with the label maps, before the case")
        head = "import  cpu s wall s  cpu x wall x peak MB at rest  largest difference"
        print(f"{'':<21} {head}")
        ours: dict[str, Any] = {}
        for name in PROGRAMS:
            if name == "surface-distance" and not find_spec("surface_distance"):
                continue
            found = json.loads(run(name))
            ours = ours or found
            print(
                f"{name:<21} {found['import_s']:6.1f} {found['cpu_s']:6.1f} {found['wall_s']:6.1f}"
                f" {found['cpu_s'] / ours['cpu_s']:6.1f} {found['wall_s'] / ours['wall_s']:6.1f}"
                f" {found['peak_mb']:7.0f} {found['at_rest_mb']:7.0f}  {apart(found, ours)}"
            )
    for organ, scores in ours["scores"].items():
        print(f"{organ}: DSC {scores[0]:.1f} %, HD95 {scores[1]:.2f} mm, NSD {scores[2]:.1f} %")


def apart(found: dict[str, Any], ours: dict[str, Any]) -> str:
    """Return the largest difference of each score from ours."""
    values, own = (np.array(list(run["scores"].values())) for run in (found, ours))
    dsc, hd95, nsd = np.abs(values - own).max(axis=0)
    return f"DSC {dsc:.2g}, HD95 {hd95:.2g} mm, NSD {nsd:.2g}"


if __name__ == "__main__":
    main()
