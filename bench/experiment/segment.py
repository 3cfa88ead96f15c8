"""Segment new scans with a trained model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engine.store import Store
from bench.errors import BenchError
from bench.stage import Stage
from bench.stages.train import Train

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image


def segment(
    model: Stage, paths: Sequence[Path], out: Path, store: Store, *, preview: bool = False
) -> Iterator[Path]:
    """Write the label map of every CT into ``out`` and yield the paths.

    The label map lies on the voxel grid of its CT; value k is the model's k-th organ, and
    ``organs.json`` says which that is. ``preview`` adds a PNG of it over the CT.

    Raises
    ------
    BenchError
        The stage is no trained segmentation model, or a CT cannot be read.
    """
    import json

    import nibabel as nib
    import torch

    from bench.data.grid import grid_shape
    from bench.data.intensity import volume_range
    from bench.data.nifti import read_image, to_native
    from bench.data.visible import normalise
    from bench.evaluation.preview import overlay
    from bench.nets.inference import predict_volume

    if not isinstance(model, Train) or not model.objective.trains_segmenter:
        raise BenchError(
            f"{model.key}: is no segmentation model; `bench status` lists them (Train)"
        )
    if not store.is_done(model):
        raise BenchError(f"{model.key}: is not finished; run its experiment again first")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = model.load_segmenter(store.out(model)).to(device)
    images = model.images
    out.mkdir(parents=True, exist_ok=True)
    organs = {name: k for k, name in enumerate(model.images.organs, start=1)}
    (out / "organs.json").write_text(json.dumps({"background": 0} | organs, indent=1))
    for path in paths:
        image_XYZ, geometry = read_image(_open(path), str(path))
        grid = grid_shape([model.images.size(geometry)[0]], model.images.multiple_of)
        placement = model.images.placement(geometry, grid)
        slices_ZHW = model.images.padded(model.images.resized(image_XYZ, geometry), placement, grid)
        labels_ZXY = predict_volume(
            net,
            normalise(slices_ZHW, images.value_range),
            device=device,
            precision=model.config.precision,
            placement=placement,
            window=model.window,
        )
        target = out / f"{_case_name(path)}.nii.gz"
        labels_XYZ = labels_ZXY.transpose(1, 2, 0)
        nib.save(to_native(labels_XYZ, geometry), target)
        yield target
        if preview:
            picture = out / f"{_case_name(path)}.png"
            spacing = geometry.spacing_mm
            shown = volume_range(image_XYZ, images.intensity, images.dataset.hu_window)
            overlay(image_XYZ, labels_XYZ, spacing, images.organs, shown, picture)
            yield picture


def _open(path: Path) -> Nifti1Image:
    from bench.data.dicom import read_series
    from bench.data.nifti import load

    if path.is_dir():
        return read_series(path)
    return load(path, str(path))


def _case_name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_0000")
