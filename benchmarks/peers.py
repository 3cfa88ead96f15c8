"""How fast are loading and augmentation beside MONAI and nnU-Net, and do they hold a training up?

``python benchmarks/peers.py`` prepares generated scans of 512 x 512 pixels, then reads and augments
slices and 3D patches with this suite, with MONAI's ``RandAffined`` and with ``SpatialTransform`` of
nnU-Net's batchgeneratorsv2: one random rotation and zoom per sample (and a shift, where there is
one), linear for the image, nearest for labels. All read the same memory-mapped images, one core
each; the peers read label maps that are not compressed, and a patch no larger than ours.

Each runs in a process and an environment of its own. That of batchgeneratorsv2 is made below
``--cache`` and sees the PyTorch of this one; ``--python NAME=PATH`` gives another. Rounds go in
turn, and medians of the ratios are printed, by wall time and by processor time, which other
processes of the machine disturb less. Then the whole training is timed against its step on one
fixed batch.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, cast

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from bench.stages.train import Train
    from bench.training.loader import BatchLoader

PEERS = ("ours", "monai", "batchgeneratorsv2")
BATCH = {2: 8, 3: 2}
PATCH = (64, 96, 96)
ROTATION, ZOOM, SHIFT = 15.0, 0.1, 0.1
TRAINED_STEPS = 21


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "organ-bench-peers")
    parser.add_argument("--peers", default=",".join(PEERS), help="names with commas, ours first")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batches", type=int, default=20, help="in a round")
    parser.add_argument("--side", type=int, default=512, help="pixels of a slice")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        name, dims, folder = options.worker
        _work(name, int(dims), Path(folder))
        return
    pythons = {name: path for name, _, path in (pair.partition("=") for pair in options.python)}
    names = options.peers.split(",")
    if unknown := (set(names) | set(pythons)) - set(PEERS):
        _refuse(f"unknown {', '.join(sorted(unknown))}: known are {', '.join(PEERS)}")
    for name in names:
        pythons.setdefault(name, _environment(name, options.cache))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load}")
    with tempfile.TemporaryDirectory() as root:
        for dims in (2, 3):
            folder = Path(root) / f"{dims}d"
            what = _prepare(dims, folder, options.side)
            print(f"\n{what:<34}{'per second':>12}{'ratio':>8}{'per CPU s':>12}{'ratio':>8}")
            _compare({name: pythons[name] for name in names}, dims, folder, options)
        _against_bare_steps(Path(root) / "training", options.rounds)


def _environment(name: str, cache: Path) -> str:
    """Return the Python that runs a peer; make its environment if there is none."""
    if name != "batchgeneratorsv2":  # the other two are what this one has
        return sys.executable
    folder = cache / name
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        ours = [path for path in sys.path if path.endswith("site-packages")]
        (site / "torch.pth").write_text("\n".join(ours) + "\n")
        if subprocess.run([str(python), "-m", "pip", "install", "--quiet", name]).returncode:
            _refuse(f"pip cannot install {name}: give --python {name}=PATH, or other --peers")
        (folder / "complete").touch()
    return str(python)


def _refuse(message: str) -> NoReturn:
    print(f"peers.py: {message}", file=sys.stderr)
    sys.exit(2)


def _compare(pythons: dict[str, str], dims: int, folder: Path, options: argparse.Namespace) -> None:
    """Print samples per second of every peer, measured in turn."""
    workers = {
        name: subprocess.Popen(
            [python, __file__, "--worker", name, str(dims), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for name, python in pythons.items()
    }
    versions = {name: _answer(worker) for name, worker in workers.items()}
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    for _ in range(options.rounds):
        for name, worker in workers.items():
            cast("IO[str]", worker.stdin).write(f"{options.batches}\n")
            cast("IO[str]", worker.stdin).flush()
            measured[name].append(_answer(worker))
    for worker in workers.values():
        cast("IO[str]", worker.stdin).close()
        worker.wait()
    samples = options.batches * BATCH[dims]
    first = measured[next(iter(measured))]
    for name, found in measured.items():
        row = f"{name} {versions[name]['version']}".ljust(34)
        for clock in ("wall", "cpu"):
            rate = samples / statistics.median(one[clock] for one in found)
            ratio = statistics.median(
                one[clock] / base[clock] for one, base in zip(found, first, strict=True)
            )
            row += f"{rate:12.1f}{1 / ratio:8.2f}"
        print(row, flush=True)


def _answer(worker: subprocess.Popen[str]) -> dict[str, Any]:
    line = cast("IO[str]", worker.stdout).readline()
    if not line:
        _refuse(f"a peer ended with exit code {worker.wait()}, see above")
    found: dict[str, Any] = json.loads(line)
    return found


# --- a peer: from its own process ---------------------------------------------------------------


def _work(name: str, dims: int, folder: Path) -> None:
    """Answer each number of batches on standard input with the seconds they took."""
    import torch

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    batches = {"ours": _ours, "monai": _monai, "batchgeneratorsv2": _nnunet}[name](dims, folder)
    for _ in range(3):
        next(batches)
    version = importlib.metadata.version("organ-bench" if name == "ours" else name)
    print(json.dumps({"version": version}), flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(int(line)):
            next(batches)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"wall": wall, "cpu": cpu}), flush=True)


def _ours(dims: int, folder: Path) -> Iterator[object]:
    facts = json.loads((folder / "facts.json").read_text())
    return _loader(dims, Path(facts["images"]), Path(facts["labels"])).batches(0, 10**9)


def _loader(dims: int, images: Path, labels: Path) -> BatchLoader:
    import torch

    from bench.data.visible import TrainView
    from bench.data.window import Window
    from bench.training.augment import Augmentation
    from bench.training.loader import BatchLoader
    from bench.training.readers import PatchReader, SliceReader
    from bench.training.sampler import SliceSampler

    view = TrainView(images, labels)
    augmentation = Augmentation(shift=SHIFT, rotation_deg=ROTATION, zoom=ZOOM)
    return BatchLoader(
        SliceSampler(view, ["all"], BATCH[dims], 0.5, np.random.default_rng),
        SliceReader(view, augmentation)
        if dims == 2
        else PatchReader(view, augmentation, Window(patch=PATCH)),
        np.random.default_rng,
        torch.device("cpu"),
    )


def _monai(dims: int, folder: Path) -> Iterator[object]:
    from monai.data.meta_obj import set_track_meta
    from monai.transforms.compose import Compose
    from monai.transforms.intensity.dictionary import ScaleIntensityRanged
    from monai.transforms.spatial.dictionary import RandAffined

    set_track_meta(False)
    low, high = json.loads((folder / "facts.json").read_text())["range"]
    turn = np.deg2rad(ROTATION)
    keys = ["image", "segmentation"]
    affine = RandAffined(
        keys,
        prob=1.0,
        rotate_range=turn if dims == 2 else (turn, 0.0, 0.0),
        scale_range=(ZOOM,) * dims,
        translate_range=_shift(folder) if dims == 2 else None,
        spatial_size=None if dims == 2 else PATCH,
        mode=["bilinear", "nearest"],
        padding_mode="zeros",
    )
    scale = ScaleIntensityRanged(["image"], low, high, 0.0, 1.0)
    return _batches(dims, folder, Compose([scale, affine]))


def _shift(folder: Path) -> tuple[float, float]:
    _, height, width = np.load(folder / "labels.npy", mmap_mode="r").shape
    return SHIFT * height, SHIFT * width


def _nnunet(dims: int, folder: Path) -> Iterator[object]:
    # By name: this suite's own environment, in which types are checked, does not have it.
    module = importlib.import_module("batchgeneratorsv2.transforms.spatial.spatial")
    low, high = json.loads((folder / "facts.json").read_text())["range"]
    turn = np.deg2rad(ROTATION)
    size = PATCH if dims == 3 else np.load(folder / "labels.npy", mmap_mode="r").shape[1:]
    affine = module.SpatialTransform(
        tuple(size),
        patch_center_dist_from_border=0,
        random_crop=False,
        p_rotation=1.0,
        rotation=(-turn, turn),
        p_scaling=1.0,
        scaling=(1 - ZOOM, 1 + ZOOM),
        p_synchronize_scaling_across_axes=1.0,
        mode_seg="nearest",
    )

    def transform(sample: dict[str, Tensor]) -> dict[str, Tensor]:
        sample["image"].sub_(low).div_(high - low)
        found: dict[str, Tensor] = affine(**sample)
        return found

    return _batches(dims, folder, transform)


def _batches(
    dims: int, folder: Path, transform: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> Iterator[object]:
    """Yield stacked samples: random slices, or random sources of patches, of the files."""
    import torch

    facts = json.loads((folder / "facts.json").read_text())
    images = np.load(Path(facts["images"]) / "images.npy", mmap_mode="r")
    labels = np.load(folder / "labels.npy", mmap_mode="r")
    rng = np.random.default_rng(0)
    while True:
        samples = []
        for _ in range(BATCH[dims]):
            at: tuple[slice, ...]
            if dims == 2:
                row = int(rng.integers(len(labels)))
                image, label = images[facts["rows"][row]], labels[row][None]
            else:
                volume = facts["volumes"][int(rng.integers(len(facts["volumes"])))]
                length, _, _ = facts["source"]
                z = int(rng.integers(volume["n"] - length + 1))
                corner = [
                    int(rng.integers(total - side + 1))
                    for total, side in zip(labels.shape[1:], facts["source"][1:], strict=True)
                ]
                at = tuple(
                    slice(c, c + side) for c, side in zip(corner, facts["source"][1:], strict=True)
                )
                image = images[volume["image"] + z :][:length, 0][(slice(None), *at)][None]
                label = labels[volume["label"] + z :][:length][(slice(None), *at)][None]
            sample = {
                "image": torch.from_numpy(np.array(image, np.float32)),
                "segmentation": torch.from_numpy(np.array(label, np.int16)),
            }
            samples.append(transform(sample))
        yield {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


# --- data, and the training -----------------------------------------------------------------------


def _prepare(dims: int, folder: Path, side: int) -> str:
    """Write the scans as this suite stores them, and what the peers need; return a title."""
    import nibabel as nib
    from scipy import ndimage

    from bench.data.catalogue import parse_dataset
    from bench.data.dataset import Case, Dataset
    from bench.data.visible import TrainView
    from bench.training.augment import Augmentation

    phantom = parse_dataset("phantom[n_cases=4]")

    class Large(Dataset):
        """The phantom with more pixels."""

        summary: ClassVar[str] = "for a benchmark"
        source: ClassVar[str] = "generated"

        @property
        def name(self) -> str:
            return f"large{side}"

        @property
        def organs(self) -> tuple[str, ...]:
            return phantom.organs

        def cases(self) -> tuple[Case, ...]:
            return tuple(phantom.cases())

        def files(self, case: Case) -> tuple[Path, ...]:
            return ()

        def image(self, case: Case) -> nib.Nifti1Image:
            return self._resized(phantom.image(case), order=1)

        def labels(self, case: Case) -> nib.Nifti1Image:
            return self._resized(phantom.labels(case), order=0)

        def _resized(self, image: nib.Nifti1Image, order: Literal[0, 1]) -> nib.Nifti1Image:
            array_XYZ = np.asarray(image.dataobj)
            x, y, z = array_XYZ.shape
            factors = (side / x, side / y, 100 / z)
            spacing = 400 / side
            return nib.Nifti1Image(
                ndimage.zoom(array_XYZ, factors, order=order),
                np.diag([spacing, spacing, 2.0, 1.0]),
            )

    profile = f"paper[n_folds=2,max_side={side}]" if dims == 2 else "fast[n_folds=2,voxel_mm=2]"
    network = "unet_t11[width=4]" if dims == 2 else "unet3d_t11[width=4]"
    training = _prepared(Large(), profile, network, folder / "store")
    images, labels = folder / "store" / "images", folder / "store" / "labels"
    images.symlink_to(training[1])
    labels.symlink_to(training[2])
    view = TrainView(images, labels)
    np.save(folder / "labels.npy", view.labels.gather(range(len(view.labels))))
    facts = {
        "images": str(images),
        "labels": str(labels),
        "range": view.value_ranges[0],
        "rows": view.image_row_S.tolist(),
        "source": Augmentation(shift=SHIFT, rotation_deg=ROTATION, zoom=ZOOM).reach(PATCH),
        "volumes": [
            {"image": case.images.start, "label": case.labels.start, "n": n}
            for case in view.cases
            if (n := case.labels.stop - case.labels.start)
        ],
    }
    (folder / "facts.json").write_text(json.dumps(facts))
    size = view.grid if dims == 2 else PATCH
    return f"{'slices' if dims == 2 else 'patches'}, {' x '.join(map(str, size))}"


def _prepared(
    dataset: Any, profile: str, network: str, store_path: Path
) -> tuple[Train, Path, Path]:
    """Return the training of `inerrant0`, and the folders of its images and labels."""
    from bench.data.fingerprint import fingerprint
    from bench.engine.graph import StageGraph
    from bench.engine.launchers.inline import Inline
    from bench.engine.store import Store
    from bench.experiment.method import Condition, Source
    from bench.experiment.plan import Run
    from bench.experiment.profiles import parse_profile
    from bench.experiment.selection import parse_methods
    from bench.nets.catalogue import parse_network

    ((label, method),) = parse_methods(["inerrant0"])
    store = Store(store_path)
    source = Source(dataset, fingerprint(dataset, dataset.cases(), store_path / "digests.json"))
    condition = Condition(source, 0, 100, parse_network(network), parse_profile(profile))
    training = Run.of(method, label, condition).rounds[0].model
    graph = StageGraph(training.inputs())
    store.register(graph.in_order())
    for event in Inline().run(graph, store):
        if event.kind in ("failed", "refused"):
            _refuse(event.message)
    return training, store.out(training.images), store.out(training.labels)


class _Clock:
    """A context of a training that notes when its first and its last steps are done."""

    def __init__(self, scratch: Path, folders: dict[str, Path]) -> None:
        import torch

        self.out = self.scratch = scratch
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.events = self
        self.key = "benchmark"
        self.at: dict[int, tuple[float, float]] = {}
        self._folders = folders

    def write(self, step: int, values: object) -> None:
        self.at[step] = _clocks()

    def input(self, stage: Any) -> Path:
        return self._folders[stage.key]

    def tick(self, done: int, total: int, note: str = "") -> None:
        return

    def save_due(self) -> bool:
        return False

    def saved(self) -> None:
        return


def _clocks() -> tuple[float, float]:
    """Return wall and processor time in seconds."""
    return time.perf_counter(), time.process_time()


def _against_bare_steps(folder: Path, rounds: int) -> None:
    """Print how much of the speed of bare steps a whole training reaches."""
    from bench.data.catalogue import parse_dataset
    from bench.experiment.profiles import parse_profile
    from bench.nets.device import kernels
    from bench.training.config import Steps
    from bench.training.trainer import Updater, fit

    data, profile = parse_dataset("phantom[n_cases=6]"), "quick[n_folds=2]"
    network = parse_profile(profile).network
    training, images, labels = _prepared(data, profile, network, folder)
    clock = _Clock(folder, {training.images.key: images, training.labels.key: labels})
    ctx = cast("Any", clock)
    length = Steps(steps=TRAINED_STEPS)
    seconds: dict[str, list[tuple[float, float]]] = {"bare step": [], "training": []}
    objective, loader = training.prepare(ctx)
    updater = Updater(objective, training.config.precision, clock.device)
    batch = next(loader.batches(0, 1))

    def note(name: str, first: tuple[float, float], last: tuple[float, float]) -> None:
        seconds[name].append((last[0] - first[0], last[1] - first[1]))

    for _ in range(rounds + 1):
        fit(*training.prepare(ctx), training.config, length, 0, ctx)
        note("training", clock.at[0], clock.at[TRAINED_STEPS - 1])
        with kernels(clock.device, fixed_shapes=True):
            for step in range(TRAINED_STEPS):
                values = updater.step(batch, length.progress(step))
                if step in (0, TRAINED_STEPS - 1):  # as the trainer, which logs these
                    values["segment/loss"].item()
                    clock.at[step] = _clocks()
        note("bare step", clock.at[0], clock.at[TRAINED_STEPS - 1])
    what = f"training, {profile}, {clock.device.type}"
    print(f"\n{what:<34}{'per second':>12}{'ratio':>8}{'per CPU s':>12}{'ratio':>8}")
    for name, found in seconds.items():
        row = f"{name:<34}"
        for number in range(2):  # the first round warms up
            mine = [one[number] for one in found[1:]]
            bare = [one[number] for one in seconds["bare step"][1:]]
            rate = (TRAINED_STEPS - 1) / statistics.median(mine)
            ratio = statistics.median(b / m for b, m in zip(bare, mine, strict=True))
            row += f"{rate:12.2f}{ratio:8.2f}"
        print(row)


if __name__ == "__main__":
    main()
