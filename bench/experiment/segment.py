"""Segment new scans with a trained model."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bench.engine.devices import torch_device
from bench.engine.store import Store
from bench.errors import BenchError, explain
from bench.experiment.opened import Opened, fingerprint
from bench.experiment.outputs import Outputs
from bench.experiment.scans import Found, find_scans
from bench.files import slug
from bench.reporting.text import counted
from bench.stage import Stage
from bench.stages.train import Train
from bench.training.consensus import Consensus

if TYPE_CHECKING:
    import numpy as np
    from nibabel.nifti1 import Nifti1Image
    from numpy.typing import NDArray

    from bench.data.geometry import Geometry
    from bench.data.intensity import GreyValue
    from bench.nets.protocol import FeatureNet

SUFFIX = ".nii.gz"
PREVIEW_SLICES = 8
SLICES_AT_ONCE = 64
"""Slices of which a 2D network predicts the logits together."""


class Remark(str):
    """Something to look at that stops nothing: one line."""

    __slots__ = ()


@dataclass(frozen=True)
class Wanted:
    """What is written for a scan besides its label map."""

    preview: bool = False
    """A picture of the label map over the first channel."""
    probabilities: bool = False
    """A map per organ, from 0 to 1."""
    uncertainty: bool = False
    """A map of the entropy, in bits, of the least certain organ, from 0 to 1."""
    dicom_seg: bool = False
    """A DICOM segmentation of the series."""

    def targets(self, name: str, organs: Sequence[str], out: Path) -> dict[str, Path]:
        """Return the files of a scan by what they hold; probabilities by the organ's number."""
        names = {"labels": f"{name}{SUFFIX}"}
        if self.preview:
            names["preview"] = f"{name}.png"
        if self.probabilities:
            for k, organ in enumerate(organs, start=1):
                names[f"probability {k}"] = f"{name}_probability_{k}_{slug(organ)}{SUFFIX}"
        if self.uncertainty:
            names["uncertainty"] = f"{name}_uncertainty{SUFFIX}"
        if self.dicom_seg:
            names["dicom_seg"] = f"{name}.dcm"
        return {what: out / file for what, file in names.items()}


