"""How many twins of scans the landmarks find, and how many pairs of other scans they take for one.

    python benchmarks/twins.py ./openkbp --pairs 20000
    python benchmarks/twins.py 'phantom[n_cases=100]' --altered 20

Every altered scan is compared with its original; then every pair of different cases, at most
``--pairs`` of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from bench.data.catalogue import parse_dataset
from bench.data.dataset import where_is
from bench.data.image import read_image
from bench.data.landmarks import (
    LEAST_COMMON,
    LEAST_OWN,
    LEAST_SHARE,
    Landmarks,
    agreement,
    landmarks,
    twins,
)

Scan = tuple[NDArray[np.float32], tuple[float, float, float]]
Alter = Callable[[Scan, np.random.Generator], Scan]


def recoded(scan: Scan, rng: np.random.Generator) -> Scan:
    """Return whole HU, as another type of voxel holds them."""
    return np.rint(scan[0]), scan[1]


def rounded(scan: Scan, rng: np.random.Generator) -> Scan:
    """Return HU in steps of two with noise of one."""
    noise_XYZ = rng.integers(-1, 2, scan[0].shape)
    return (np.rint(scan[0] / 2) * 2 + noise_XYZ).astype(np.float32), scan[1]


def stored(scan: Scan, rng: np.random.Generator) -> Scan:
    """Return whole numbers from 0, as where the rescale intercept was lost."""
    return np.rint(scan[0]).clip(-1024) + 1024, scan[1]


def resampled(scan: Scan, rng: np.random.Generator) -> Scan:
    """Return the scan with edges of voxels from 1.0 to 2.5 mm, another along each axis."""
    image_XYZ, spacing = scan
    wanted = rng.uniform(1.0, 2.5, 3)
    factors = [old / new for old, new in zip(spacing, wanted, strict=True)]
    new_XYZ = zoom(image_XYZ, factors, order=1, grid_mode=True, mode="nearest")
    x, y, z = (n * mm / m for n, mm, m in zip(image_XYZ.shape, spacing, new_XYZ.shape, strict=True))
    return new_XYZ, (x, y, z)


def cropped_z(scan: Scan, rng: np.random.Generator) -> Scan:
    """Return the scan without 10 to 40 % of its slices, from both ends."""
    return _cropped(scan, (2,), rng)


def cropped_xy(scan: Scan, rng: np.random.Generator) -> Scan:
    """Return the scan without 10 to 40 % of its width and of its depth."""
    return _cropped(scan, (0, 1), rng)


def cropped_resampled(scan: Scan, rng: np.random.Generator) -> Scan:
    """Return the scan cropped along z, then resampled."""
    return resampled(cropped_z(scan, rng), rng)


def _cropped(scan: Scan, axes: tuple[int, ...], rng: np.random.Generator) -> Scan:
    image_XYZ, spacing = scan
    share = rng.uniform(0.1, 0.4)
    kept = [slice(None)] * 3
    for axis in axes:
        n = image_XYZ.shape[axis]
        lost = round(share * n)
        first = int(rng.integers(lost + 1))
        kept[axis] = slice(first, n - (lost - first))
    return image_XYZ[tuple(kept)], spacing


ALTERATIONS: tuple[Alter, ...] = (
    recoded, rounded, stored, resampled, cropped_z, cropped_xy, cropped_resampled,
)  # fmt: skip


def is_found(one: Landmarks, other: Landmarks) -> bool:
    """Tell whether two scans count as one, as data sets are judged."""
    return next(iter(twins([one, other])), None) is not None


def read(name: str) -> Iterator[Scan]:
    """Yield the scans of a data set, HU and spacing in canonical orientation."""
    dataset = parse_dataset(name)
    for case in dataset.cases():
        image_CXYZ, geometry = read_image(dataset.image(case), where_is(dataset, case, "image"))
        yield image_CXYZ[0], geometry.spacing_mm


def main() -> None:
    """Print the shares of twins found, by alteration, and of other pairs taken for twins."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--altered", type=int, default=50, help="scans that are altered")
    parser.add_argument("--pairs", type=int, default=20_000, help="pairs of different scans")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    originals: list[Landmarks] = []
    found: dict[str, list[tuple[bool, float]]] = {alter.__name__: [] for alter in ALTERATIONS}
    seconds = 0.0
    for scan in read(given.dataset):
        start = time.perf_counter()
        original = landmarks(*scan)
        seconds += time.perf_counter() - start
        originals.append(original)
        if len(originals) <= given.altered:
            for alter in ALTERATIONS:
                twin = landmarks(*alter(scan, rng))
                share = agreement(original, twin).share
                found[alter.__name__].append((is_found(original, twin), share))
    print(f"{len(originals)} scans, {seconds / len(originals):.2f} s each for its landmarks")
    for name, results in found.items():
        hits, least = sum(hit for hit, _ in results), min(share for _, share in results)
        print(f"{name:18} {hits}/{len(results)} found, least share {least:.2f}")
    n = int((1 + np.sqrt(1 + 8 * given.pairs)) / 2) + 1
    start = time.perf_counter()
    alarms = list(twins(originals[:n]))
    seconds = time.perf_counter() - start
    n_pairs = len(originals[:n]) * (len(originals[:n]) - 1) // 2
    print(f"different scans: {len(alarms)} of {n_pairs} pairs taken for one, {seconds:.0f} s")
    for pair in alarms[:10]:
        print(f"  {pair.first} and {pair.second}: share {pair.share:.2f} of {pair.common}")
    print(f"limits: {LEAST_COMMON} landmarks, {LEAST_OWN} like no other, share {LEAST_SHARE}")


if __name__ == "__main__":
    main()
