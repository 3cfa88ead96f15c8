"""Segment new scans with a trained model."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.engine.store import Store
from bench.errors import BenchError
from bench.files import replacing, write_atomically
from bench.stage import Stage
from bench.stages.train import Train

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

    from bench.data.intensity import Channel
    from bench.nets.protocol import FeatureNet


ORGANS = "organs.json"
"""Names the values of the label maps beside it."""


def segment(
    model: Stage, paths: Sequence[Path], out: Path, store: Store, *, preview: bool = False
) -> Iterator[Path | BenchError]:
    """Write the label map of every scan into ``out``.

    The label map has the voxel grid of its scan. Value k is the model's k-th organ, named in
    ``organs.json``. ``preview`` adds a PNG of it over the first channel.

    Parameters
    ----------
    paths
        Scans as :func:`scans` groups them.

    Yields
    ------
    Path or BenchError
        Each file that is complete, or why a scan cannot be segmented; the others still are.

    Raises
    ------
    BenchError
        The stage is not a trained segmentation model, a scan lacks a channel, or a label map would
        replace a file that is not one of an earlier call.
    """
    if not isinstance(model, Train) or not model.objective.trains_segmenter:
        raise BenchError(
            f"{model.key}: is not a segmentation model; `bench status` lists them (Train)"
        )
    if not store.is_done(model):
        raise BenchError(f"{model.key}: is not finished; run its experiment again first")
    if (damage := store.damage(model, thorough=True, as_input=True)) is not None:
        raise BenchError(
            f"{model.key}: {damage}; `bench verify --repair {model.key}` computes it again"
        )
    found = scans(paths, model.images.channels)
    _check_targets(found, out)
    net = _network(model, store)
    out.mkdir(parents=True, exist_ok=True)
    organs = {name: k for k, name in enumerate(model.images.organs, start=1)}
    write_atomically(out / ORGANS, json.dumps({"background": 0} | organs, indent=1))
    for name, files in found.items():
        try:
            yield from _segment_one(model, net, files, out / f"{name}.nii.gz", preview=preview)
        except BenchError as error:
            where = "" if str(files[0]) in str(error) else f"{files[0]}: "
            yield BenchError(f"{where}{error}")


def _network(model: Train, store: Store) -> FeatureNet:
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return model.load_segmenter(store.out(model)).to(device)
    except (MemoryError, RuntimeError) as error:  # torch has no other for memory of the CPU
        raise BenchError(f"{model.key}: the network cannot be built: {error}") from None


def _segment_one(
    model: Train, net: FeatureNet, files: Sequence[Path], target: Path, *, preview: bool
) -> Iterator[Path]:
    from bench.data.grid import grid_shape
    from bench.data.nifti import read_image, to_native
    from bench.data.visible import normalise
    from bench.evaluation.preview import overlay
    from bench.nets.inference import predict_volume

    images = model.images
    image_CXYZ, geometry = read_image(
        _open(files), str(files[0]), images.channels, images.refuse_size
    )
    grid = grid_shape([images.size(geometry)[0]], images.multiple_of)
    placement = images.placement(geometry, grid)
    slices_SCHW = images.padded(images.resized(image_CXYZ, geometry), placement, grid)
    labels_ZXY = predict_volume(
        net,
        normalise(slices_SCHW, images.value_ranges),
        device=next(net.parameters()).device,
        precision=model.config.precision,
        placement=placement,
        window=model.window,
    )
    labels_XYZ = labels_ZXY.transpose(1, 2, 0)
    with replacing(target) as unfinished:
        image = to_native(labels_XYZ, geometry)
        unfinished.write_bytes(gzip.compress(image.to_bytes(), 1, mtime=0))
    yield target
    if preview:
        name = target.name.removesuffix(".nii.gz")
        picture = target.with_name(f"{name}.png")
        shown = images.channels[0]
        overlay(
            image_CXYZ[0],
            labels_XYZ,
            geometry.spacing_mm,
            images.organs,
            shown.volume_range(image_CXYZ[0]),
            picture,
            title=f"{name}, {shown.name}" if len(images.channels) > 1 else name,
        )
        yield picture


def scans(paths: Sequence[Path], channels: Sequence[Channel]) -> dict[str, tuple[Path, ...]]:
    """Return the files of each scan in the order of the channels, by the scan's name.

    Several channels are ``CASE_0000.nii.gz``, ``CASE_0001.nii.gz`` and so on, or one file with
    channels on the fourth axis. With one channel every file, or DICOM folder, is a scan.

    Raises
    ------
    BenchError
        A channel is missing or unknown, two files claim to be the same.
    """
    from bench.data.nifti import in_order, split_channel

    found: dict[tuple[Path, str], dict[int | None, Path]] = defaultdict(dict)
    for path in paths:
        stem = path.name.removesuffix(".gz").removesuffix(".nii")
        case, number = split_channel(stem)
        first = path.with_name(path.name.replace(stem, f"{case}_0000"))
        if number and len(channels) == 1 and not first.exists():  # a number of the scan
            case, number = stem, None
        files = found[path.parent, case]
        if number in files:
            raise BenchError(f"{path}: {files[number]} has the same name; segment them one by one")
        files[number] = path
    source = "the model was trained on"
    ordered: dict[str, tuple[Path, ...]] = {}
    for (_, case), files in found.items():
        in_one_folder = in_order(case, files, channels, source)
        if case in ordered:
            raise BenchError(
                f"{in_one_folder[0]}: {ordered[case][0]} has the same name; segment them one by one"
            )
        ordered[case] = in_one_folder
    return ordered


def _check_targets(found: Mapping[str, tuple[Path, ...]], out: Path) -> None:
    """Refuse to replace an image, or a label map that no earlier call wrote."""
    inputs = {path.resolve() for files in found.values() for path in files}
    ours = (out / ORGANS).is_file()
    for name in found:
        target = out / f"{name}.nii.gz"
        if target.resolve() in inputs or (target.exists() and not ours):
            raise BenchError(
                f"{target}: exists and would be replaced by the label map; name another folder "
                "with --out"
            )


def _open(files: Sequence[Path]) -> Nifti1Image:
    from bench.data.dicom import read_series
    from bench.data.nifti import load, load_channels

    if len(files) > 1:
        return load_channels({str(path): path for path in files})
    (path,) = files
    return read_series(path) if path.is_dir() else load(path, str(path))