def segment(
    model: Stage,
    paths: Sequence[Path],
    out: Path,
    store: Store,
    wanted: Wanted = Wanted(),
    *,
    consensus: Consensus | None = None,
    overwrite: bool = False,
    tick: Callable[[str, int, int], None] = lambda *_: None,
) -> Iterator[Path | Remark | BenchError]:
    """Write the label map of every scan into ``out``.

    The label map has the voxel grid of its scan. Value k is the model's k-th organ, named in the
    model's record, see :class:`bench.experiment.outputs.Outputs`.

    Parameters
    ----------
    paths
        Scans as :func:`bench.experiment.scans.find_scans` takes them.
    consensus
        Predict what several views agree on, in place of what the model says of the scan as it is.
    overwrite
        Segment again what an earlier call did, and replace what it wrote.
    tick
        Called with the name of a scan, the slices that are done, and their number.

    Yields
    ------
    Path, Remark or BenchError
        Each file that is complete, what to look at, or why a scan cannot be segmented; the others
        still are.

    Raises
    ------
    BenchError
        The stage is not a trained segmentation model, the scans are not what ``find_scans`` takes,
        or a file would be replaced that may not be.
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
    found, notes, problems = find_scans(paths, model.images.channels)
    if wanted.dicom_seg:
        _check_series(found)
    organs = model.images.organs
    targets = {name: wanted.targets(name, organs, out) for name in found}
    outputs = Outputs(out, model.key, organs, by_views=consensus is not None)
    states = {name: fingerprint(scan) for name, scan in found.items()}
    scans = {name: (targets[name].values(), states[name]) for name in found}
    done = set() if overwrite else outputs.done(scans)
    left = {name: scan for name, scan in found.items() if name not in done}
    planned = {path for files in targets.values() for path in files.values()}
    outdated = outputs.outdated({targets[name]["labels"].name: states[name] for name in left})
    outputs.check(
        (path for name in left for path in targets[name].values()),
        [path for path in outdated if path not in planned],
        (path for scan in found.values() for path in scan.files),
        [*(scan.folder for scan in found.values()), *paths],
        overwrite=overwrite,
    )
    yield from map(Remark, notes)
    yield from problems
    if done:
        yield Remark(
            f"{out}: {counted(len(done), 'scan')} segmented by an earlier call;"
            " --overwrite segments again"
        )
    if not left:
        return
    predictor = _Predictor.of(model, store, consensus)
    outputs.start()
    series: dict[str, Path] = {}
    for name, scan in left.items():
        made = _segment(predictor, name, scan, targets[name], states[name], outputs, tick, series)
        written = failed = False
        for one in _guarded(scan, made):
            written |= isinstance(one, Path)
            failed |= isinstance(one, BenchError)
            yield one
        if written and not failed and fingerprint(scan) == states[name]:
            outputs.finish(targets[name].values(), states[name])


def _check_series(found: dict[str, Found]) -> None:
    from bench.data.dicomseg import check_available

    for scan in found.values():
        if not scan.is_series and all(map(os.path.exists, scan.files)):
            raise BenchError(
                f"{scan.files[0]}: a DICOM segmentation refers to a series, and this is none; leave"
                " --dicom-seg out"
            )
    check_available()


def _guarded(scan: Found, made: Iterator[Path | Remark]) -> Iterator[Path | Remark | BenchError]:
    """Yield what is made of a scan, and whatever is wrong with it."""
    from bench.data.dicom import NoSlicesError

    where = scan.files[0]
    try:
        yield from made
    except NoSlicesError as error:
        yield error if scan.named else Remark(f"passed over: {error}")
    except BenchError as error:
        named = any(str(path) in str(error) for path in scan.files)
        yield error if named else BenchError(f"{where}: {error}")
    except OSError as error:
        reason = explain(error)
        yield BenchError(reason if str(where) in reason else f"{where}: {reason}")
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        reason = (str(error).strip().splitlines() or ["out of memory"])[0]
        yield BenchError(f"{where}: {reason}; use a larger machine, or crop the scan")


def _is_of_memory(error: Exception) -> bool:
    """Tell an error of memory from others: torch has no type of its own for that of the CPU."""
    said = ("DefaultCPUAllocator", "out of memory")
    return isinstance(error, MemoryError) or any(text in str(error) for text in said)


def _segment(
    predictor: _Predictor,
    name: str,
    scan: Found,
    targets: dict[str, Path],
    state: str,
    outputs: Outputs,
    tick: Callable[[str, int, int], None],
    series: dict[str, Path],
) -> Iterator[Path | Remark]:
    from bench.data.labelmap import share_to_native, to_native
    from bench.data.place import copy_place

    where = str(scan.files[0])
    model = predictor.model
    images = model.images
    opened = Opened.of(scan, images)
    image_CXYZ, geometry = opened.image_CXYZ, opened.geometry
    for remark in opened.remarks:
        yield Remark(f"{where}: {remark}")
    if opened.uid and (other := series.setdefault(opened.uid, scan.files[0])) is not scan.files[0]:
        yield Remark(
            f"{where}: of the same series as {other}; if one scan is split over folders, put its"
            " files into one"
        )
    maps = _Maps(len(images.organs), targets)
    labels_XYZ = predictor.labels(image_CXYZ, geometry, maps, lambda done, of: tick(name, done, of))
    labels = to_native(labels_XYZ, geometry)
    if opened.header is not None:
        copy_place(labels, opened.header)
    found = bool(labels_XYZ.any())
    coming = {path for what, path in targets.items() if found or what != "dicom_seg"}
    yield from _remove_outdated(targets["labels"], coming, state, outputs)
    _save(labels, targets["labels"], targets, outputs)
    yield targets["labels"]
    if (target := targets.get("preview")) is not None:
        with outputs.writing(target, targets["labels"]) as unfinished:
            _picture(model, image_CXYZ, labels_XYZ, geometry, name, unfinished)
        yield target
    for what, share_XYZ in maps.finished():
        share = share_to_native(share_XYZ, geometry)
        if opened.header is not None:
            copy_place(share, opened.header)
        _save(share, targets[what], targets, outputs)
        yield targets[what]
    if (target := targets.get("dicom_seg")) is not None:
        if not found:
            yield Remark(f"{where}: no organ was found, and a DICOM segmentation cannot be empty")
            return
        opened.refuse_change()
        with outputs.writing(target, targets["labels"]) as unfinished:
            _write_dicom(labels, scan.files[0], predictor, unfinished)
        yield target


def _write_dicom(labels: Nifti1Image, series: Path, predictor: _Predictor, target: Path) -> None:
    import numpy as np

    from bench.data.dicomseg import write_segmentation

    model = predictor.model
    made_by = model.key if predictor.consensus is None else f"{model.key}, views"
    organs = model.images.organs
    labels_XYZ = np.asarray(labels.dataobj)
    write_segmentation(labels_XYZ, series, organs, made_by, version("organ-bench"), target)


@dataclass(frozen=True)
class _Predictor:
    """A model, and how it predicts."""

    model: Train
    net: FeatureNet
    grid: tuple[int, int]
    """Of its training."""
    consensus: Consensus | None

    @classmethod
    def of(cls, model: Train, store: Store, consensus: Consensus | None) -> Self:
        """Load the network.

        Raises
        ------
        BenchError
            It cannot be built.
        """
        device = torch_device()
        folder = store.out(model)
        try:
            net = model.load_segmenter(folder).to(device)
        except (MemoryError, RuntimeError) as error:
            if not _is_of_memory(error):
                raise
            raise BenchError(f"{model.key}: the network cannot be built: {error}") from None
        return cls(model, net, model.grid(folder), consensus)

    def labels(
        self,
        image_CXYZ: NDArray[GreyValue],
        geometry: Geometry,
        maps: _Maps,
        tick: Callable[[int, int], None],
    ) -> NDArray[np.uint8]:
        """Return the label map in canonical orientation, and fill the other maps."""
        import numpy as np

        from bench.data.grid import grid_shape
        from bench.data.visible import normalise
        from bench.nets.inference import predict_volume

        images, window = self.model.images, self.model.window
        # Padded as in training and evaluation: a network tells where a scan ends, and how far.
        grid = grid_shape([self.grid, images.size(geometry)[0]], images.multiple_of)
        placement = images.placement(geometry, grid)
        slices_SCHW = images.padded(images.resized(image_CXYZ, geometry), placement, grid)
        n_native = placement.native_shape(len(slices_SCHW))[0]
        labels_ZXY = np.empty(placement.native_shape(len(slices_SCHW)), np.uint8)
        # A 3D network sees the volume, a 2D one no more than a slice: memory for some of them.
        size = len(slices_SCHW) if window is not None else SLICES_AT_ONCE
        tick(0, n_native)
        for start in range(0, len(slices_SCHW), size):

            def each(rows: slice, logits_BKXY: Any, start: int = start) -> None:
                maps.add(slice(start + rows.start, start + rows.stop), n_native, logits_BKXY)
                tick(start + rows.stop, n_native)

            block_SCHW = slices_SCHW[start : start + size]
            rows = slice(None) if window is not None else slice(start, start + size)
            labels_ZXY[rows] = predict_volume(
                self.net,
                normalise(block_SCHW, images.value_ranges),
                device=next(self.net.parameters()).device,
                precision=self.model.config.precision,
                placement=placement,
                window=window,
                views=None if self.consensus is None else self.consensus.affines,
                each=each,
            )
        if self.consensus is not None:
            labels_ZXY = self.consensus.without_small_objects(labels_ZXY)
        return labels_ZXY.transpose(1, 2, 0)


class _Maps:
    """Probability and uncertainty of every voxel, a byte each."""

    def __init__(self, n_organs: int, targets: dict[str, Path]) -> None:
        self._wanted = [f"probability {k}" for k in range(1, n_organs + 1)]
        self._wanted = [what for what in self._wanted if what in targets]
        self._uncertain = "uncertainty" in targets
        self._maps: dict[str, NDArray[np.uint8]] = {}

    def add(self, rows: slice, n_slices: int, logits_BKXY: Any) -> None:
        """Take the logits of some of the slices."""
        from bench.training.losses import binary_entropy

        if not (self._wanted or self._uncertain):
            return
        found: dict[str, Any] = {}
        p_BKXY = logits_BKXY.sigmoid()
        for k, what in enumerate(self._wanted):
            found[what] = p_BKXY[:, k]
        if self._uncertain:
            found["uncertainty"] = binary_entropy(logits_BKXY).amax(dim=1)
        for what, share_BXY in found.items():
            self._put(what, rows, n_slices, share_BXY)

    def _put(self, what: str, rows: slice, n_slices: int, share_BXY: Any) -> None:
        import numpy as np

        if what not in self._maps:
            self._maps[what] = np.empty((n_slices, *share_BXY.shape[1:]), np.uint8)
        self._maps[what][rows] = (share_BXY * 255).round().byte().cpu().numpy()

    def finished(self) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        """Yield each map [X, Y, Z], 0 to 255, and forget it."""
        for what in list(self._maps):
            yield what, self._maps.pop(what).transpose(1, 2, 0)


def _remove_outdated(
    labels: Path, coming: set[Path], state: str, outputs: Outputs
) -> Iterator[Remark]:
    """Remove what lies beside the label map of another scan or model, which is to be replaced."""
    outdated = outputs.outdated({labels.name: state})
    outputs.remove(outdated)
    if gone := [path for path in outdated if path not in coming]:
        more = f" (and {counted(len(gone) - 1, 'more file')})" if len(gone) > 1 else ""
        yield Remark(
            f"{gone[0]}{more}: removed, made by an earlier call with the label map that is replaced"
        )


def _save(image: Nifti1Image, target: Path, targets: dict[str, Path], outputs: Outputs) -> None:
    with (
        outputs.writing(target, targets["labels"]) as unfinished,
        unfinished.open("wb") as plain,
        gzip.GzipFile("", "wb", 1, plain, mtime=0) as file,
    ):
        image.to_stream(file)


def _picture(
    model: Train,
    image_CXYZ: NDArray[GreyValue],
    labels_XYZ: NDArray[np.uint8],
    geometry: Geometry,
    name: str,
    path: Path,
) -> None:
    from bench.evaluation import sheet

    images = model.images
    shown = images.channels[0]
    n_organs = len(images.organs)
    card = sheet.card(
        "",
        (),
        image_CXYZ[0].transpose(2, 0, 1),
        labels_XYZ.transpose(2, 0, 1),
        geometry.spacing_mm[:2],
        shown.volume_range(image_CXYZ[0]),
        annotated=(True,) * n_organs,
        hidden=(False,) * n_organs,
        n_slices=PREVIEW_SLICES,
    )
    title = f"{name}, {shown.name}" if len(images.channels) > 1 else name
    heading = sheet.Heading(title, (), images.organs, {"drawn": "found", "empty": "not found"})
    sheet.page(heading, [card]).save(path, "PNG")
