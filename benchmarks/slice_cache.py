"""What does the slice cache save over reading volumes for every batch?

``python benchmarks/slice_cache.py`` prepares a small phantom in a temporary store, then samples
batches through the training loader and, for comparison, through reading each slice's volume from
``.nii.gz``, and prints the ratio.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from bench.data.catalogue import parse_dataset
from bench.data.fingerprint import fingerprint
from bench.data.visible import TrainView
from bench.engine.graph import StageGraph
from bench.engine.launchers.inline import Inline
from bench.engine.store import Store
from bench.experiment.method import Condition, Recipe, Source
from bench.experiment.profiles import parse_profile
from bench.nets.catalogue import parse_network
from bench.training.sampler import SliceSampler

BATCHES = 20


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        dataset = parse_dataset("phantom[n_cases=6]")
        profile = parse_profile("quick[n_folds=2]")
        network = parse_network(profile.network)
        content = fingerprint(dataset, dataset.cases(), store.root / "digests.json")
        source = Source(dataset, content)
        condition = Condition(source, 0, 100, network, profile)
        labels = Recipe(condition).labels
        graph = StageGraph([labels])
        store.register(graph.in_order())
        for _ in Inline().run(graph, store):
            pass
        view = TrainView(store.out(labels.images), store.out(labels))
        sampler = SliceSampler(
            view,
            ["all"],
            profile.training.batch_size,
            0.5,
            lambda step: np.random.default_rng(step),
        )
        paths = []
        for case in dataset.cases():
            path = Path(folder) / f"{case.id}.nii.gz"
            nib.save(dataset.image(case), path)
            paths.append(path)

        started = time.perf_counter()
        for step in range(BATCHES):
            rows = sampler.batch(step).rows
            np.ascontiguousarray(view.images_SCHW[view.image_row_S[rows]])
            view.labels.gather(rows)
        cached = time.perf_counter() - started

        started = time.perf_counter()
        for step in range(2):
            for row in sampler.batch(step).rows:
                nib.nifti1.load(paths[view.volume_S[row]]).get_fdata()
        uncached = (time.perf_counter() - started) * BATCHES / 2

        batch = f"batch of {profile.training.batch_size}"
        print(f"slice cache        {1e3 * cached / BATCHES:8.2f} ms per {batch}, images and labels")
        print(f"volume per slice   {1e3 * uncached / BATCHES:8.2f} ms per {batch}, images only")
        print(f"ratio              {uncached / cached:8.0f} x")


if __name__ == "__main__":
    main()
