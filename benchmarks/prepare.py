"""Preparation of one large CT scan beside a bare load with nibabel: seconds and peak memory.

    python benchmarks/prepare.py [SLICES]

A generated scan of 512 x 512 x 500 voxels with the noise of CT, int16 and compressed, is read by
nibabel as it is stored (``asanyarray``) and as float64 (``get_fdata``), and prepared by the stages
of the suite for a 2D network at three sizes of slices and for a 3D network, as ``bench data
prepare`` does, checks and checksums included. Every measurement is a process of its own, imports
are done before it. Ratios are to ``asanyarray``. Memory is the peak above that of the imports.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.nifti1 import Nifti1Image
from scipy.ndimage import gaussian_filter

from bench.data.catalogue import parse_dataset
from bench.data.fingerprint import fingerprint
from bench.engine.graph import StageGraph
from bench.engine.launchers.inline import Inline
from bench.engine.store import Store
from bench.experiment.method import Condition, Recipe, Source
from bench.experiment.profiles import parse_profile
from bench.nets.catalogue import parse_network
from bench.seeds import generator
from bench.stage import Stage

SIDE = 512
SPACING_MM = (0.8, 0.8, 1.0)
STAGES = {
    "Truth": ("paper", "unet_t11"),
    "Images, 128 px": ("quick", "unet_t11"),
    "Images, 256 px": ("fast", "unet_t11"),
    "Images, 512 px": ("paper", "unet_t11"),
    "Volumes, 3 mm": ("quick[voxel_mm=3]", "unet3d_t11"),
}
"""Name of a measurement, and the profile and network that it prepares for."""
REPEATS = 2


def write(folder: Path, n_slices: int) -> None:
    """Write a data set of one scan in nnU-Net layout."""
    x_X, y_Y = np.ogrid[:SIDE, :SIDE]
    structures = (  # HU, centre and radii in voxels
        (-90, (256, 256), (215, 150)),
        (45, (256, 256), (190, 125)),
        (105, (340, 280), (90, 85)),
        (400, (256, 170), (25, 25)),
    )
    image_XYZ = np.empty((SIDE, SIDE, n_slices), np.int16, order="F")
    labels_XYZ = np.zeros(image_XYZ.shape, np.uint8, order="F")
    for z in range(n_slices):
        slice_XY = np.full((SIDE, SIDE), -1000, np.float32)
        for hu, (cx, cy), (rx, ry) in structures:
            inside_XY = ((x_X - cx) / rx) ** 2 + ((y_Y - cy) / ry) ** 2 < 1
            slice_XY[inside_XY] = hu
            if hu == 105 and n_slices // 4 < z < n_slices // 2:
                labels_XYZ[inside_XY, z] = 1
        noise_XY = generator(0, "benchmark", z).normal(0, 40, slice_XY.shape)
        slice_XY += gaussian_filter(noise_XY, 0.8)
        image_XYZ[..., z] = np.clip(np.rint(slice_XY), -1024, 3071)
    affine = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    for array_XYZ, file in (
        (image_XYZ, folder / "imagesTr/scan_0000.nii.gz"),
        (labels_XYZ, folder / "labelsTr/scan.nii.gz"),
    ):
        file.parent.mkdir(parents=True)
        nib.save(Nifti1Image(array_XYZ, affine), file)
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}}
    (folder / "dataset.json").write_text(json.dumps({"name": "Large"} | about))


def stage(folder: Path, name: str, memory: Path) -> Stage:
    """Return the stage that a measurement computes."""
    dataset = parse_dataset(f"{folder}/")
    profile, network = STAGES[name]
    source = Source(dataset, fingerprint(dataset, dataset.cases(), memory))
    recipe = Recipe(Condition(source, 0, 100, parse_network(network), parse_profile(profile)))
    return recipe.truth if name == "Truth" else recipe.images


def measured(folder: Path, name: str) -> None:
    """Do what is measured, and print seconds, seconds of the processor, and megabytes."""
    file = folder / "imagesTr/scan_0000.nii.gz"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        work = {
            "asanyarray": lambda: np.asanyarray(nib.nifti1.load(file).dataobj),
            "get_fdata": lambda: nib.nifti1.load(file).get_fdata(),
        }.get(name)
        if work is None:
            import torch  # noqa: F401  (loaded before the clock starts)

            store = Store(Path(scratch) / "store")
            graph = StageGraph([stage(folder, name, folder / "digests.json")])
            store.register(graph.in_order())
            work = partial(prepare, graph, store)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, cpu = time.perf_counter(), time.process_time()
        work()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([seconds, cpu, (peak - before) / 1024]))


def prepare(graph: StageGraph, store: Store) -> None:
    """Compute the stages, as `bench data prepare` does in its worker."""
    states = [event.kind for event in Inline().run(graph, store)]
    assert states[-1] == "done", states


def main() -> None:
    """Print a line per measurement, the best of several rounds."""
    n_slices = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    best: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), n_slices)
        for _ in range(REPEATS):
            for name in ("asanyarray", "get_fdata", *STAGES):
                command = [sys.executable, __file__, "--measure", folder, name]
                shown = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                found = json.loads(shown.stdout.splitlines()[-1])
                best[name] = [min(pair) for pair in zip(best.get(name, found), found, strict=True)]
    heads = ("seconds", "ratio", "CPU s", "ratio", "MB", "ratio")
    print(f"{f'{SIDE} x {SIDE} x {n_slices}':<17}" + "".join(f"{head:>9}" for head in heads))
    for name, numbers in best.items():
        cells = zip(numbers, best["asanyarray"], strict=True)
        print(f"{name:<17}" + "".join(f"{n:9.2f}{n / bare:9.2f}" for n, bare in cells))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measured(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
