"""Does nnU-Net accept what is exported for it, and is that the same data when it is read again?

``python tests/nnunet.py`` exports generated data sets with the installed command: natural gaps,
simulated ones and both, two channels, oblique scans, voxels of unknown class; gaps as nnU-Net's
ignore label and as flags. Each folder is read again and must hold the flags, labels and images
that a training of this suite sees, and goes through ``verify_dataset_integrity`` of nnunetv2. More
data sets may be named: ``python tests/nnunet.py ./mine amos``.

nnunetv2 is in an environment of its own below ``--cache``, which sees the PyTorch of this one;
``--python PATH`` names the Python of another.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import trees
from warm import COMMAND

from bench.data.catalogue import parse_dataset
from bench.data.dataset import Dataset
from bench.data.scan import read_scan
from bench.data.simulate import Split, make_split
from bench.datasets.folder import Folder
from bench.labels import VOID

HIDDEN = {2: ("liver", "kidney_l"), 4: ("spleen",)}
IGNORE = 7
FOLD, N_FOLDS = 1, 3
CHECK = """
import contextlib, io, json, sys
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
if __name__ == "__main__":
    for folder in sys.argv[1:]:
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                verify_dataset_integrity(folder, 1)
            problem = "" if "verify_dataset_integrity Done" in said.getvalue() else "not done"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        print(json.dumps(problem), flush=True)
"""
"""Prints what nnU-Net objects to, a line for each folder; its workers print warnings themselves."""


def split(dataset: Dataset, fold: int, label_pct: int) -> Split:
    """Return a fold of three, with seed 0."""
    return make_split(
        dataset.cases(),
        dataset.organs,
        dataset=dataset.name,
        fold=fold,
        n_folds=N_FOLDS,
        label_pct=label_pct,
        seed=0,
    )


def differences(
    dataset: Dataset, exported: Folder, fold: int, label_pct: int, *, gaps: str
) -> Iterator[str]:
    """Yield where an export differs from what a training of the fold sees."""
    seen = split(dataset, fold, label_pct)
    if exported.organs != dataset.organs or exported.channel_names != dataset.channel_names:
        yield f"organs {exported.organs}, channels {exported.channel_names}"
    cases, again = dataset.cases(), {case.id: case for case in exported.cases()}
    if sorted(again) != sorted(case.id for case in cases):
        yield f"cases {', '.join(sorted(again))}"
        return
    for case in cases:
        other = again[case.id]
        flags = seen.flags.get(case.id, case.annotated)
        if (other.annotated, other.patient) != (flags, case.patient):
            yield f"{case.id}: flags {other.annotated}, patient {other.patient}"
        before, after = read_scan(dataset, case), read_scan(exported, other)
        visible = np.array([True, *flags])
        table = np.full(256, VOID, np.uint8)
        table[: len(visible)] = np.where(visible, np.arange(len(visible)), 0)
        if gaps == "ignore" and not all(flags):
            table[table == 0] = VOID
        if not np.array_equal(after.labels_XYZ, table[before.labels_XYZ]):
            yield f"{case.id}: another label map"
        if not np.array_equal(after.image_CXYZ, before.image_CXYZ):
            yield f"{case.id}: another image"
        if after.geometry != before.geometry:
            yield f"{case.id}: another grid"
    folds = range(N_FOLDS) if label_pct == 100 else [fold]
    expected = [split(dataset, number, label_pct) for number in folds]
    listed = json.loads((exported.root / "splits_final.json").read_text())
    if listed != [{"train": list(one.train), "val": list(one.test)} for one in expected]:
        yield "splits_final.json lists other folds"


def generated(root: Path) -> list[str]:
    """Write the data sets and return how a user names them."""
    trees.nnunet(root / "complete", 6)
    trees.nnunet(root / "gaps", 6, hidden=HIDDEN)
    trees.nnunet(root / "channels", 6, hidden=HIDDEN, channels=("T2", "CT"))
    void = trees.nnunet(root / "void", 6, hidden=HIDDEN)
    description = json.loads((void / "dataset.json").read_text())
    description["labels"]["ignore"] = IGNORE
    (void / "dataset.json").write_text(json.dumps(description))
    for path in sorted(void.glob("labelsTr/*")):
        image = nib.load(path)
        labels = np.asarray(image.dataobj).copy()
        labels[8:24, 6:20, :5] = IGNORE
        nib.save(nib.Nifti1Image(labels, image.affine), path)
    oblique = trees.nnunet(root / "oblique", 6, hidden=HIDDEN)
    turned = nib.eulerangles.euler2mat(0.3, 0.2, -0.1)
    for path in sorted(oblique.glob("*Tr/*")):
        image = nib.load(path)
        affine = image.affine.copy()
        affine[:3, :3] = turned @ affine[:3, :3]
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), path)
    return sorted(map(str, root.iterdir()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("datasets", nargs="*", help="data sets to export beside the generated ones")
    parser.add_argument("--python", type=Path, help="a Python that has nnunetv2")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "organ-bench-peers")
    options = parser.parse_args()
    python = options.python or _environment(options.cache / "nnunetv2")
    with tempfile.TemporaryDirectory() as root:
        kinds = list(itertools.product((100, 50), ("ignore", "flags")))
        named = [*generated(Path(root) / "sets"), *options.datasets]
        exports = [
            Export(text, *kind, Path(tempfile.mkdtemp(dir=root)) / "Dataset101_Exported")
            for text, kind in itertools.product(named, kinds)
        ]
        failed = [one for one in exports if not _examine(one)]
        failed += _refused([one for one in exports if one not in failed], python)
    print(f"{len(exports)} exports, {len(failed)} with problems")
    sys.exit(bool(failed))


class Export(NamedTuple):
    """An export and what it is of."""

    dataset: str
    label_pct: int
    gaps: str
    folder: Path

    @property
    def title(self) -> str:
        return f"{Path(self.dataset).name:<12} {self.label_pct:>3} %  {self.gaps:<7}"


def _examine(one: Export) -> bool:
    """Export a data set and read it again; print and return whether it is the same."""
    arguments = ["-l", one.label_pct, "-f", FOLD, "--n-folds", N_FOLDS, "--gaps", one.gaps]
    command = [COMMAND, "data", "export", "nnunet", one.dataset, "-o", one.folder, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{one.title} {done.stderr.strip()}")
        return False
    again = Folder(root=one.folder)
    found = list(differences(parse_dataset(one.dataset), again, FOLD, one.label_pct, gaps=one.gaps))
    print(f"{one.title} {'; '.join(found[:3]) or 'the same when read again'}", flush=True)
    return not found


def _refused(exports: Sequence[Export], python: Path) -> list[Export]:
    """Print and return what nnU-Net objects to."""
    command = [str(python), "-c", CHECK, *(str(one.folder) for one in exports)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    problems = [json.loads(line) for line in lines if line.startswith('"')]
    warnings = [line for line in lines if "Warning" in line or "Error" in line]
    if len(problems) != len(exports) or warnings:
        print("\n".join([*warnings, *done.stderr.strip().splitlines()[-1:]]))
        return list(exports)
    for one, problem in zip(exports, problems, strict=True):
        print(f"{one.title} nnU-Net: {problem or 'accepted'}")
    return [one for one, problem in zip(exports, problems, strict=True) if problem]


def _environment(folder: Path) -> Path:
    """Return the Python of an environment with nnunetv2; make it if there is none."""
    python = folder / "bin" / "python"
    if not (folder / "complete").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        ours = [path for path in sys.path if path.endswith("site-packages")]
        (site / "torch.pth").write_text("\n".join(ours) + "\n")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "nnunetv2"], check=True)
        (folder / "complete").touch()
    return python


if __name__ == "__main__":
    main()
